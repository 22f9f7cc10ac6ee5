"""The sidecar `PATH.ack`: how far the log is acknowledged, so that its last batch has a witness too.

Two lines of fixed length. The first says where the acknowledged lines end; it is written in place
after every sync and not synced itself, so it may lag behind the log but never runs ahead of it. The
second says which process holds the log. A damaged or foreign sidecar is as good as none.
"""

import os
import socket
import zlib
from pathlib import Path

import msgspec

from continualcode.eventlog.segments import ack_path

LINE = 256


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
    return (b"%b%d}" % (text, zlib.crc32(text))).ljust(LINE - 1) + b"\n"


def holder_line() -> bytes:
    """The second line, of this process."""
    host = socket.gethostname()[:120]
    return msgspec.json.encode(Holder(pid=os.getpid(), host=host)).ljust(LINE - 1) + b"\n"


def read_ack(path: Path) -> Ack | None:
    """What the sidecar of the log at `path` says, or None where it is missing or damaged."""
    try:
        with open(ack_path(path), "rb") as file:
            line = file.read(LINE)
    except OSError:
        return None
    text, found, crc = line.rstrip().rpartition(b'"crc":')
    if not found or crc != b"%d}" % zlib.crc32(text + found):
        return None
    try:
        return msgspec.json.decode(line, type=Ack)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def read_holder(path: Path) -> Holder | None:
    """Who opened the log at `path` for writing last, or None where that is not written down."""
    try:
        with open(ack_path(path), "rb") as file:
            file.seek(LINE)
            return msgspec.json.decode(file.read(LINE), type=Holder)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
