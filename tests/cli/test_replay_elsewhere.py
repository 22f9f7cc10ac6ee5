"""`cc replay --model NEW` and `--resample`, as a process would run them: a new log, and what carried over."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from continualcode.cli.main import cli
from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven, event_registry
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import read

PLUGIN = """
import msgspec
from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.testing import ScriptedPolicy

@hookimpl
def make_policy(model, options):
    def build(progress):
        says = [Call(tool="write", arguments={"path": "a.txt", "content": "y"}), "Done.", "Done."]
        policy = ScriptedPolicy(says)
        policy.model = msgspec.structs.replace(policy.model, name="elsewhere", base="e" * 64)
        return policy
    return build if model == "else:where" else None
"""

CASES = """
[[rule]]
name = "no-writing"
correction = "Do not write."
violates = { tool = "write" }
[[rule.held_out]]
prompt = "Say it."
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of another base model, in a module of the user's; logs and weights stay in the test."""
    (tmp_path / "elsewhere_model.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two corrections, on a scripted model."""
    calls = [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(2)]
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=words) for words in ("Use edit.", "Not here.")])
    session = open_scripted(tmp_path / "p", calls, ui=ui, log=tmp_path / "anna.jsonl")
    engine.run(session)
    session.close("quit")
    return session.log.path


def cc(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, arguments)])


ELSEWHERE = ("--plugin", "elsewhere_model", "--model", "else:where")


def test_another_model_is_taught_in_a_log_of_its_own(log: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases.toml"
    cases.write_text(CASES)
    new = tmp_path / "new.jsonl"
    ran = cc(log, *ELSEWHERE, "--log", new, "--cases", cases)
    assert ran.exit_code == 0, ran.output
    assert "2 corrections on elsewhere: 1 learned, 1 mistake not made" in ran.stdout
    assert f"cc replay --verify {new}" in ran.stdout
    assert "no-writing" in ran.stdout, "what carried over"
    verified = cc(new, *ELSEWHERE, "--verify", "--json")
    assert verified.exit_code == 0, verified.output
    assert json.loads(verified.stdout)["updates"] == 1


def test_as_one_object_with_provenance(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "adapter"
    ran = cc(log, *ELSEWHERE, "--json", "--out", out)
    assert ran.exit_code == 0, ran.output
    told: dict[str, Any] = json.loads(ran.stdout)
    assert [one["outcome"] for one in told["corrections"]] == ["learned", "not_made"]
    assert told["model"] == "elsewhere" and told["cases"] is None
    assert Path(told["log"]).parent == tmp_path / "data" / "continualcode" / "sessions"
    about = json.loads((out / "provenance.json").read_text())
    assert about["weights"] == told["weights"]
    assert [one["outcome"] for one in about["retold"]] == ["learned", "not_made"]


def test_turns_are_drawn_anew_where_the_weights_are_others(log: Path, tmp_path: Path) -> None:
    first, second = (r for r in read(log, event_registry()) if isinstance(r, CorrectionGiven))
    says = tmp_path / "says.txt"
    says.write_text('{"name": "write", "arguments": {"path": "b.txt", "content": "z"}}\n')
    ran = cc(log, "--without", first.seq, "--resample", "--model", f"scripted:{says}", "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert [(one["outcome"], one["attempts"]) for one in told["corrections"]] == [
        ("left_out", 0),
        ("learned", 1),
    ]
    given = [r for r in read(Path(told["log"]), event_registry()) if isinstance(r, CorrectionGiven)]
    assert [one.origin for one in given] == [second.id]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--verify", "--resample"), "change nothing"),
        (("--verify", *ELSEWHERE), "cc replay LOG --model NAME"),
        (("--cases", "CASES", "--model", "scripted:/dev/null"), "turns that are drawn anew"),
        ((*ELSEWHERE, "--conflicts"), "replay on the same model"),
        ((*ELSEWHERE, "--resume"), "--log FILE"),
    ],
)
def test_what_does_not_go_together_is_said(
    log: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "cases.toml").write_text(CASES)
    given = [str(tmp_path / "cases.toml") if one == "CASES" else one for one in options]
    ran = cc(log, *given)
    assert ran.exit_code != 0
    assert said in str(ran.exception)
