"""`cc replay` with something left out or changed, as a process would run it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from continualcode.cli.main import cli
from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven, UpdateApplied, event_registry
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import read

MODEL = "scripted:/dev/null"
OTHER_STACK = """
from continualcode import hookimpl
from continualcode.core.testing import ScriptedPolicy

class Elsewhere(ScriptedPolicy):
    def __init__(self):
        super().__init__()
        self.stack = {"policy": "scripted", "threads": "2"}

    def step(self, batch, *, stop_below):
        report = super().step(batch, stop_below=stop_below)
        self._weights = self._weights[::-1]
        return report

@hookimpl
def make_policy(model, options):
    return (lambda progress: Elsewhere()) if model == "other:stack" else None
"""
WORDS = ("Use edit.", "Not here.", "Shorter.")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three corrections, on a scripted model."""
    calls = [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(3)]
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=words) for words in WORDS])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", "rehearsal": 1.0})
    session = open_scripted(tmp_path / "p", calls, ui=ui, config=config, log=tmp_path / "anna.jsonl")
    engine.run(session)
    session.close("quit")
    return session.log.path


def seqs(log: Path) -> list[int]:
    return [r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven)]


def cc(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, arguments)], catch_exceptions=True)


def found(*arguments: object) -> Any:
    ran = cc(*arguments, "--model", MODEL, "--json")
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_leaving_out_is_said_update_by_update(log: Path) -> None:
    _, second, _ = seqs(log)
    ran = cc(log, "--without", second, "--model", MODEL)
    assert ran.exit_code == 0, ran.output
    assert f"  - {second} deny, user: Not here.  [--without {second}]" in ran.stdout
    assert "1 as logged, 1 trained, to other weights than logged, 1 left out" in ran.stdout
    assert "1 of them off-policy" in ran.stdout


def test_only_one_correction_is_without_the_others(log: Path) -> None:
    first, second, third = seqs(log)
    only = found(log, "--only", third)
    assert only["weights"] == found(log, "--without", f"{first},{second}")["weights"]
    assert only["weights"] != found(log)["weights"]


def test_a_dry_run_needs_no_model(log: Path) -> None:
    ran = cc(log, "--dry-run", "--json")  # the log's own model is no plugin's here
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert [use["outcome"] for use in report["updates"]] == ["planned"] * 3
    assert report["updates"][2]["rows"]["rehearsed"] == 2
    assert report["weights"] == ""


def test_settings_of_the_trainer_can_be_other_ones(log: Path) -> None:
    report = found(log, "--set", "trainer.max_steps=1", "--set", "trainer.gate_learned=1.0")
    assert [use["steps"] for use in report["updates"]] == [1, 1, 1]


def test_nothing_changed_is_the_replay_of_what_was_recorded(log: Path) -> None:
    assert found(log, "--verify")["ok"]


def test_a_divergence_names_both_stacks(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_stack.py").write_text(OTHER_STACK)
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    other = ("--plugin", "other_stack", "--model", "other:stack", "--verify")
    ran = cc(log, *other)
    assert ran.exit_code == 1
    assert "0 of 3 updates came out as logged" in ran.stdout
    assert "stack: threads was absent, is 2" in ran.stdout
    assert "recorded on: policy scripted" in ran.stdout
    assert "here:        policy scripted, threads 2" in ran.stdout
    assert "advantages differ by at most 0 nats" in ran.stdout
    near = cc(log, *other, "--tolerance", "0.01")
    assert near.exit_code == 0, near.output
    assert "3 of 3 updates came out within 0.01 nats" in near.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--verify", "--without", "by:user"), "change nothing"),
        (("--without", "by:ben"), "allowed: user"),
        (("--weight", "by:user=much"), "WHICH=X"),
        (("--trainer", "grpo"), "grpo"),
    ],
)
def test_what_cannot_be_asked_is_said(log: Path, options: tuple[str, ...], said: str) -> None:
    ran = cc(log, *options, "--model", MODEL)
    assert ran.exit_code != 0
    assert said in str(ran.exception)


def test_the_weights_are_handed_out_with_what_they_are_made_of(log: Path, tmp_path: Path) -> None:
    out, (first, *_) = tmp_path / "adapter", seqs(log)
    report = found(log, "--without", first, "--out", out)
    about = json.loads((out / "provenance.json").read_text())
    assert about["weights"] == report["weights"] == json.loads((out / "adapter.json").read_text())["weights"]
    assert about["changes"]["choice"]["without"] == [str(first)]
    assert [c["taken"] for use in about["updates"] for c in use["corrections"]] == [False, True, True]
    assert "not an empty folder" in str(cc(log, "--out", out, "--model", MODEL).exception)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
def test_what_was_kept_is_listed_shown_used_and_let_go_of(log: Path) -> None:
    def adapter(*arguments: str) -> str:
        ran = CliRunner().invoke(cli, ["adapter", *arguments])
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    assert "none yet" in adapter("list")
    assert found(log, "--resume")["trained"] == 3
    again = found(log, "--resume")
    assert again["trained"] == 0
    assert again["weights"][:12] in adapter("list")
    shown = json.loads(adapter("show", again["weights"][:8], "--json"))
    assert [one["depth"] for one in shown["lineage"]] == [1, 2, 3]
    assert "0 states removed" in adapter("gc", "--seconds", "0")
    assert "1 states removed" in adapter("gc")
    assert found(log, "--resume") == {**again, "trained": 3}


@pytest.mark.usefixtures("own_cache")
def test_what_no_log_can_make_again_is_not_let_go_of(log: Path) -> None:
    found(log, "--resume")
    log.rename(log.with_name("elsewhere.jsonl"))
    assert "0 states removed" in CliRunner().invoke(cli, ["adapter", "gc"]).stdout


@pytest.mark.usefixtures("own_cache")
def test_what_a_log_has_forgotten_is_not_let_go_of(log: Path) -> None:
    """Its updates cannot be rebuilt any more, so the kept weights are all there is of them."""
    found(log, "--resume")
    dry = CliRunner().invoke(cli, ["adapter", "gc", "--dry-run"]).stdout
    assert "3 updates" in dry and "anna.jsonl" in dry and "1 states would go" in dry
    ran = CliRunner().invoke(cli, ["log", "forget", str(log), "--text", "Not here."])
    assert ran.exit_code == 0, ran.output
    assert "0 states removed" in CliRunner().invoke(cli, ["adapter", "gc"]).stdout


@pytest.mark.usefixtures("own_cache")
def test_an_adapter_is_exported_at_an_event(log: Path, tmp_path: Path) -> None:
    updates = [r for r in read(log, event_registry()) if isinstance(r, UpdateApplied)]
    out = tmp_path / "adapter"
    options = ["--until", str(updates[1].seq), "--model", MODEL]
    ran = CliRunner().invoke(cli, ["adapter", "export", str(log), str(out), *options])
    assert ran.exit_code == 0, ran.output
    assert json.loads((out / "provenance.json").read_text())["weights"] == updates[1].weights
