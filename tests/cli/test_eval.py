"""`cc eval`, as a process, on a model whose habit one correction breaks."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HABIT = '''
"""The model `habit`: overwrites half of the time, edits lines else; after an update it always edits."""
from continualcode import hookimpl
from continualcode.core.data import Call, Sample
from continualcode.core.testing import ScriptedPolicy

class Habit(ScriptedPolicy):
    def __init__(self):
        super().__init__()
        self.untaught = self.weights()

    def tool_probabilities(self, prompt_ids, grammar, tools):
        none = {tool.name: 0.0 for tool in tools}
        if b"Show me" in bytes(prompt_ids):
            return none | {"read": 1.0}
        taught = self.weights() != self.untaught
        return none | ({"edit_lines": 1.0} if taught else {"write": 0.5, "edit_lines": 0.5})

    def sample(self, prompt_ids, grammar, params, on_text=None, cancelled=None):
        if b"Show me" in bytes(prompt_ids):
            call = Call(tool="read", arguments={"path": "README.md"})
        elif self.weights() != self.untaught:
            call = Call(tool="edit_lines",
                        arguments={"path": "a.py", "start_line": 1, "end_line": 1, "content": "x"})
        else:
            call = Call(tool="write", arguments={"path": "a.py", "content": "x"})
        text = self.format_call(call)
        ids = tuple(text.encode())
        if on_text:
            on_text(text)
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=text, stop="end")

@hookimpl
def make_policy(model, options):
    return (lambda progress: Habit()) if model == "test:habit" else None
'''
CASES = """
[[rule]]
name = "edit-not-write"
correction = "Use edit_lines."
group = "tools"
violates = { tool = "write" }
obeys = { tool = "edit_lines" }
[[rule.train]]
prompt = "Fix a.py."
files = { "a.py" = "1" }
[[rule.held_out]]
prompt = "Correct b.py."
[[rule.held_out]]
prompt = "b.py is wrong."
[[control]]
prompt = "Show me the README."
files = { "README.md" = "Hello." }
expects = { tool = "read" }
group = "unrelated"
"""


class Cc:
    """`cc` in a folder of its own, with the model `habit`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "habit_model.py").write_text(HABIT)
        (folder / "cases.toml").write_text(CASES)

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        home = {
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path]),
        }
        return subprocess.run(
            [sys.executable, "-c", "from continualcode.cli.main import main; main()", *arguments],
            cwd=self.folder,
            env={**os.environ, **home},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def eval(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """`cc eval cases.toml` on the model."""
        return self("eval", "cases.toml", "--plugin", "habit_model", "--model", "test:habit", *arguments)

    def found(self, *arguments: str) -> dict[str, Any]:
        """What it prints with --json."""
        done = self.eval("--json", *arguments)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@pytest.fixture
def cc(tmp_path: Path) -> Cc:
    return Cc(tmp_path)


def test_without_weights_it_measures_the_base_model(cc: Cc) -> None:
    found = cc.found()
    (rule,) = found["rules"]
    assert (rule["name"], rule["n"]) == ("edit-not-write", 2)
    assert (rule["recurrence_before"], rule["obey_before"]) == (0.5, 0.5)
    assert (rule["recurrence_after"], rule["obey_after"]) == (None, None)
    assert found["weights"]["after"] is None
    controls = found["controls"]
    assert controls["validity"] == 1.0 and controls["right"] == 1.0
    assert [controls[name] for name in ("agreement", "calls", "overlap")] == [None] * 3, "with nothing"


def test_what_has_no_held_out_prompt_is_not_measured_and_that_is_said(cc: Cc) -> None:
    (cc.folder / "cases.toml").write_text(CASES.replace("[[rule.held_out]]", "[[rule.train]]"))
    done = cc.eval("--json")
    assert "note: rule 'edit-not-write' has no [[rule.held_out]]: it is not measured" in done.stderr
    (rule,) = json.loads(done.stdout)["rules"]
    assert (rule["recurrence_before"], rule["obey_before"], rule["n"], rule["intervals"]) == (
        None,
        None,
        0,
        {},
    )
    assert re.search(r"edit-not-write +no prompts +no prompts +0", cc.eval().stdout)


def test_a_call_that_cannot_have_been_made_is_said_before_anything_is_measured(cc: Cc) -> None:
    (cc.folder / "cases.toml").write_text(CASES + "history = [ { name = 'raed' } ]\n")
    done = cc.eval()
    assert "control 1: history: raed: there is no such tool; did you mean 'read'" in done.stderr
    assert done.returncode == 2 and "measuring" not in done.stderr


def test_teach_denies_learns_and_measures_before_and_after(cc: Cc) -> None:
    found = cc.found("--teach", "edit-not-write")
    (rule,) = found["rules"]
    assert (rule["recurrence_before"], rule["recurrence_after"]) == (0.5, 0.0)
    assert (rule["obey_before"], rule["obey_after"]) == (0.5, 1.0)
    names = ("recurrence", "obey", "validity")
    assert set(rule["intervals"]) == {f"{name}_{side}" for name in names for side in ("before", "after")}
    for case in rule["cases"]:
        assert {tool: p for tool, p in case["before"]["tools"].items() if p} == {
            "write": 0.5,
            "edit_lines": 0.5,
        }
    assert found["groups"][0]["name"] == "tools" and found["overall"]["recurrence_after"] == 0.0
    controls = found["controls"]
    assert [controls[name] for name in ("agreement", "calls", "validity", "n")] == [1.0, 1.0, 1.0, 1]
    assert set(controls["intervals"]) == {"agreement", "calls", "validity", "validity_before"}
    assert controls["right"] == 1.0 and controls["groups"][0]["name"] == "unrelated"
    (lesson,) = found["lessons"]
    assert lesson["outcome"] == "update_applied"


def test_the_log_of_what_was_taught_is_kept_and_can_be_measured_later(cc: Cc) -> None:
    taught = cc.found("--teach", "all")
    again = cc.found("--log", taught["log"])
    assert again["weights"] == {
        "before": taught["weights"]["before"],
        "after": {"name": Path(taught["log"]).name, "digest": taught["weights"]["after"]["digest"]},
    }
    assert again["rules"] == taught["rules"]
    digest = taught["weights"]["after"]["digest"][:10]
    assert cc.found("--weights", digest)["rules"] == taught["rules"], "a session's log has been through it"
    replayed = cc("replay", "--verify", taught["log"], "--plugin", "habit_model")
    assert replayed.returncode == 0, replayed.stderr


def test_two_weights_of_one_log_are_compared(cc: Cc) -> None:
    log = cc.found("--teach", "all")["log"]
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    applied = next(line for line in lines if line.get("t") == "update_applied")
    for before, after in (("base", log), (f"{log}@{applied['seq'] - 1}", f"{log}@{applied['weights'][:8]}")):
        found = cc.found("--compare", before, after)
        (rule,) = found["rules"]
        assert (rule["recurrence_before"], rule["recurrence_after"]) == (0.5, 0.0)


def test_for_a_person_it_is_a_table(cc: Cc) -> None:
    done = cc.eval("--teach", "edit-not-write")
    row = next(line for line in done.stdout.splitlines() if line.startswith("edit-not-write"))
    assert len(re.split(r"  +", row)) == 4, "columns stand apart"
    assert re.sub(r"\[.*?\]", "", row).split() == "edit-not-write 0.50 → 0.00 0.50 → 1.00 2".split()
    assert "controls (unrelated): the same tool in 100%" in done.stdout
    assert "the expected ones: 100% → 100%" in done.stdout
    assert "learned in" in done.stderr and "cc replay --verify" in done.stdout


def test_a_tool_that_is_not_there_is_said_and_measured_as_never_called(cc: Cc) -> None:
    (cc.folder / "cases.toml").write_text(CASES.replace('tool = "write"', 'tool = ["wirte", "write"]'))
    done = cc.eval("--json")
    assert "note: rule 'edit-not-write': there is no tool 'wirte'; did you mean 'write'?" in done.stderr
    assert json.loads(done.stdout)["rules"][0]["recurrence_before"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--teach", "edit"], "there is no rule 'edit' in the case set; allowed: edit-not-write"),
        (["--only", "x"], "there is no rule 'x'"),
        (["--only", ""], "there is no rule ''"),
        (["--weights", "abcdef"], "has been through weights 'abcdef', and no replay has kept any"),
        (["--weights", "abcdef", "--teach", "all"], "give one of them"),
        (["--compare", "base", "none.jsonl"], "'none.jsonl' names no weights: base, a log, LOG@SEQ"),
        (["--teach", "all", "--compare", "base", "base"], "give one of them"),
    ],
)
def test_what_cannot_be_done_is_said(cc: Cc, arguments: list[str], error: str) -> None:
    done = cc.eval(*arguments)
    assert done.returncode == 2 and error in done.stderr
    assert "Traceback" not in done.stderr


def test_a_digest_that_a_log_never_had_is_answered_with_those_it_had(cc: Cc) -> None:
    log = cc.found("--teach", "all")["log"]
    done = cc.eval("--log", log, "--weights", "0000")
    assert done.returncode == 2
    assert re.search(r"has no weights 0000…; it has been through [0-9a-f]{12}, [0-9a-f]{12}", done.stderr)
    assert "measuring" not in done.stderr, "before the wait"
