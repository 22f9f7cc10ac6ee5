"""Reading a log: typed records, in order, in constant memory, checked against their hashes on the way."""

import sys
from collections.abc import Iterator
from pathlib import Path

from continualcode.eventlog.chain import Progress, Walk
from continualcode.eventlog.errors import LogCorrupt
from continualcode.eventlog.line import LogHeader
from continualcode.eventlog.record import Record
from continualcode.eventlog.registry import Registry


def read(
    path: Path | str,
    registry: Registry,
    *,
    start_seq: int = 0,
    end_seq: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """The log's records with start_seq ≤ seq < end_seq, in order; at its end, stop at the last whole line.

    Every line is checked against the chain of hashes before it is decoded, and the end against what was
    acknowledged: a record that comes out is as it was written, and none is left out in silence. A
    torn last batch (nothing of it was acknowledged) is where reading stops. An acknowledged last line that
    lacks only its newline is whole, and comes out.

    Raises LogCorrupt at damage, LogError where there is no log.
    """
    walk = Walk(Path(path))
    decode, end = registry.decode, sys.maxsize if end_seq is None else end_seq
    for seq, line in enumerate(walk if progress is None else walk.telling(progress)):
        if seq >= end:
            return
        if seq >= start_seq:
            yield decode(line)
    if walk.unended and start_seq <= walk.place.seq < end:
        yield decode(walk.unended + b"\n")
    elif walk.damage is not None and not walk.damage.recoverable:
        raise walk.damage.error()


def read_header(path: Path | str) -> LogHeader:
    """The log's first line: its id and format. Raises LogCorrupt where it is damaged or torn."""
    walk = Walk(Path(path))
    next(iter(walk), None)
    if walk.header is None:
        assert walk.damage is not None  # without a header there is always damage
        raise LogCorrupt(walk.damage.path, 1, 0, walk.damage.kind, walk.damage.found)
    return walk.header
