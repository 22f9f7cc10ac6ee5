"""Merging keeps every event and where it was from; repairing keeps every byte."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.eventlog import (
    BlobStore,
    LogCorrupt,
    LogError,
    LogHeld,
    LogWriter,
    Registry,
    blobs_path,
    first_written,
    merge,
    origin,
    read,
    read_header,
    repair,
    verify,
)
from continualcode.eventlog.segments import segment_paths, torn_path
from continualcode.eventlog.testing import Note, example_registry


def write(path: Path, log_id: str, times: list[int]) -> None:
    """A log with one event at each time, in seconds."""
    clock = iter([0, *times])
    with LogWriter.create(path, example_registry(), log_id=log_id, clock=lambda: next(clock) * 10**9) as log:
        for number, _ in enumerate(times):
            log.append(Note(text=f"{log_id}{number}"))


def texts(path: Path) -> list[str]:
    return [r.text for r in read(path, example_registry()) if isinstance(r, Note)]


def test_events_go_by_time_between_logs_and_by_seq_within_one(ram: Path) -> None:
    write(ram / "a", "a", [1, 5, 3, 9])  # the clock went backwards: a2 counts as no earlier than a1
    write(ram / "b", "b", [2, 4, 6])
    result = merge([ram / "b", ram / "a"], ram / "out")
    assert texts(ram / "out") == ["a0", "b0", "b1", "a1", "a2", "b2", "a3"]
    assert (result.events, result.twins, result.logs) == (7, 0, ("a", "b"))
    assert verify(ram / "out").ok


def test_each_event_says_where_it_came_from_and_keeps_id_cause_and_time(ram: Path) -> None:
    write(ram / "a", "a", [1, 2])
    before = list(read(ram / "a", example_registry()))
    merge([ram / "a"], ram / "out")
    after = list(read(ram / "out", example_registry()))
    assert [(r.id, r.ts, r.cause) for r in after] == [(r.id, r.ts, r.cause) for r in before]
    lines = (ram / "out").read_bytes().splitlines(keepends=True)
    assert [origin(line) for line in lines] == [None, "a:0", "a:1"]
    assert [r.of for r in after] == ["a:0", "a:1"]
    assert [r.of for r in read(ram / "out", Registry())] == ["a:0", "a:1"]
    assert first_written(after[1], "out") == ("a", 1)
    assert first_written(before[1], "a") == ("a", 1)
    assert read_header(ram / "out").merged == ("a",)
    assert read_header(ram / "out").log != "a"


LOGS = st.lists(st.lists(st.integers(0, 4), max_size=5), min_size=3, max_size=3)


@settings(max_examples=15, deadline=None)
@given(LOGS, st.permutations(range(3)))
def test_the_order_depends_on_the_logs_alone(times: list[list[int]], order: list[int]) -> None:
    """Not on how they are given; and merging merged logs gives the same as merging all at once."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        ram = Path(folder)
        paths = [ram / name for name in "abc"]
        for path, given_times in zip(paths, times, strict=True):
            write(path, path.name, given_times)
        merge(paths, ram / "all")
        merge([paths[i] for i in order], ram / "permuted")
        merge([paths[order[0]], paths[order[1]]], ram / "two")
        merge([ram / "two", paths[order[2]]], ram / "nested")
        assert texts(ram / "all") == texts(ram / "permuted") == texts(ram / "nested")
        assert sorted(texts(ram / "all")) == sorted(
            f"{n}{i}" for n, t in zip("abc", times, strict=True) for i in range(len(t))
        )
        for name in "abc":
            mine = [text for text in texts(ram / "all") if text.startswith(name)]
            assert mine == texts(ram / name)
        assert merge([ram / "all", ram / "nested", *paths], ram / "again").events == len(texts(ram / "all"))


def test_a_log_and_its_continued_copy_merge_without_twins(ram: Path, registry: Registry) -> None:
    write(ram / "a", "a", [1, 1, 1])
    (ram / "copy").write_bytes((ram / "a").read_bytes())
    for name in ("a", "copy"):
        with LogWriter.open(ram / name, registry) as log:
            log.append(Note(text=f"only in {name}"))
    result = merge([ram / "a", ram / "copy"], ram / "out")
    assert (result.events, result.twins) == (5, 3)
    assert sorted(texts(ram / "out")) == ["a0", "a1", "a2", "only in a", "only in copy"]


def test_blobs_come_along_and_what_one_log_has_forgotten_stays_forgotten(ram: Path) -> None:
    for name in "ab":
        write(ram / name, name, [1])
    a, b = BlobStore(blobs_path(ram / "a")), BlobStore(blobs_path(ram / "b"))
    kept, shared = a.put("kept"), a.put("shared")
    b.adopt(a)
    b.forget(shared)
    merge([ram / "a", ram / "b"], ram / "out")
    out = BlobStore(blobs_path(ram / "out"))
    assert out.text(kept) == "kept"
    assert out.digests() == [kept]


def test_a_damaged_log_is_not_merged_and_no_half_result_is_left(ram: Path) -> None:
    write(ram / "a", "a", [1, 2, 3])
    (ram / "a").write_bytes((ram / "a").read_bytes().replace(b'"a1"', b'"aX"'))
    with pytest.raises(LogCorrupt, match="line 3 "):
        merge([ram / "a"], ram / "out")
    assert sorted(p.name for p in ram.iterdir()) == ["a", "a.ack"]


def test_merging_never_overwrites(ram: Path) -> None:
    write(ram / "a", "a", [1])
    with pytest.raises(LogError, match="File exists"):
        merge([ram / "a"], ram / "a")
    with pytest.raises(LogError, match="no logs were given"):
        merge([], ram / "out")


def test_repair_keeps_what_is_before_the_damage_and_moves_all_that_follows(
    finished: Path, registry: Registry
) -> None:
    whole = {path: path.read_bytes() for path in segment_paths(finished)}
    damaged = whole[finished].replace(b"three", b"THREE")
    finished.write_bytes(damaged)
    result = repair(finished)
    assert (result.events, result.lost) == (2, 3)
    assert result.damage is not None and (result.damage.kind, result.damage.line) == ("changed", 4)
    assert verify(finished).ok
    assert [r.seq for r in read(finished, registry)] == [0, 1]
    moved = torn_path(finished).read_bytes()
    assert damaged[len(finished.read_bytes()) :] in moved
    assert whole[finished.with_name("finished.jsonl.1")] in moved
    assert result.moved == sum(map(len, whole.values())) - len(finished.read_bytes())
    with LogWriter.open(finished, registry) as log:
        assert log.append(Note(text="on")).seq == 2


def test_repairing_a_sound_log_changes_nothing(finished: Path) -> None:
    before = {p: p.read_bytes() for p in finished.parent.iterdir()}
    assert (repair(finished).events, repair(finished).damage) == (5, None)
    assert {p: p.read_bytes() for p in finished.parent.iterdir()} == before


def test_a_log_cut_below_its_acknowledged_end_is_accepted_as_it_is(finished: Path) -> None:
    last = segment_paths(finished)[1]
    last.write_bytes(last.read_bytes()[:-10])
    result = repair(finished)
    assert (result.events, result.lost) == (4, 1)
    assert verify(finished).ok


def test_a_missing_segment_is_repaired_by_moving_those_after_it(finished: Path) -> None:
    last = segment_paths(finished)[1]
    kept = last.read_bytes()
    last.rename(last.with_name("finished.jsonl.2"))
    assert repair(finished).events == 4
    assert verify(finished).ok
    assert kept in torn_path(finished).read_bytes()


def test_a_damaged_header_leaves_an_empty_log_and_every_byte_in_quarantine(
    finished: Path, registry: Registry
) -> None:
    data = b"X" + finished.read_bytes()[1:]
    finished.write_bytes(data)
    assert repair(finished).events == 0
    assert data in torn_path(finished).read_bytes()
    assert verify(finished).ok
    LogWriter.open(finished, registry).close()


def test_every_flipped_byte_can_be_repaired_and_gone_on_from(finished: Path, registry: Registry) -> None:
    whole = {path: path.read_bytes() for path in finished.parent.iterdir()}
    for path in segment_paths(finished):
        for at in range(0, len(whole[path]), 5):
            for old in finished.parent.iterdir():
                old.unlink()
            for other, data in whole.items():
                other.write_bytes(data)
            path.write_bytes(whole[path][:at] + bytes([whole[path][at] ^ 2]) + whole[path][at + 1 :])
            good = verify(finished).good_events
            assert repair(finished).events == good
            with LogWriter.open(finished, registry) as log:
                assert log.append(Note(text="on")).seq == good
            assert verify(finished).ok


def test_a_log_in_use_is_not_repaired(finished: Path, registry: Registry) -> None:
    with LogWriter.open(finished, registry), pytest.raises(LogHeld):
        repair(finished)


@pytest.mark.parametrize("content", [b"import os\n", b"x", b"\x7fELF\0\0\n", b'{"t":"note"}\n', b"\n" * 3])
def test_a_file_that_is_no_log_is_left_alone(ram: Path, registry: Registry, content: bytes) -> None:
    path = ram / "script.py"
    path.write_bytes(content)
    assert (verify(path).kind, verify(path).recoverable) == ("foreign", False)
    with pytest.raises(LogCorrupt, match="this is no log"):
        repair(path)
    with pytest.raises(LogCorrupt, match="this is no log"):
        LogWriter.open(path, registry)
    with pytest.raises(LogCorrupt, match="this is no log"):
        list(read(path, registry))
    assert [p.name for p in ram.iterdir()] == ["script.py"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b'{"t":"log","seq":0,"d', bytes(300)])
def test_what_a_crash_leaves_of_a_first_line_is_begun_again(
    ram: Path, registry: Registry, content: bytes
) -> None:
    path = ram / "log"
    path.write_bytes(content)
    assert verify(path).recoverable
    with LogWriter.open(path, registry) as log:
        log.append(Note(text="on"))
    assert verify(path).ok
