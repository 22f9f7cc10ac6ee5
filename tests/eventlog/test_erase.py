"""Contents go out of a log's lines, and every other byte, the chain and the sidecar stay as they were."""

from pathlib import Path

import pytest

from continualcode.eventlog import (
    LogError,
    LogHeld,
    LogWriter,
    Record,
    Registry,
    Text,
    Tokens,
    follow,
    pack_u32,
    read,
    repair,
    verify,
)
from continualcode.eventlog.damage import KINDS
from continualcode.eventlog.erase import erase
from continualcode.eventlog.segments import ack_path, segment_paths
from continualcode.eventlog.testing import Note


class Said(Record, frozen=True, kw_only=True, tag="said"):
    """Contents at several depths, and what is none."""

    text: Text
    by: str = "user"
    answers: tuple[dict[str, Text], ...] = ()
    ids: Tokens | None = None


@pytest.fixture
def known() -> Registry:
    registry = Registry()
    registry.register(Said)
    registry.register(Note)
    return registry


@pytest.fixture
def log(ram: Path, known: Registry) -> Path:
    """Four segments; contents in the first line of one, in the middle, and in the last line of all."""
    path = ram / "log"
    with LogWriter.create(path, known, segment_bytes=700) as writer:
        writer.append(
            Said(text="the first, a secret", answers=({"a": "a secret", "b": "!"},), ids=pack_u32([7]))
        )
        writer.append(Note(text="a secret in what is no content"))
        for number in range(5):
            writer.append(Said(text=f"a secret {number}", by="secret"))
    assert len(segment_paths(path)) == 4
    return path


def gone(marker: str, text: str) -> str:
    return text.replace("a secret", marker)


def test_the_texts_and_ids_go_and_the_log_is_as_sound_as_before(log: Path, known: Registry) -> None:
    before, ack = verify(log), ack_path(log).read_bytes()
    sizes = [p.stat().st_size for p in segment_paths(log)]
    erase(log, known, dict.fromkeys((0, 3, 6), gone))
    assert verify(log) == before
    assert ack_path(log).read_bytes() == ack
    assert [p.stat().st_size for p in segment_paths(log)] == sizes
    first, note, _, fourth, *_, last = read(log, known)
    assert isinstance(first, Said) and isinstance(fourth, Said) and isinstance(last, Said)
    assert (first.text, first.answers, first.ids) == (
        "the first, «gone»",
        ({"a": "«gone»", "b": "!"},),
        b"",
    )
    assert (fourth.text, fourth.by, last.text) == ("«gone» 1", "secret", "«gone» 4")
    assert isinstance(note, Note) and note.text == "a secret in what is no content"
    assert len({first.gone, fourth.gone, last.gone, note.gone}) == 4  # a check each, and UNSET


def test_equal_texts_have_hashes_that_tell_nothing(ram: Path, known: Registry) -> None:
    lines: list[bytes] = []
    for name in ("a", "b"):
        with LogWriter.create(ram / name, known, log_id="same", clock=lambda: 0) as writer:
            writer.append(Said(text="a secret"))
        erase(ram / name, known, {0: gone})
        lines.append((ram / name).read_bytes().splitlines()[1])
    assert lines[0][:-120] == lines[1][:-120]
    assert lines[0] != lines[1]


def test_a_writer_goes_on_after_it_and_a_follower_too(log: Path, known: Registry) -> None:
    erase(log, known, {6: gone})
    with LogWriter.open(log, known) as writer:
        writer.append(Said(text="more"))
    assert verify(log).events == 8
    assert len(list(follow(log, known, stop=lambda: True))) == 8


def test_it_can_be_done_again(log: Path, known: Registry) -> None:
    erase(log, known, {0: gone})
    erase(log, known, {0: lambda marker, text: text.replace("first", marker)})
    assert verify(log).ok
    assert next(read(log, known), None) is not None
    assert b"first" not in log.read_bytes()


def test_every_bit_of_a_line_that_lost_contents_is_still_guarded(log: Path, known: Registry) -> None:
    erase(log, known, dict.fromkeys((0, 6), gone))
    for path, line in ((log, 2), (segment_paths(log)[-1], None)):
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        number = line or len(lines)
        start = sum(map(len, lines[: number - 1]))
        for at in range(start, start + len(lines[number - 1])):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            found = verify(log)
            assert not found.ok
            assert (found.path, found.line) == (path, number)
            assert found.kind in KINDS
        path.write_bytes(whole)
    assert verify(log).ok


def test_a_line_without_a_salt_is_refused_and_nothing_changes(log: Path, known: Registry) -> None:
    before = log.read_bytes()
    with pytest.raises(LogError, match="event 1: its type declares no contents"):
        erase(log, known, {0: gone, 1: gone})
    assert log.read_bytes() == before


def test_a_log_in_use_is_not_touched_and_one_written_anew_can_be_held(log: Path, known: Registry) -> None:
    with LogWriter.open(log, known), pytest.raises(LogHeld):
        erase(log, known, {0: gone})
    erase(log, known, {0: gone})
    with LogWriter.open(log, known), pytest.raises(LogHeld):
        LogWriter.open(log, known)


def test_what_cannot_be_written_anew_stays_and_a_run_that_was_cut_short_can_be_done_again(
    log: Path, known: Registry
) -> None:
    before, copy = log.read_bytes(), log.with_name("log.forgetting")
    copy.mkdir()
    with pytest.raises(LogError, match="cannot write .* anew: .*Is a directory"):
        erase(log, known, {0: gone})
    assert log.read_bytes() == before
    copy.rmdir()
    copy.write_bytes(before * 2)  # as a run that was killed leaves it
    erase(log, known, {0: gone})
    assert not copy.exists()
    assert verify(log).ok
    assert repair(log).damage is None
