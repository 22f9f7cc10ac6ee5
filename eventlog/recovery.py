"""Opening a log for appending: find its end, put right what a crash explains, refuse the rest.

Only a writer repairs, and nothing is ever deleted: torn bytes are moved to `PATH.torn`.
"""

import os
import time
from pathlib import Path

import msgspec

from continualcode.eventlog.ack import Ack, read_ack
from continualcode.eventlog.chain import Place, Walk
from continualcode.eventlog.damage import Damage
from continualcode.eventlog.disk import Disk, write_all
from continualcode.eventlog.line import (
    FORMAT,
    GENESIS,
    MAX_LINE,
    TAIL,
    LogHeader,
    chain,
    decode_header,
    hash_of,
    head_of,
    seal,
)
from continualcode.eventlog.segments import segment_paths, torn_path

_CHUNK = 1 << 20


class End(msgspec.Struct, frozen=True, gc=False):
    """Where the next line goes: after byte `end` of `segment`, as event `seq`, chained to `h`."""

    segment: int
    end: int
    seq: int
    h: bytes


def header_line(
    log: str, segment: int, at: End | None, ts: str, merged: tuple[str, ...] = ()
) -> tuple[bytes, bytes]:
    """The first line of a segment, after the end of the segment before it; and that line's h."""
    prev, seq = (GENESIS, 0) if at is None else (at.h, at.seq)
    header = LogHeader(
        seq=seq,
        d=seq,
        ts=ts,
        id=f"{log}.{segment}",
        format=FORMAT,
        log=log,
        segment=segment,
        prev=prev.decode(),
        merged=merged,
    )
    body = msgspec.json.encode(header)
    h = chain(prev, body)
    return seal(body, h), h


def now(ns: int) -> str:
    """Nanoseconds since 1970 as a record's `ts`: UTC to the microsecond."""
    seconds, ns = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ns // 1000:06d}Z"


def recover(path: Path, disk: Disk) -> tuple[str, int, End]:
    """Make the log at `path` ready for appending: its id, the open last segment, and its end.

    Reads only what comes after the acknowledged end (the last segment where that is not known).
    The caller holds the lock. Raises LogCorrupt at damage that no crash explains.
    """
    walk = Walk(path, place=_start(path))
    batch = walk.place.offset
    for line in walk:
        head = head_of(line)
        if head is not None and head[1] == head[2]:  # the first line of a batch
            batch = walk.place.offset - len(line)
    place, damage = walk.place, walk.damage
    if damage is not None and not _explained(damage, place, walk.paths):
        raise damage.error()
    fd = disk.open(walk.paths[place.segment])
    try:
        end, log = finish(path, disk, fd, place, damage, batch)
        return log, fd, end
    except BaseException:
        os.close(fd)
        raise


def finish(
    path: Path, disk: Disk, fd: int, place: Place, damage: Damage | None, batch: int | None = None
) -> tuple[End, str]:
    """Make the log end at `place`, in the file `fd`, durably: its end and its id.

    Bytes after it are moved away. The last batch, which begins at byte `batch`, is written once more.
    """
    end = End(place.segment, place.offset, place.seq, place.h)
    if damage is not None:
        end = _put_right(path, disk, fd, end, damage, is_header=place.line == 0)
    _make_durable(disk, fd, min(end.end, place.offset if batch is None else batch), end.end)
    disk.sync_folder(path.parent)
    return end, log_id(path)


def log_id(path: Path) -> str:
    """The id that the first line of the log at `path` gives it; that line is whole."""
    with open(path, "rb") as file:
        header = decode_header(file.readline(MAX_LINE + 1))
    assert header is not None  # a walk has been over it
    return header.log


def _explained(damage: Damage, place: Place, paths: list[Path]) -> bool:
    """Whether a crash explains this, and it is at the end: the rest of the log is this damage."""
    return damage.recoverable and place.segment + 1 == len(paths)


def _start(path: Path) -> Place:
    """Where the tail begins that has to be looked at: the acknowledged end, or the last segment."""
    paths, ack = segment_paths(path), read_ack(path)
    if ack is not None and (place := _acknowledged(paths, ack)) is not None:
        return place
    header = _header(paths[-1])
    if header is None or len(paths) == 1:
        return Place()
    with open(paths[-2], "rb") as file:
        file.seek(-min(TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        joined = hash_of(file.read()) == header.prev.encode()
    if not joined:
        return Place()
    return Place(segment=header.segment, seq=header.seq, h=header.prev.encode(), log=header.log)


def _acknowledged(paths: list[Path], ack: Ack) -> Place | None:
    """The place after the acknowledged end, if the log's bytes there are those that the sidecar means."""
    first = _header(paths[0])
    if first is None or first.log != ack.log or ack.segment >= len(paths):
        return None
    header = _header(paths[ack.segment])
    with open(paths[ack.segment], "rb") as file:
        file.seek(max(0, ack.end - TAIL))
        if header is None or file.read(TAIL) != b',"h":"%b"}\n' % ack.h.encode():
            return None
    line = ack.events - header.seq + 1
    return Place(ack.segment, line, ack.end, ack.events, ack.h.encode(), ack.log)


def _header(path: Path) -> LogHeader | None:
    with open(path, "rb") as file:
        return decode_header(file.readline(MAX_LINE + 1))


def _put_right(path: Path, disk: Disk, fd: int, end: End, damage: Damage, *, is_header: bool) -> End:
    """Complete a line that lacks its newline; move anything else away, and begin again a torn header."""
    if damage.kind == "newline":
        size = os.fstat(fd).st_size
        h = os.pread(fd, 66, size - 66)[:64]
        write_all(disk, fd, b"\n", size)
        return End(end.segment, size + 1, end.seq if is_header else end.seq + 1, h)
    quarantine(torn_path(path), disk, fd, end)
    if not is_header:
        return end
    log = new_id() if end.segment == 0 else log_id(path)
    line, h = header_line(log, end.segment, end, now(time.time_ns()))
    write_all(disk, fd, line, 0)
    return End(end.segment, len(line), end.seq, h)


def quarantine(torn: Path, disk: Disk, fd: int, end: End) -> None:
    """Move what comes after `end` in the file `fd` to the file `torn`, durable there before it goes here."""
    size = os.fstat(fd).st_size
    if size == end.end:
        return
    out = disk.open_sidecar(torn)
    try:
        at = os.fstat(out).st_size
        note = msgspec.json.encode(
            {"moved": now(time.time_ns()), "segment": end.segment, "offset": end.end, "bytes": size - end.end}
        )
        write_all(disk, out, note + b"\n", at)
        at += len(note) + 1
        for offset in range(end.end, size, _CHUNK):
            data = os.pread(fd, min(_CHUNK, size - offset), offset)
            write_all(disk, out, data, at)
            at += len(data)
        write_all(disk, out, b"\n", at)
        disk.fdatasync(out)
        disk.sync_folder(torn.parent)
    finally:
        os.close(out)
    disk.truncate(fd, end.end)


def _make_durable(disk: Disk, fd: int, start: int, end: int) -> None:
    """Write the last batch again where it is, and sync.

    After a failed sync the kernel may hold pages that it calls clean and that never reached the disk;
    a sync alone would then succeed and do nothing.
    """
    for offset in range(start, end, _CHUNK):
        write_all(disk, fd, os.pread(fd, min(_CHUNK, end - offset), offset), offset)
    disk.fdatasync(fd)


def new_id() -> str:
    """48 random bits as hex: a log's id, or the first part of its events' ids."""
    return os.urandom(6).hex()
