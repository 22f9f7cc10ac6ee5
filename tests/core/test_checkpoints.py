"""Checkpoints: going on with a session trains nothing again, and comes to the same state in any case."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.config import Config, SessionConfig
from continualcode.core.data import Call
from continualcode.core.errors import UpdateError
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted

READ = Call(tool="read", arguments={"path": "a.txt"})
NO = Answer(verdict="deny", reason="No.")


class Place:
    """A project with its log and its checkpoints."""

    def __init__(self, folder: Path, most: int = 8) -> None:
        self.folder, self.log, self.files = folder / "project", folder / "log.jsonl", folder / "checkpoints"
        self.config = Config(
            model={"name": "test:policy"}, session=SessionConfig(checkpoints=most, snapshots=False)
        )

    def new(self, updates: int) -> Session:
        """A session that has learned so many times."""
        session = self._opened(ScriptedPolicy([READ, "done"] * updates), updates)
        for number in range(updates):
            engine.ask(session, f"prompt {number}")
        return session

    def again(self, *, trains: bool) -> Session:
        """It goes on, on a policy that can train, or that fails where it has to."""
        return self._opened(ScriptedPolicy(fail_updates=not trains))

    def _opened(self, policy: ScriptedPolicy, answers: int = 0) -> Session:
        return open_scripted(
            self.folder,
            policy=policy,
            ui=ScriptedUI([], [NO] * answers),
            config=self.config,
            log=self.log,
            resume=self.log.exists(),
            checkpoints=self.files,
        )

    def kept(self) -> list[Path]:
        return sorted(self.files.iterdir()) if self.files.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def state(session: Session) -> tuple[str, str]:
    return session.policy.weights(), session.policy.optimiser_state()


def test_a_session_goes_on_without_training(place: Place) -> None:
    session = place.new(updates=3)
    was = state(session)
    session.close("quit")
    assert len(place.kept()) == 1  # the one before is let go of
    again = place.again(trains=False)
    assert state(again) == was
    again.close("quit")


def test_after_a_kill_as_well(place: Place) -> None:
    session = place.new(updates=2)
    session.log.close()  # and nothing else
    assert state(place.again(trains=False)) == state(session)


def test_what_is_missing_is_trained(place: Place) -> None:
    session = place.new(updates=2)
    was = state(session)
    session.close("quit")
    for file in place.kept():
        file.unlink()
    with pytest.raises(UpdateError):
        place.again(trains=False)
    assert state(place.again(trains=True)) == was


@pytest.mark.parametrize("content", [b"", b"{", b'["other weights", "other moments"]'])
def test_what_is_damaged_or_something_else_is_trained(place: Place, content: bytes) -> None:
    session = place.new(updates=2)
    was = state(session)
    session.close("quit")
    (file,) = place.kept()
    file.write_bytes(content)
    again = place.again(trains=True)
    assert state(again) == was
    again.close("quit")
    last = place.again(trains=False)  # what was trained is kept in its place
    assert state(last) == was


def test_undone_updates_are_not_what_a_session_goes_on_with(place: Place) -> None:
    session = place.new(updates=3)
    engine.command(session, "/undo update")
    was = state(session)
    session.close("quit")
    again = place.again(trains=False)
    assert state(again) == was
    engine.command(again, "/undo update")
    assert "was told to fail" in again.ui.messages[-1]  # type: ignore[attr-defined]  # a ScriptedUI
    assert state(again) == was
    again.close("quit")


def test_those_used_last_are_kept(tmp_path: Path) -> None:
    places = [Place(tmp_path / str(number), most=2) for number in range(3)]
    for number, place in enumerate(places):
        place.files = tmp_path / "checkpoints"
        place.new(updates=number + 1).close("quit")
    assert len(places[0].kept()) == 2
    places[1].again(trains=False).close("quit")
    places[2].again(trains=False).close("quit")
    with pytest.raises(UpdateError):
        places[0].again(trains=False)


def test_none_are_kept(tmp_path: Path) -> None:
    place = Place(tmp_path, most=0)
    place.new(updates=1).close("quit")
    assert place.kept() == []


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(place: Place) -> None:
    place.files.write_text("not a folder")
    session = place.new(updates=1)
    assert len(session.transcript.standing) == 1
    session.close("quit")
    assert state(place.again(trains=True)) == state(session)
