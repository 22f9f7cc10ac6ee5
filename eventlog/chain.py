"""Walking the lines of a log along their hashes: what reading, verifying and recovery have in common."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from continualcode.eventlog.ack import Ack, read_ack
from continualcode.eventlog.damage import Damage, acked, diagnose
from continualcode.eventlog.line import (
    FORMAT,
    GENESIS,
    MAX_LINE,
    TAIL,
    LogHeader,
    decode_header,
    follows,
    hash_of,
    is_forgotten,
)
from continualcode.eventlog.segments import existing_segments, gap_in, segment_path, segment_paths

BUFFER = 1 << 18
"""Bytes read at a time."""


Progress = Callable[[int, int], None]
"""Called now and then with the bytes done and the bytes in all."""


@dataclass(slots=True)
class Place:
    """How far a walk has come: after `line` lines and `offset` bytes of a segment, before event `seq`.

    `h` is that of the last line, `log` the log's id once its header has been read."""

    segment: int = 0
    line: int = 0
    offset: int = 0
    seq: int = 0
    h: bytes = GENESIS
    log: str = ""


class Walk:
    """The whole lines of a log, in order, each checked against the one before it.

    Iterating yields each event's line with its newline. `place` is where the walk stands, `header` that of
    the segment it is in. The walk ends before the first damage, which `damage` then holds; it ends
    without damage where the log does. The acknowledged end is read before anything else, so walking
    a log that is being written is safe.
    """

    def __init__(self, path: Path, *, place: Place | None = None) -> None:
        self.ack: Ack | None = read_ack(path)
        self.paths = segment_paths(path)
        self.place = place or Place()
        self.header: LogHeader | None = None
        self.damage: Damage | None = None
        self.foreign_ack: Ack | None = None
        self.unended = b""  # the last line, where it is whole and was acknowledged and lacks only its newline
        self._path, self._before = path, self.place
        if self.place.log:
            self._know_log(self.place.log)

    def __iter__(self) -> Iterator[bytes]:
        place = self.place
        while place.segment < len(self.paths):
            yield from self._segment()
            if self.damage is not None:
                return
            if place.segment + 1 == len(self.paths):
                break
            self._before = replace(place)
            place.segment, place.line, place.offset = place.segment + 1, 0, 0
        self._check_end()

    def telling(self, progress: Progress | None) -> Iterator[bytes]:
        """The lines, with progress told now and then, and at the end."""
        if progress is None:
            yield from self
            return
        place, sizes = self.place, [path.stat().st_size for path in self.paths]
        for line in self:
            yield line
            if not place.seq & 0x3FFF:
                progress(sum(sizes[: place.segment]) + place.offset, sum(sizes))
        progress(sum(sizes), sum(sizes))

    def _segment(self) -> Iterator[bytes]:
        place = self.place
        with open(self.paths[place.segment], "rb", buffering=BUFFER) as file:
            file.seek(place.offset)
            if place.line == 0 and not self._read_header(file.readline(MAX_LINE + 1)):
                return
            ack = self.ack if self.ack is not None and self.ack.segment == place.segment else None
            end = ack.end if ack is not None and ack.end > place.offset else -1
            readline, h = file.readline, place.h
            while line := readline(MAX_LINE + 1):
                # `follows` and `hash_of`, written out: this loop is what verifying costs
                if (
                    line[-TAIL:]
                    != b',"h":"%b"}\n' % sha256(b"%b%b}" % (h, line[:-TAIL])).hexdigest().encode()
                ) and not is_forgotten(h, line):
                    self._damaged(line)
                    return
                place.h = h = line[-67:-3]
                place.line += 1
                place.seq += 1
                place.offset += len(line)
                if place.offset >= end >= 0:
                    if not self._meets(ack, len(line)):
                        return
                    end = -1
                yield line

    def _read_header(self, line: bytes) -> bool:
        place = self.place
        if not follows(place.h, line):
            if not self._cut_before(line):
                self._damaged(line)
            return False
        header = decode_header(line)
        if header is None or header.segment != place.segment or header.seq != place.seq:
            found = f"this version reads format {FORMAT}; the line is {line[:120]!r}"
            self.damage = Damage(self.paths[place.segment], 1, 0, "header", False, found)
            return False
        self.header = header
        self._know_log(header.log)
        place.h, place.line, place.offset = hash_of(line), 1, len(line)
        return True

    def _cut_before(self, line: bytes) -> bool:
        """Whether the header `line` is sound and what lacks is the end of the segment before it."""
        place, header = self.place, decode_header(line)
        if header is None or (header.log, header.segment) != (place.log, place.segment):
            return False
        if header.seq <= place.seq or not follows(header.prev.encode(), line):
            return False
        place.segment, place.line, place.offset = self._before.segment, self._before.line, self._before.offset
        found = f"the segment ends here; the next one begins with event {header.seq}, not {place.seq}"
        path = self.paths[place.segment]
        self.damage = Damage(path, place.line + 1, place.offset, "missing", False, found)
        return True

    def _know_log(self, log: str) -> None:
        """The log's id is known now: a sidecar of another log says nothing about this one."""
        self.place.log = log
        if self.ack is not None and self.ack.log != log:
            self.foreign_ack, self.ack = self.ack, None

    def _meets(self, ack: Ack | None, length: int) -> bool:
        """Whether the line that reaches the acknowledged end is the one that was acknowledged."""
        place = self.place
        if ack is None or (ack.end == place.offset and ack.h.encode() == place.h and ack.events == place.seq):
            return True
        found = f"the .ack sidecar says that line h={ack.h[:12]}… ends at byte {ack.end}"
        path, offset = self.paths[place.segment], place.offset - length
        place.line -= 1
        place.seq -= 1
        place.offset = offset
        self.damage = Damage(path, place.line + 1, offset, "rewritten", False, found)
        return False

    def _damaged(self, line: bytes) -> None:
        place = self.place
        self.damage = diagnose(
            self.paths, place.segment, place.line + 1, place.offset, place.seq, place.h, self.ack, line
        )
        if self.damage.kind == "newline" and acked(self.ack, place.segment, place.offset) and place.line:
            self.unended = line

    def _check_end(self) -> None:
        """The files end here without damage: is this all of them, and no less than what was acknowledged?"""
        place, ack, there = self.place, self.ack, existing_segments(self._path)
        if (gap := gap_in(there)) == len(self.paths) and there.keys() - range(gap):
            gone = segment_path(self._path, gap)
            found = f"this file is gone, and segment {max(there)} is there"
            self.damage = Damage(gone, 1, 0, "missing", False, found)
            return
        if ack is not None and (ack.segment, ack.end) > (place.segment, place.offset):
            found = f"the file ends here; {ack.events} events were acknowledged, {place.seq} are left"
            path = self.paths[place.segment]
            self.damage = Damage(path, place.line + 1, place.offset, "missing", False, found)
