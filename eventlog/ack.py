"""The sidecar `PATH.ack`: how far the log is acknowledged, so that its last batch has a witness too.

Two lines of fixed length. The first says where the acknowledged lines end; it is written in place
after every sync and not synced itself, so it may lag behind the log but never runs ahead of it. The
second says which process holds the log. For reading and recovery a damaged or foreign sidecar is as good
as none; `verify` says that it is damaged.
"""

import os
import socket
import zlib
from pathlib import Path

import msgspec

from continualcode.eventlog.segments import ack_path

LINE = 256

_TRIES = 3
"""A reader may meet a writer in the middle of its write; not so often in a row."""


class Ack(msgspec.Struct, frozen=True):
    """Segment `segment` of the log `log` holds acknowledged lines up to byte `end`.

    `events` counts the events of the whole log up to there; `h` is that of the last line.
    """

    log: str
    segment: int
    end: int
    events: int
    h: str


class Holder(msgspec.Struct, frozen=True):
    """Who opened the log for writing last."""

    pid: int
    host: str


def ack_line(log: bytes, segment: int, end: int, events: int, h: bytes) -> bytes:
    """The first line, with a checksum, padded."""
    text = b'{"log":"%b","segment":%d,"end":%d,"events":%d,"h":"%b","crc":' % (log, segment, end, events, h)
    return b"%-255b\n" % (b"%b%d}" % (text, zlib.crc32(text)))


def holder_line() -> bytes:
    """The second line, of this process."""
    host = socket.gethostname()[:120]
    return b"%-255b\n" % msgspec.json.encode(Holder(pid=os.getpid(), host=host))


def read_ack(path: Path) -> Ack | None:
    """What the sidecar of the log at `path` says, or None where it is missing or damaged."""
    for _ in range(_TRIES):
        line = _first_line(path)
        if not line:
            return None
        try:
            ack = msgspec.json.decode(line, type=Ack)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        if line == ack_line(ack.log.encode(), ack.segment, ack.end, ack.events, ack.h.encode()):
            return ack
    return None


def ack_is_damaged(path: Path) -> bool:
    """Whether the log at `path` has a sidecar whose first line is not as any writer leaves it."""
    return bool(_first_line(path)) and read_ack(path) is None


def _first_line(path: Path) -> bytes:
    """Empty where there is no sidecar, or one that is only just being made."""
    try:
        with open(ack_path(path), "rb") as file:
            return file.read(LINE)
    except OSError:
        return b""


def read_holder(path: Path) -> Holder | None:
    """Who opened the log at `path` for writing last, or None where that is not written down."""
    try:
        with open(ack_path(path), "rb") as file:
            file.seek(LINE)
            return msgspec.json.decode(file.read(LINE), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
