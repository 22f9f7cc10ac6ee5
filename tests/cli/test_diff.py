"""`cc diff`: two weights as the corrections that they were learned from, and what they do."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from continualcode.cli.main import cli
from continualcode.cli.sides import two_sides
from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.errors import UsageError
from continualcode.core.events import CorrectionGiven, UpdateApplied, event_registry
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import read

MODEL = '''
"""Reads, until it has learned anything: then it edits. Its one layer grows with every update."""
from continualcode import hookimpl
from continualcode.core.testing import ScriptedPolicy

BASE = ScriptedPolicy().weights()


class Taught(ScriptedPolicy):
    def tool_probabilities(self, prompt_ids, grammar, tools):
        name = "read" if self.weights() == BASE else "edit_lines"
        return {tool.name: float(tool.name == name) for tool in tools}

    def norms(self):
        return {"layer": float(self.weights() != BASE)}


@hookimpl
def make_policy(model, options):
    return (lambda progress: Taught()) if model == "test:taught" else None
'''
CASES = """
[[rule]]
name = "edit"
correction = "Edit it."
violates = { tool = "read" }
[[rule.held_out]]
prompt = "Correct it."
"""
WORDS = ("Use edit.", "Not here.", "Shorter.")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log with three corrections; a model that shows what it learned; a case set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "taught_model.py").write_text(MODEL)
    (tmp_path / "cases.toml").write_text(CASES)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    calls = [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(len(WORDS))]
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=words) for words in WORDS])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "p", calls, ui=ui, config=config, log=tmp_path / "anna.jsonl")
    engine.run(session)
    session.close("quit")
    return session.log.path


def cc(*arguments: object) -> Result:
    given = [*map(str, arguments), "--plugin", "taught_model", "--model", "test:taught"]
    return CliRunner().invoke(cli, given)


def found(*arguments: object) -> Any:
    ran = cc("diff", *arguments, "--json")
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return json.loads(ran.stdout)


def kept(log: Path, *options: str) -> str:
    """The digest of a replay whose weights are kept."""
    ran = cc("replay", log, "--resume", "--json", *options)
    assert ran.exit_code == 0, (ran.output, ran.exception)
    digest: str = json.loads(ran.stdout)["weights"]
    return digest


def applied(log: Path) -> list[UpdateApplied]:
    return [r for r in read(log, event_registry()) if isinstance(r, UpdateApplied)]


def seqs(log: Path) -> list[int]:
    return [r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven)]


def words(ingredients: Any) -> list[str]:
    return [one["words"] for one in ingredients]


def test_what_was_learned_since_is_only_in_the_later_weights(log: Path) -> None:
    first = applied(log)[0]
    diff = found(f"{log}@{first.seq}", log)
    assert (diff["both"], words(diff["only_a"]), words(diff["only_b"])) == (1, [], ["Not here.", "Shorter."])
    assert diff["a"]["weights"] == first.weights
    assert diff["norms"] is diff["cases"] is None


def test_a_digest_of_the_store_is_what_was_left_out_of_it(log: Path) -> None:
    digest = kept(log, "--without", str(seqs(log)[1]))
    diff = found(log, digest[:12])
    assert (diff["both"], words(diff["only_a"]), words(diff["only_b"])) == (2, ["Not here."], [])


def test_what_weighs_otherwise_is_said_with_both_weights(log: Path) -> None:
    digest = kept(log, "--weight", f"{seqs(log)[2]}=0.5")
    (pair,) = found(log, digest)["weighted"]
    assert [(one["words"], one["weight"]) for one in pair] == [("Shorter.", 1.0), ("Shorter.", 0.5)]


def test_norms_and_cases_are_of_the_weights_themselves(log: Path) -> None:
    """At the event of the start nothing was learned."""
    diff = found(f"{log}@1", log, "--norms", "--cases", log.parent / "cases.toml")
    assert diff["norms"] == {"layer": [0.0, 1.0]}
    (rule,) = diff["cases"]["rules"]
    assert (rule["recurrence_before"], rule["recurrence_after"]) == (1.0, 0.0)


def test_kept_weights_are_loaded_not_trained(log: Path) -> None:
    whole, part = kept(log), kept(log, "--without", str(seqs(log)[1]))
    ran = cc("diff", whole, part, "--cases", log.parent / "cases.toml")
    assert ran.exit_code == 0, (ran.output, ran.exception)
    assert "measuring" in ran.stderr and "update" not in ran.stderr
    assert f"only in A:\n  anna@{seqs(log)[1]} deny, user: Not here." in ran.stdout


def test_a_digest_whose_log_is_gone_is_refused(log: Path) -> None:
    digest = kept(log)
    other = log.with_name("other.jsonl")
    log.rename(other)
    ran = cc("diff", other, digest)
    assert "which is not there any more" in str(ran.exception)


def test_what_names_no_weights_is_refused(log: Path) -> None:
    ran = cc("diff", log, "nothing")
    assert "there is no file nothing; as a digest: " in str(ran.exception)
    ran = cc("diff", log, f"{log}@abc")
    assert "SEQ is the number of an event" in str(ran.exception) and "not 'abc'" in str(ran.exception)
    ran = cc("diff", log, f"{log}@999")
    assert f"no event 999 in {log}: there are 0 to " in str(ran.exception)
    with pytest.raises(UsageError, match="no event 9999 in"):  # as `cc eval --compare` reads it
        two_sides(None, None, ("base", f"{log}@9999"), log.parent)
