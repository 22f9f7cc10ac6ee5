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
        (("--dry-run",), "drawn anew"),  # the log's model is another one
        (("--without", ""), "--without names nothing"),
        (("--only", ","), "--only names nothing"),
        (("--until", "9999"), "no event 9999 in "),
        (("--until", "-5"), "no event -5 in "),
        (("--until", "9999", "--without", "by:user"), "there are 0 to "),
        (("--out", "/proc/x"), "the folder /proc/x cannot be made: "),
    ],
)
def test_what_cannot_be_asked_is_said(log: Path, options: tuple[str, ...], said: str) -> None:
    ran = cc(log, *options, "--model", MODEL)
    assert ran.exit_code != 0
    assert said in str(ran.exception)


@pytest.mark.parametrize("option", [("--resample",), ("--cases", "pyproject.toml"), ("--log", "x.jsonl")])
def test_a_dry_run_does_not_say_what_turns_that_are_drawn_anew_would_come_to(
    log: Path, option: tuple[str, ...]
) -> None:
    assert "What turns would come to that are drawn anew" in str(cc(log, "--dry-run", *option).exception)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trainer", "grpo"), "grpo"),
        (("--set", "trainer.lr=-1"), "lr is -1"),
        (("--set", "trainer.foo=1"), "unknown key 'foo'"),
    ],
)
def test_a_dry_run_refuses_the_trainer_that_would_be_refused(
    log: Path, options: tuple[str, ...], said: str
) -> None:
    assert said in str(cc(log, "--dry-run", *options).exception)


def test_rows_of_plans_that_are_made_anew_are_not_told_in_advance(log: Path) -> None:
    report = json.loads(cc(log, "--dry-run", "--set", "trainer.max_steps=1", "--json").stdout)
    assert [(use["outcome"], use["rows"]) for use in report["updates"]] == [("planned", {})] * 3


def test_a_torn_end_is_noted_and_what_is_before_it_replayed(log: Path) -> None:
    assert cc(log, "--dry-run").stderr == ""
    with open(log, "ab") as file:
        file.write(b'{"t":"note_given","seq":5')
    ran = cc(log, "--dry-run")
    assert (ran.exit_code, ran.stderr) == (
        0,
        f"note: the end of {log} is torn: cc log verify {log}\n",
    )
    assert "3 updates: 3 would be trained" in ran.stdout


def test_one_update_is_one_update(log: Path) -> None:
    until = next(r.seq for r in read(log, event_registry()) if isinstance(r, UpdateApplied))
    assert "1 update: 1 would be trained" in cc(log, "--dry-run", "--until", until).stdout


def test_an_adapter_is_not_trained_for_a_folder_that_cannot_be_made(log: Path) -> None:
    ran = CliRunner().invoke(cli, ["adapter", "export", str(log), "/proc/x/y", "--model", MODEL])
    assert "the folder /proc/x/y cannot be made" in str(ran.exception)
    assert "update" not in ran.stderr


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
    assert "1 state removed" in adapter("gc")
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
    assert "3 updates" in dry and "anna.jsonl" in dry and "1 state would go" in dry
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
