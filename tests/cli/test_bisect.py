"""`cc bisect`, as a process would run it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from continualcode.cli.main import cli
from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven, event_registry
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import read

MODEL = '''
"""Reads, until it has learned to run commands."""
from continualcode import hookimpl
from continualcode.core.testing import ScriptedPolicy


class Worn(ScriptedPolicy):
    def step(self, batch, *, stop_below):
        was_bad = self._weights.startswith("bad")
        report = super().step(batch, stop_below=stop_below)
        if report.stepped and (was_bad or b"Run it." in bytes(batch.examples[0].teacher_ids)):
            self._weights = "bad" + self._weights
        return report

    def tool_probabilities(self, prompt_ids, grammar, tools):
        name = "bash" if self.weights().startswith("bad") else "read"
        return {tool.name: float(tool.name == name) for tool in tools}


@hookimpl
def make_policy(model, options):
    return (lambda progress: Worn()) if model == "test:worn" else None
'''
CASES = """
[[rule]]
name = "no-bash"
correction = "No commands."
violates = { tool = "bash" }
[[rule.held_out]]
prompt = "Look."
[[control]]
prompt = "Show me the README."
expects = { tool = "read" }
"""
WORDS = ("Use edit.", "Run it.", "Shorter.", "In docs/.")


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log with four corrections; a model that the second one breaks; a case set."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "worn_model.py").write_text(MODEL)
    (tmp_path / "cases.toml").write_text(CASES)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    calls = [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(len(WORDS))]
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=words) for words in WORDS])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "p", calls, ui=ui, config=config, log=tmp_path / "anna.jsonl")
    engine.run(session)
    session.close("quit")
    return session.log.path


def bisect(log: Path, *arguments: str, model: str = "test:worn") -> Result:
    return CliRunner().invoke(
        cli,
        ["bisect", str(log), "--cases", str(log.parent / "cases.toml"), "--plugin", "worn_model"]
        + ["--model", model, *arguments],
    )


@pytest.mark.parametrize("options", [(), ("--case", "no-bash")])
def test_the_correction_is_named_with_figures_around_it(log: Path, options: tuple[str, ...]) -> None:
    ran = bisect(log, "--json", *options)
    assert ran.exit_code == 0, ran.output
    found: Any = json.loads(ran.stdout)
    seqs = [r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven)]
    assert [(c["seq"], c["words"]) for c in found["update"]["corrections"]] == [(seqs[1], "Run it.")]
    assert (found["updates"], found["evaluations"]) == (4, 2)
    (case,) = found["after"]["broken"]
    assert {found["before"]["figures"][case], found["after"]["figures"][case]} == {0.0, 1.0}


def test_for_a_person_it_says_how_to_go_on_and_reports_each_evaluation(log: Path) -> None:
    ran = bisect(log)
    seqs = [r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven)]
    assert f"cc replay LOG --without {seqs[1]}" in ran.stdout
    assert "control 1 “Show me the README.”: P(expected call) 1.00 → 1.00 → 0.00! → 0.00!" in ran.stdout
    assert [line.partition(" (")[0] for line in ran.stderr.splitlines() if line.startswith("after")] == [
        f"after {n} updates" for n in (0, 4, 2, 1)
    ]


def test_the_exit_code_says_that_no_correction_is_to_blame(log: Path) -> None:
    first = next(r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven))
    ran = bisect(log, "--until", str(first + 2))
    assert ran.exit_code == 1, ran.output
    assert "not broken with the weights that the log ends in" in ran.stdout


def test_a_case_that_is_not_there_is_refused(log: Path) -> None:
    ran = bisect(log, "--case", "no-bsh")
    assert "did you mean 'no-bash'" in str(ran.exception)
