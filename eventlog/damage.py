"""What is wrong at a line, and whether a crash explains it.

A crash tears only what was never acknowledged: the last batch. So a damaged line is *torn* unless
something later proves that it had been durable: the `.ack` sidecar covers it, or a later whole line
has a `d` greater than its index. Everything else is corruption.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from continualcode.eventlog.ack import Ack, ack_is_damaged
from continualcode.eventlog.errors import LogCorrupt
from continualcode.eventlog.line import MAX_LINE, TAIL, decode_header, follows, head_of
from continualcode.eventlog.segments import ack_path

KINDS = {
    "newline": "a whole line that lacks only its newline",
    "torn": "the file ends within the line",
    "zeroed": "NUL bytes where text should be",
    "fused": "two lines in one",
    "malformed": "not the shape of a line",
    "changed": "the bytes do not match their hash",
    "missing": "lines that should be here are gone",
    "repeated": "a line of before comes again",
    "swapped": "two lines changed places",
    "rewritten": "the lines match each other and not what was acknowledged",
    "header": "the first line is no header of a log that this version can read",
    "foreign": "this is no log: it does not begin as one, and holds no line of one",
    "sidecar": "the lines are whole, and the .ack sidecar is not as it was written",
    "blob": "the lines are whole, and a blob does not match its digest",
}
"""The words that `LogCorrupt.kind` and `Verification.kind` use."""

NO_REPAIR = frozenset({"header", "foreign"})
"""Where `repair` has nothing to offer: what it would move away may be as good as new."""

_HEADER = b'{"t":"log","seq":0,'


@dataclass(frozen=True, slots=True)
class Damage:
    """The first damaged line: `line` is 1-based in the file `path`, `offset` is where it starts, in bytes.

    `recoverable`: the next writer puts it right by itself, losing nothing that was acknowledged. Either a
    crash explains it, and nothing proves that it was ever acknowledged, or only the last newline lacks.
    """

    path: Path
    line: int
    offset: int
    kind: str
    recoverable: bool
    found: str

    def error(self) -> LogCorrupt:
        """As the error that a reader raises."""
        hint = " (the next session puts it right)" if self.recoverable else ""
        if not self.recoverable and self.kind not in NO_REPAIR:
            hint = " (`cc log repair` moves it, and all that follows, aside)"
        return LogCorrupt(self.path, self.line, self.offset, self.kind, self.found + hint)


def diagnose(
    paths: list[Path],
    segment: int,
    line: int,
    offset: int,
    seq: int,
    prev: bytes,
    ack: Ack | None,
    bad: bytes,
) -> Damage:
    """Name the damage of the line `bad`, read at `offset`, where event `seq` (or the header) should be.

    The log may be written to meanwhile. So a line that ended in the end of the file counts as that,
    even if there is more by now; and one that is whole by now was being written.
    """
    path, is_header = paths[segment], line == 1
    ended = not bad.endswith(b"\n") and len(bad) <= MAX_LINE
    with open(path, "rb") as file:
        file.seek(offset)
        in_progress = ended or follows(prev, file.readline(MAX_LINE + 1))
        file.seek(offset + len(bad))
        kind = _kind(bad, file, segment, seq, prev, is_header=is_header)
        durable = (not in_progress and _says_durable(file, is_header, seq)) or any(
            _says_durable_in(later, is_header, seq) for later in paths[segment + 1 :]
        )
    torn = not durable and not acked(ack, segment, offset)
    if torn and is_header and segment == 0 and not _begins_a_log(bad):
        return Damage(path, line, offset, "foreign", False, KINDS["foreign"])
    found = KINDS[kind] if torn else f"{KINDS[kind]}; {_proof(ack, segment, offset)}"
    recoverable = torn or (kind == "newline" and segment + 1 == len(paths))
    return Damage(path, line, offset, kind, recoverable, found)


def _begins_a_log(bad: bytes) -> bool:
    """Whether a log's first line may have been this: it begins or ends so, or a power loss has left NULs."""
    start = bad[: len(_HEADER)]
    return start in (_HEADER[: len(bad)], bytes(len(start))) or not _bad_tail(bad)


def damaged_sidecar(path: Path) -> Damage | None:
    """What is wrong with the sidecar of the log at `path`, itself; the lines may be whole."""
    if not ack_is_damaged(path):
        return None
    return Damage(ack_path(path), 1, 0, "sidecar", True, KINDS["sidecar"])


def acked(ack: Ack | None, segment: int, offset: int) -> bool:
    """Whether the byte at `offset` of `segment` was acknowledged."""
    return ack is not None and (segment, offset) < (ack.segment, ack.end)


def _proof(ack: Ack | None, segment: int, offset: int) -> str:
    by = "the .ack sidecar" if acked(ack, segment, offset) else "a later line"
    return f"{by} says that it was acknowledged"


def _kind(bad: bytes, file: BinaryIO, segment: int, seq: int, prev: bytes, *, is_header: bool) -> str:
    if not bad:
        return "missing"
    if not bad.endswith(b"\n") and len(bad) <= MAX_LINE:
        return "newline" if follows(prev, bad + b"\n") else "zeroed" if b"\0" in bad else "torn"
    if b"\0" in bad:
        return "zeroed"
    head = head_of(bad)
    if b'"}{"t":"' in bad:
        return "fused"
    if head is None or bad[-TAIL:][:6] != b',"h":"' or not bad.endswith(b'"}\n'):
        return "malformed"
    if is_header:
        return _other_header(bad, segment)
    return "repeated" if head[0] == "log" else _misplaced(head[1], file, seq)


def _other_header(bad: bytes, segment: int) -> str:
    """Where a line is in a header's place: what it is, if it is a sound header of another segment."""
    header = decode_header(bad)
    if header is None or header.segment == segment or not follows(header.prev.encode(), bad):
        return "changed"
    return "repeated" if header.segment < segment else "missing"


def _misplaced(given: int, file: BinaryIO, seq: int) -> str:
    """Where the line is whole but has another event's number: what the line after it tells."""
    place = file.tell()
    after = head_of(file.readline(MAX_LINE + 1))
    file.seek(place)
    following = after[1] if after else None
    if given == seq or following == seq + 1:
        return "changed"
    if given < seq:
        return "repeated"
    return "swapped" if given == seq + 1 and following == seq else "missing"


def _says_durable_in(path: Path, is_header: bool, seq: int) -> bool:
    with open(path, "rb") as file:
        return _says_durable(file, is_header, seq)


def _says_durable(file: BinaryIO, is_header: bool, seq: int) -> bool:
    """Whether a whole line from here on says that event `seq` (or the header) had been durable."""
    while line := file.readline(MAX_LINE + 1):
        head = head_of(line)
        if head is None or _bad_tail(line):
            continue
        if is_header or head[2] > seq:
            return True
    return False


def _bad_tail(line: bytes) -> bool:
    """Whether a line does not end as lines do."""
    return line[-TAIL : 6 - TAIL] != b',"h":"' or line[-3:] != b'"}\n'
