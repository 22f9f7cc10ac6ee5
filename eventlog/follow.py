"""A live tail: the records of a log as they become durable."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from continualcode.eventlog.chain import Place, Walk
from continualcode.eventlog.record import Record
from continualcode.eventlog.registry import Registry


def follow(
    path: Path | str,
    registry: Registry,
    *,
    start_seq: int = 0,
    poll: float = 0.05,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Record]:
    """The log's records from `start_seq` on, and then each new one, until `stop()` is true at a pause.

    Yields what is acknowledged and nothing else: never a part of a line, and never an event that the
    writer may still take back. (Where there is no `.ack` sidecar: every whole line.) Looks again every
    `poll` seconds. Raises LogCorrupt at damage that no crash explains.
    """
    path, place = Path(path), Place()
    while True:
        walk = Walk(path, place=replace(place))
        for line in walk:
            end = (walk.place.segment, walk.place.offset)
            if walk.ack is not None and end > (walk.ack.segment, walk.ack.end):
                break
            place = replace(walk.place)
            if place.seq > start_seq:
                yield registry.decode(line)
        if walk.damage is not None and not walk.damage.recoverable:
            raise walk.damage.error()
        if stop is not None and stop():
            return
        time.sleep(poll)
