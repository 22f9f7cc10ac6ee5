"""Damage to a finished log: every one is noticed, and the line that is named is the one that was hit."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from continualcode.eventlog import (
    BlobStore,
    LogCorrupt,
    LogError,
    LogWriter,
    Registry,
    Verification,
    blobs_path,
    forget,
    read,
    repair,
    verify,
)
from continualcode.eventlog.segments import ack_path, segment_paths
from continualcode.eventlog.testing import Note

WITNESS = pytest.mark.parametrize("witness", [True, False], ids=["ack", "no ack"])


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def without_witness(path: Path, witness: bool) -> None:
    if not witness:
        ack_path(path).unlink()


def place(found: Verification) -> tuple[Path, int | None, int | None]:
    return found.path, found.line, found.offset


def starts(lines: list[bytes]) -> list[int]:
    return [0, *itertools.accumulate(len(line) for line in lines)]


@WITNESS
def test_every_bit_flipped_is_noticed_at_its_line(
    finished: Path, witness: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    without_witness(finished, witness)
    flips = missed = 0
    for path in segment_paths(finished):
        data = bytearray(path.read_bytes())
        lines = lines_of(path)
        where = [i for i, line in enumerate(lines) for _ in line]
        offsets = starts(lines)
        with open(path, "r+b", buffering=0) as file:
            for at, byte in enumerate(data):
                for bit in range(8):
                    file.seek(at)
                    file.write(bytes([byte ^ (1 << bit)]))
                    found = verify(finished)
                    flips += 1
                    missed += found.ok or place(found) != (path, where[at] + 1, offsets[where[at]])
                file.seek(at)
                file.write(bytes([byte]))
    assert verify(finished).ok
    with capsys.disabled():
        print(f"\n  {flips} bits flipped, {missed} unnoticed or misplaced", end=" ")
    assert flips > 10_000 and missed == 0


def test_a_reader_never_yields_a_record_of_a_damaged_line(finished: Path, registry: Registry) -> None:
    """Up to the line that was hit it yields what was written; there it raises, naming the line."""
    whole = [r.id for r in read(finished, registry)]
    path = segment_paths(finished)[0]
    data, lines = path.read_bytes(), lines_of(path)
    where = [i for i, line in enumerate(lines) for _ in line]
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        got: list[str] = []
        with pytest.raises(LogCorrupt) as caught:
            for record in read(finished, registry):
                got.append(record.id)
        assert caught.value.line == where[at] + 1
        assert got == whole[: max(0, where[at] - 1)]


def test_cut_anywhere_is_noticed_at_its_line_where_the_end_was_acknowledged(finished: Path) -> None:
    path = segment_paths(finished)[1]
    data, lines = path.read_bytes(), lines_of(path)
    where = [i for i, line in enumerate(lines) for _ in line]
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = verify(finished)
        assert not found.ok and found.recoverable == (found.kind == "newline")
        assert place(found) == (path, where[length] + 1, starts(lines)[where[length]])


def test_a_log_whose_acknowledged_end_is_cut_off_is_not_opened_and_not_read(
    finished: Path, registry: Registry
) -> None:
    path = segment_paths(finished)[1]
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    with pytest.raises(LogCorrupt, match="line 2 .*missing.*5 events were acknowledged, 4 are left"):
        LogWriter.open(finished, registry)
    with pytest.raises(LogCorrupt, match="missing"):
        list(read(finished, registry))


def test_without_the_sidecar_a_cut_between_lines_of_the_last_batch_cannot_be_known(
    finished: Path, registry: Registry
) -> None:
    """This is the limit: the log is then a whole, shorter log."""
    ack_path(finished).unlink()
    path = segment_paths(finished)[1]
    path.write_bytes(b"".join(lines_of(path)[:-1]))
    assert verify(finished).ok
    assert verify(finished).ack == "missing"


def deleted(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i in range(len(lines) - 1):
        yield i, lines[:i] + lines[i + 1 :]


def doubled(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i, line in enumerate(lines):
        yield i + 1, [*lines[:i], line, *lines[i:]]


def swapped(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i in range(len(lines) - 1):
        yield i, [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]]


def fused(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i in range(len(lines) - 1):
        yield i, [*lines[:i], lines[i][:-1] + lines[i + 1], *lines[i + 2 :]]


def zeroed(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i, line in enumerate(lines):
        yield i, [*lines[:i], bytes(len(line)), *lines[i + 1 :]]
        yield i, [*lines[:i], line[:9] + bytes(5) + line[14:], *lines[i + 1 :]]


def split(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i, line in enumerate(lines):
        yield i, [*lines[:i], line[:30] + b"\n" + line[30:], *lines[i + 1 :]]


def replaced(lines: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    for i, line in enumerate(lines):
        yield i, [*lines[:i], b"not a log\n", *lines[i + 1 :]]
        yield i, [*lines[:i], b"\n", line, *lines[i + 1 :]]
        yield i, [*lines[:i], line[:-1] + b"\r\n", *lines[i + 1 :]]


@WITNESS
@pytest.mark.parametrize("damage", [deleted, doubled, swapped, fused, zeroed, split, replaced])
def test_lines_moved_or_mangled_are_noticed_at_the_first_that_is_wrong(
    finished: Path, witness: bool, damage: Callable[[list[bytes]], Iterator[tuple[int, list[bytes]]]]
) -> None:
    without_witness(finished, witness)
    for path in segment_paths(finished):
        data, lines = path.read_bytes(), lines_of(path)
        for line, after in damage(lines):
            path.write_bytes(b"".join(after))
            found = verify(finished)
            assert not found.ok
            assert place(found) == (path, line + 1, starts(after)[line]), (damage.__name__, found)
        path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "kinds"),
    [
        (deleted, {"missing"}),
        (doubled, {"repeated"}),
        (swapped, {"swapped"}),
        (fused, {"fused"}),
        (zeroed, {"zeroed"}),
        (split, {"malformed"}),
    ],
)
def test_the_kind_of_damage_is_said(
    ram: Path,
    registry: Registry,
    damage: Callable[[list[bytes]], Iterator[tuple[int, list[bytes]]]],
    kinds: set[str],
) -> None:
    path = ram / "log"
    with LogWriter.create(path, registry) as log:
        for i in range(6):
            log.append(Note(text=f"{i}"))
    for after in [after for line, after in damage(lines_of(path)) if 0 < line < 5]:
        path.write_bytes(b"".join(after))
        assert verify(path).kind in kinds


@WITNESS
def test_nul_bytes_at_the_tail_are_noticed(finished: Path, witness: bool) -> None:
    """They are no part of any acknowledged line, so a crash may have left them."""
    without_witness(finished, witness)
    path = segment_paths(finished)[1]
    lines = lines_of(path)
    path.write_bytes(b"".join(lines) + bytes(700))
    found = verify(finished)
    assert (found.line, found.kind, found.recoverable, found.good_events) == (
        len(lines) + 1,
        "zeroed",
        True,
        5,
    )


def test_a_segment_that_is_gone_is_missed(finished: Path) -> None:
    last = segment_paths(finished)[1]
    kept = last.read_bytes()
    last.unlink()
    assert (verify(finished).kind, verify(finished).recoverable) == ("missing", False)
    last.with_name(last.name[:-1] + "2").write_bytes(kept)
    found = verify(finished)
    assert (found.kind, found.path, found.line, found.good_events) == ("missing", last, 1, 4)
    finished.unlink()
    found = verify(finished)
    assert (found.kind, found.path, found.line, found.good_events) == ("missing", finished, 1, 0)


def test_a_segment_whose_last_lines_are_gone_is_named_not_the_next(
    finished: Path, registry: Registry
) -> None:
    lines = lines_of(finished)
    for kept in range(1, len(lines)):
        finished.write_bytes(b"".join(lines[:kept]))
        found = verify(finished)
        assert (found.kind, found.recoverable, found.good_events) == ("missing", False, kept - 1)
        assert place(found) == (finished, kept + 1, starts(lines)[kept])
    with pytest.raises(LogCorrupt, match="begins with event 4, not 3"):
        list(read(finished, registry))
    assert (repair(finished).events, verify(finished).ok) == (3, True)


def test_segments_that_are_in_each_others_place_are_noticed(finished: Path) -> None:
    first, last = segment_paths(finished)
    last.with_name(f"{first.name}.2").write_bytes(last.read_bytes())
    assert (verify(finished).kind, verify(finished).path.suffix) == ("repeated", ".2")
    first.write_bytes(last.read_bytes())
    assert (verify(finished).kind, place(verify(finished))) == ("missing", (first, 1, 0))


def test_a_chain_computed_anew_is_not_the_one_that_was_acknowledged(
    finished: Path, registry: Registry, ram: Path
) -> None:
    """Someone who rewrites a line and every hash after it still meets the sidecar's hash."""
    with LogWriter.create(ram / "other", registry, log_id="abc", segment_bytes=900) as other:
        for record in read(finished, registry):
            other.append(record)
    for mine, theirs in zip(segment_paths(finished), segment_paths(ram / "other"), strict=True):
        mine.write_bytes(theirs.read_bytes())
    found = verify(finished)
    assert not found.ok and (found.kind, found.recoverable) == ("rewritten", False)


def test_the_sidecar_of_another_log_says_nothing(finished: Path, registry: Registry, ram: Path) -> None:
    LogWriter.create(ram / "other", registry).close()
    ack_path(finished).write_bytes(ack_path(ram / "other").read_bytes())
    assert verify(finished).ok
    assert verify(finished).ack == "foreign"


def test_a_damaged_sidecar_is_said_and_is_as_good_as_none(finished: Path, registry: Registry) -> None:
    sidecar = ack_path(finished)
    data = sidecar.read_bytes()
    for at in range(256):
        for bad in (data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], data[:at]) if at else (bytes(512),):
            sidecar.write_bytes(bad)
            found = verify(finished)
            assert (found.ok, found.ack, found.kind) == (False, "damaged", "sidecar"), at
            assert (found.recoverable, found.good_events, place(found)) == (True, 5, (sidecar, 1, 0))
    assert len(list(read(finished, registry))) == 5
    assert repair(finished).events == 5
    assert sidecar.read_bytes()[:256] == data[:256]
    sidecar.write_bytes(b"")
    assert (verify(finished).ok, verify(finished).ack) == (True, "missing")
    LogWriter.open(finished, registry).close()
    assert sidecar.read_bytes() == data


def test_a_changed_blob_is_said_and_can_be_forgotten(finished: Path) -> None:
    store = BlobStore(blobs_path(finished))
    digests = [store.put("kept"), store.put("hit")]
    assert verify(finished).ok
    hit = store.folder / digests[1]
    whole = hit.read_bytes()
    for at in range(len(whole)):
        hit.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        found = verify(finished)
        assert (found.ok, found.kind, place(found), found.good_events) == (False, "blob", (hit, 1, 0), 5)
    assert forget(finished, digests=digests[1:]) == digests[1:]
    assert verify(finished).ok


def test_a_log_is_not_begun_before_segments_of_another(finished: Path, registry: Registry) -> None:
    finished.unlink()
    with pytest.raises(LogError, match=r"finished\.jsonl\.1 is there"):
        LogWriter.create(finished, registry)
    assert not finished.exists()
