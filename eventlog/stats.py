"""What is in a log, counted without decoding it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from continualcode.eventlog.chain import Progress, Walk
from continualcode.eventlog.damage import Damage
from continualcode.eventlog.line import head_of

_TS = re.compile(rb'"ts":"([^"]*)"')


@dataclass(slots=True)
class TypeStats:
    """How many events of one type there are, and how many bytes their lines take."""

    events: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Stats:
    """A log in numbers. `first` and `last` are the times of the first and last event (clocks may lie).

    `redacted` counts the markers that stand in place of secrets. `damage` is where counting had to stop.
    """

    log: str = ""
    events: int = 0
    bytes: int = 0
    segments: int = 0
    first: str | None = None
    last: str | None = None
    redacted: int = 0
    types: dict[str, TypeStats] = field(default_factory=dict[str, TypeStats])
    damage: Damage | None = None


def stats(path: Path | str, *, progress: Progress | None = None) -> Stats:
    """Count the events of the log at `path` by type, checking the chain on the way."""
    walk, found = Walk(Path(path)), Stats()
    marker = "«redacted: ".encode()
    for line in walk.telling(progress):
        head = head_of(line)
        kind = found.types.setdefault(head[0] if head else "?", TypeStats())
        kind.events += 1
        kind.bytes += len(line)
        found.bytes += len(line)
        found.redacted += line.count(marker)
        if ts := _TS.search(line):
            found.last = ts[1].decode()
            found.first = found.first or found.last
    found.events, found.segments, found.damage = walk.place.seq, len(walk.paths), walk.damage
    found.log = walk.header.log if walk.header else ""
    return found
