"""Removing contents for good, while the log that names them still verifies."""

import re
from collections.abc import Iterable
from pathlib import Path

from continualcode.eventlog.blobs import BlobStore
from continualcode.eventlog.chain import Walk
from continualcode.eventlog.errors import LogError
from continualcode.eventlog.segments import blobs_path

_DIGEST = re.compile(rb'"([0-9a-f]{64})"')


def forget(path: Path | str, *, digests: Iterable[str] = (), seqs: Iterable[int] = ()) -> list[str]:
    """Remove blobs of the log at `path`: these, and those that these events name. Which were removed.

    The log itself is not touched. Raises LogError where an event, a digest or an event's blob is not there.
    """
    path = Path(path)
    store, wanted = BlobStore(blobs_path(path)), dict.fromkeys(digests)
    here = set(store.digests())
    for seq, named in _named(path, set(seqs)).items():
        found = [digest for digest in named if digest in here]
        if not found:
            raise LogError(
                f"{path}: event {seq} names no blob that is here; what stands in its line cannot go"
            )
        wanted.update(dict.fromkeys(found))
    if unknown := [digest for digest in wanted if digest not in here]:
        raise LogError(f"{store.folder}: there is no blob {unknown[0]!r} here (or it is forgotten already)")
    return [digest for digest in wanted if store.forget(digest)]


def _named(path: Path, seqs: set[int]) -> dict[int, list[str]]:
    """What looks like a digest in each of these events."""
    named, walk = dict[int, list[str]](), Walk(path)
    for line in walk if seqs else ():
        seq = walk.place.seq - 1
        if seq in seqs:
            named[seq] = [digest.decode() for digest in _DIGEST.findall(line)]
    if missing := sorted(seqs - named.keys()):
        raise LogError(f"{path}: there is no event {missing[0]}; it has events 0 to {walk.place.seq - 1}")
    return named
