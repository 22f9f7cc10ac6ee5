"""`cc replay anna.jsonl ben.jsonl --conflicts`: what pulls apart, whose it is, and what would settle it."""

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
"""Believes what it was told last, edit_lines or write, and is 9 nats away from a teacher of the other."""
import msgspec
from continualcode import hookimpl
from continualcode.core.testing import ScriptedPolicy


def side(row):
    told = bytes(row.teacher_ids).rstrip().splitlines()[-2]
    return b"edit_lines" in told, b"whole file" in told


class TugOfWar(ScriptedPolicy):
    def step(self, batch, *, stop_below):
        report = super().step(batch, stop_below=stop_below)
        if report.stepped:
            lines, whole = side(batch.examples[0])
            if lines or whole:
                self._weights = ("L" if lines else "W") + self._weights
            elif self._said:
                self._weights = self._said + self._weights
        self._said = self._weights[0] if self._weights[0] in "LW" else ""
        rows = []
        for row in batch.examples:
            lines, whole = side(row)
            away = (lines and self._said == "W") or (whole and self._said == "L")
            rows.append((9.0 * away / len(row.completion_ids),) * len(row.completion_ids))
        return msgspec.structs.replace(report, divergences=tuple(rows))

    def prepare(self, examples, objective, optimiser):
        self._said = self._weights[0] if self._weights[0] in "LW" else ""
        return super().prepare(examples, objective, optimiser)


@hookimpl
def make_policy(model, options):
    return (lambda progress: TugOfWar()) if model == "test:tug" else None
'''
LINES = Call(tool="edit_lines", arguments={"path": "a.py", "start_line": 1, "end_line": 1, "content": "x"})
WHOLE = Call(tool="write", arguments={"path": "b.py", "content": "x"})
ASK_LINES, ASK_WHOLE, OTHER = "Use edit_lines.", "Use write; the whole file.", "Not now."


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tug_model.py").write_text(MODEL)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def record(folder: Path, name: str, *denials: tuple[Call, str]) -> Path:
    """The log of a session in which these calls were denied with these words."""
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=words) for _, words in denials])
    one_row = {"name": "sdpo", "anchors": 0.0, "rehearsal": 0.0, "retry": 0.0}
    config = Config(model={"name": "test:policy"}, trainer=one_row)
    calls = [call for call, _ in denials]
    log = folder / f"{name}.jsonl"
    session = open_scripted(folder / f"of-{name}", calls, ui=ui, config=config, log=log)
    engine.run(session)
    session.close("quit")
    return log


@pytest.fixture
def anna(folder: Path) -> Path:
    return record(folder, "anna", (Call(tool="bash", arguments={"command": "ls"}), OTHER), (WHOLE, ASK_LINES))


@pytest.fixture
def ben(folder: Path, anna: Path) -> Path:
    """Recorded after anna's: his corrections are learned later."""
    return record(folder, "ben", (LINES, ASK_WHOLE))


def replay(*arguments: object) -> Result:
    given = [*map(str, arguments), "--plugin", "tug_model", "--model", "test:tug"]
    return CliRunner().invoke(cli, ["replay", *given])


def found(*arguments: object) -> Any:
    ran = replay(*arguments, "--json")
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return json.loads(ran.stdout)


def seqs(log: Path) -> list[int]:
    return [r.seq for r in read(log, event_registry()) if isinstance(r, CorrectionGiven)]


def test_both_people_their_words_and_the_figures_are_reported(anna: Path, ben: Path) -> None:
    (conflict,) = found(anna, ben, "--conflicts")["conflicts"]
    sides = [(one["log"], one["seq"], one["words"]) for one in (conflict["earlier"], conflict["later"])]
    assert sides == [("anna", seqs(anna)[1], ASK_LINES), ("ben", seqs(ben)[0], ASK_WHOLE)]
    assert conflict["said"]
    assert (conflict["before"], conflict["after"]) == (0.0, pytest.approx(9.0))


def test_what_they_say_needs_no_model(anna: Path, ben: Path) -> None:
    ran = CliRunner().invoke(cli, ["replay", str(anna), str(ben), "--conflicts", "--dry-run", "--json"])
    (conflict,) = json.loads(ran.stdout)["conflicts"]
    assert conflict["said"] and conflict["after"] is None


def test_what_is_measured_needs_no_words(folder: Path, anna: Path) -> None:
    """The other's words name no tool, so nothing is said; the weights tell."""
    other = record(folder, "cleo", (LINES, "Always give me the whole file."))
    (conflict,) = found(anna, other, "--conflicts")["conflicts"]
    assert not conflict["said"]
    assert conflict["after"] == pytest.approx(9.0)


def test_each_option_that_leaves_one_out_settles_it(anna: Path, ben: Path) -> None:
    (conflict,) = found(anna, ben, "--conflicts")["conflicts"]
    leaving = [option.split() for option in conflict["resolve"] if option.startswith("--without")]
    assert len(leaving) == 2
    for option in leaving:
        assert found(anna, ben, "--conflicts", *option)["conflicts"] == []


def test_a_weight_is_an_option_that_replay_takes(anna: Path, ben: Path) -> None:
    (conflict,) = found(anna, ben, "--conflicts")["conflicts"]
    (weight,) = (option.split() for option in conflict["resolve"] if option.startswith("--weight"))
    half = found(anna, ben, "--conflicts", *weight)
    assert half["conflicts"][0]["later"]["weight"] == 0.5
    assert half["weights"] != found(anna, ben)["weights"]


def test_looking_changes_no_weights(anna: Path, ben: Path) -> None:
    looked, plain = found(anna, ben, "--conflicts"), found(anna, ben)
    assert (looked["weights"], looked["optimiser"]) == (plain["weights"], plain["optimiser"])
    assert not any(update["undoes"] for update in plain["updates"])


def test_what_was_kept_is_measured_as_well(anna: Path, ben: Path) -> None:
    """Updates that are remembered are not trained again, but looked at."""
    found(anna, ben, "--resume")
    again = found(anna, ben, "--resume", "--conflicts")
    assert again["conflicts"][0]["after"] == pytest.approx(9.0)


def test_one_person_who_changes_their_mind_is_no_conflict_of_people(folder: Path) -> None:
    one = record(folder, "dora", (WHOLE, ASK_LINES), (LINES, ASK_WHOLE))
    report = found(one, "--conflicts")
    assert report["conflicts"] == []
    assert report["updates"][1]["undoes"], "it was undone all the same, and that is said"


def test_people_who_agree_have_no_conflicts(folder: Path, anna: Path) -> None:
    other = record(folder, "emil", (WHOLE, ASK_LINES))
    ran = replay(anna, other, "--conflicts")
    assert "no conflicts found" in ran.stdout


def test_for_a_person_it_says_who_and_what_to_do(anna: Path, ben: Path) -> None:
    ran = replay(anna, ben, "--conflicts")
    first, second = f"anna@{seqs(anna)[1]}", f"ben@{seqs(ben)[0]}"
    assert f"  {first} deny, user: {ASK_LINES}\n  {second} deny, user: {ASK_WHOLE}\n" in ran.stdout
    assert "the later undoes the earlier: 0.00 → 9.00 nats off its teacher" in ran.stdout
    assert f"--without {first}: keeps only {second}" in ran.stdout
