"""Many logs in one: a new log that holds every event of the given ones, each with where it came from.

order    Events of one log keep their order, always. Between logs the earlier time goes first, where
         a log's time never runs backwards (an event counts as no earlier than the one before it);
         at the same time, the smaller log id. So the order depends on the logs alone, not on
         how they were named, and merging merged logs gives the same as merging all at once.
bytes    Only seq and d change, for they belong to the log; all else stays as it was written.
origin   `"of":"<log id>:<seq>"` is put at the end of each body, where it is not there yet.
twins    An event that two logs share (one is a copy of the other, or of a part) goes in once;
         where one of them has lost contents (`erase`), that one.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec

from continualcode.eventlog.blobs import BlobStore
from continualcode.eventlog.chain import Progress, Walk
from continualcode.eventlog.errors import LogError
from continualcode.eventlog.line import body_of, restamp
from continualcode.eventlog.reader import read_header
from continualcode.eventlog.record import Opaque, Record
from continualcode.eventlog.registry import Registry
from continualcode.eventlog.segments import ack_path, blobs_path, segment_paths
from continualcode.eventlog.writer import LogWriter

_BATCH = 512
"""Events a sync."""

_OF = re.compile(rb',"of":"([0-9A-Za-z_-]+:\d+)"\}\Z')


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of it: the new log's id, how many events it holds, how many twins were left out."""

    path: Path
    log: str
    events: int
    twins: int
    logs: tuple[str, ...]


Key = tuple[str, str, int]
"""Time (of this event or of an earlier one of its log), log and seq where the event was first written."""


def merge(paths: Sequence[Path | str], out: Path | str, *, progress: Progress | None = None) -> Merged:
    """Make the new log `out` of all events of the logs at `paths`; blobs are copied along.

    Raises LogCorrupt at damage in any of them (then there is no `out`), LogError where `out` exists.
    A torn last batch, of which nothing was acknowledged, is left out.
    """
    sources, out = [Path(p) for p in paths], Path(out)
    if not sources:
        raise LogError("no logs were given to merge; give one or more")
    logs = tuple(sorted({log for p in sources for log in _logs_in(p)}))
    total, done, twins = sum(s.stat().st_size for p in sources for s in segment_paths(p)), 0, 0
    batch = list[Record]()
    with LogWriter.create(out, Registry(), merged=logs) as writer:
        try:
            ordered = heapq.merge(*(_events(p) for p in sources), key=lambda event: event[0])
            for _, same in groupby(ordered, key=lambda event: event[0]):
                copies = [record for _, record in same]
                done += sum(len(record.raw) for record in copies)
                kept = _without_twins(copies)
                twins += len(copies) - len(kept)
                batch += kept
                if len(batch) >= _BATCH:
                    writer.append_many(batch)
                    batch.clear()
                    if progress is not None:
                        progress(min(done, total), total)
            writer.append_many(batch)
            _copy_blobs(sources, out)
        except BaseException:
            for path in (*segment_paths(out), ack_path(out)):
                path.unlink()
            raise
        if progress is not None:
            progress(total, total)
        return Merged(out, writer.log_id, writer.next_seq, twins, logs)


def origin(line: bytes) -> str | None:
    """Which event of which log ("<log id>:<seq>") a merged log's line was; None where that is not said."""
    found = _OF.search(body_of(line))
    return found[1].decode() if found else None


def with_origin(body: bytes, log: str, seq: int) -> tuple[bytes, str]:
    """`body`, ending with which event of which log it was first; and that origin. An earlier one stays."""
    found = _OF.search(body)
    if found is not None:
        return body, found[1].decode()
    of = f"{log}:{seq}"
    return b'%b,"of":"%b"}' % (body[:-1], of.encode()), of


def _logs_in(path: Path) -> tuple[str, ...]:
    header = read_header(path)
    return header.merged or (header.log,)


def _events(path: Path) -> Iterator[tuple[Key, Opaque]]:
    """The events of one log with their place in the order; their bodies end with where they came from."""
    registry, walk, time = Registry(), Walk(path), ""
    for line in walk:
        record = registry.decode(line)
        assert isinstance(record, Opaque)  # the registry is empty
        time, (body, of) = max(time, record.ts), with_origin(record.raw, walk.place.log, record.seq)
        log, _, seq = of.rpartition(":")
        yield (time, log, int(seq)), msgspec.structs.replace(record, raw=body)
    if walk.damage is not None and (walk.unended or not walk.damage.recoverable):
        raise walk.damage.error()


def _without_twins(copies: list[Opaque]) -> list[Opaque]:
    """Of one event's copies, those that differ; where one has lost contents, that one alone."""
    gone = [record for record in copies if record.gone is not msgspec.UNSET]
    return gone[:1] or list({restamp(record.raw, 0, 0): record for record in copies}.values())


def _copy_blobs(sources: list[Path], out: Path) -> None:
    """What any of them has forgotten stays forgotten."""
    store = BlobStore(blobs_path(out))
    for path in sources:
        store.adopt(BlobStore(blobs_path(path)))
