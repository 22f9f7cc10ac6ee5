"""benchmarks/uptake, as processes, on a scripted model that every correction breaks of its habit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

UPTAKE = Path(__file__).parents[2] / "benchmarks" / "uptake"
HABIT = '''
"""The model `habit`: overwrites files nearly always; after an update, or told to, it edits lines."""
from continualcode import hookimpl
from continualcode.core.data import Call, Sample
from continualcode.core.testing import ScriptedPolicy

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})
EDIT = Call(tool="edit_lines", arguments={"path": "a.py", "start_line": 1, "end_line": 1, "content": "x"})

class Habit(ScriptedPolicy):
    def __init__(self):
        super().__init__()
        self.untaught = self.weights()
        self.capabilities |= {"teacher:completion"}

    def tool_probabilities(self, prompt_ids, grammar, tools):
        edits = 1.0 if self.weights() != self.untaught else 0.9 if b"Use edit" in bytes(prompt_ids) else 0.2
        return {tool.name: 0.0 for tool in tools} | {"edit_lines": edits, "write": 1.0 - edits}

    def sample(self, prompt_ids, grammar, params, on_text=None, cancelled=None):
        told = self.weights() != self.untaught or b"Use edit" in bytes(prompt_ids)
        text = self.format_call(EDIT if told else WRITE)
        ids = tuple(text.encode())
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=text, stop="end")

@hookimpl
def make_policy(model, options):
    return (lambda progress: Habit()) if model == "test:habit" else None
'''
RULE = """
[[rule]]
name = "rule-{0}"
correction = "Use edit_lines."
violates = {{ tool = "write" }}
obeys = {{ tool = "edit_lines" }}
[[rule.train]]
prompt = "Fix {0}."
[[rule.held_out]]
prompt = "{0} is wrong."
"""
CONTROLS = "".join(f'[[control]]\nprompt = "Hello."\ngroup = "{g}"\n' for g in ("unrelated", "opposite"))
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Run:
    """Runs one of the benchmark's scripts in a folder that holds the model and the cases."""
    (tmp_path / "habit_model.py").write_text(HABIT)
    (tmp_path / "cases.toml").write_text("".join(RULE.format(n) for n in range(3)) + CONTROLS)

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join([str(tmp_path), *sys.path])
        return subprocess.run(
            [sys.executable, str(UPTAKE / name), "out.jsonl", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


ON = ("--plugin", "habit_model")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_all_arms_are_measured_once_reported_and_replayed(script: Run, tmp_path: Path) -> None:
    arguments = ("--model", "test:habit", "--cases", "cases.toml", *ON)
    first = script("run.py", *arguments, "--arms", "none,context,original", "--sequences", "")
    assert first.returncode == 0, first.stderr
    ran = script("run.py", *arguments)
    assert ran.returncode == 0, ran.stderr
    assert "none" not in ran.stdout, "what an earlier run measured is not measured again"
    found = {(one["setting"], one["arm"], one["rule"], one["taught"]): one for one in lines(tmp_path)}
    assert len(found) == len(lines(tmp_path))
    for arm in ("original", "sft", "sdpo"):
        one = found["one", arm, "rule-1", 1]
        assert one["lessons"][0]["outcome"] == "update_applied", one
        assert (one["violates"], one["obeys"]) == (0.0, 1.0)
        assert found["sequence", arm, "rule-0", 3]["violates"] == 0.0, "the first, after the third"
        assert found["sequence", arm, "", 3]["controls"]

    told = script("report.py")
    assert told.returncode == 0, told.stderr
    assert "| rule-0 | 0.80, 0.20 | 0.10, 0.90 | 0.00, 1.00 |" in told.stdout
    assert "| sft | 3 | 100% [100% 100%] | 1.00 |" in told.stdout
    curve = (tmp_path / "out.csv").read_text().splitlines()
    assert curve[0].startswith("arm,taught,rules,median_reduction") and len(curve) == 1 + 2 * 3

    verified = script("verify.py", *ON)
    assert verified.returncode == 0, verified.stdout
    # In a sequence only the first rule is broken: one update cures the habit.
    assert "12 of 12 updates in 18 logs have the logged digest" in verified.stdout


@pytest.mark.slow
def test_a_sequence_goes_on_where_it_was_stopped(script: Run, tmp_path: Path) -> None:
    arguments = (
        "--model",
        "test:habit",
        "--cases",
        "cases.toml",
        *ON,
        "--arms",
        "none",
        "--sequences",
        "sdpo",
    )
    assert script("run.py", *arguments).returncode == 0
    whole = lines(tmp_path)
    cut = next(n for n, one in enumerate(whole) if one["rule"] == "rule-1" and one["setting"] == "sequence")
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(one) + "\n" for one in whole[: cut + 1]))
    again = script("run.py", *arguments)
    assert again.returncode == 0, again.stderr
    same = ("setting", "arm", "rule", "taught", "violates", "obeys")
    ended = [{name: one.get(name) for name in same} for one in lines(tmp_path)]
    assert ended == [{name: one.get(name) for name in same} for one in whole]
    assert script("verify.py", *ON).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("left", [1, 3, 5])
def test_contradictions_go_on_where_they_were_stopped(script: Run, tmp_path: Path, left: int) -> None:
    arguments = ("--model", "test:habit", *ON, "--times", "4", "--every", "2", "--arms", "both")
    assert script("contradictions.py", *arguments).returncode == 0
    whole = lines(tmp_path)
    assert [one["number"] for one in whole] == [0, 1, 2, 3, 4]
    (tmp_path / "out.jsonl").write_text("".join(json.dumps(one) + "\n" for one in whole[:left]))
    again = script("contradictions.py", *arguments)
    assert again.returncode == 0, again.stderr
    assert [f"both after {number}" in again.stdout for number in (0, 2, 4)] == [False, left < 3, left < 5]
    same = ("number", "outcome", "steps", "likeliest", "tools", "validity", "metrics")
    ended = [{name: one.get(name) for name in same} for one in lines(tmp_path)]
    assert ended == [{name: one.get(name) for name in same} for one in whole]
