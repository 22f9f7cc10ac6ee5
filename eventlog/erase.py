"""Taking contents out of a log's own lines, while its chain still verifies.

A line that loses contents keeps its length, its place and the h that the next line was chained to (see
`line`), so nothing else of the log changes, the sidecar included. Each segment concerned is written anew and
takes the old one's name when it is durable; then the old bytes are overwritten too.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from continualcode.eventlog.chain import Walk
from continualcode.eventlog.contents import changed, holds_contents, texts_in
from continualcode.eventlog.disk import sync_file, sync_folder
from continualcode.eventlog.errors import LogError
from continualcode.eventlog.line import TAIL, body_of, forgotten, hash_of, head_of
from continualcode.eventlog.lock import hold, said
from continualcode.eventlog.record import Record
from continualcode.eventlog.registry import Registry

MARKER = "«gone»"
"""Stands in place of what was forgotten, where the line has room for it; else nothing does."""

Change = Callable[[str, str], str]
"""What becomes of a text: given what may stand in place of what is forgotten of it, and the text."""

_COPIED = 1 << 20


def contents(path: Path, registry: Registry) -> Iterable[tuple[int, list[str]]]:
    """Every event whose type declares contents, by seq, with its texts."""
    walk = Walk(path)
    for line in walk:
        if (cls := _type(line, registry)) is not None:
            yield walk.place.seq - 1, texts_in(body_of(line), cls)
    if walk.damage is not None and not walk.damage.recoverable:
        raise walk.damage.error()


def erase(path: Path, registry: Registry, changes: Mapping[int, Change]) -> None:
    """Change the texts of these events, by seq, and take their token ids out.

    Raises LogHeld where a writer has the log, LogError where an event has nothing that can be forgotten.
    """
    with hold(path), contextlib.ExitStack() as held:
        walk = Walk(path)
        lines: dict[Path, list[tuple[int, bytes]]] = {}
        for line in walk:
            place, segment = walk.place, walk.paths[walk.place.segment]
            if (change := changes.get(place.seq - 1)) is not None:
                at = place.offset - len(line)
                new = _without(line, place.seq - 1, _hash_before(segment, at), registry, change)
                lines.setdefault(segment, []).append((at, new))
        if walk.damage is not None and not walk.damage.recoverable:
            raise walk.damage.error()
        for segment, new_lines in lines.items():
            with said(f"cannot write {segment} anew"):
                held.callback(os.close, _replace(segment, new_lines))


def _type(line: bytes, registry: Registry) -> type[Record] | None:
    head = head_of(line)
    cls = registry.types.get(head[0]) if head is not None else None
    return cls if cls is not None and holds_contents(cls) else None


def _hash_before(segment: Path, at: int) -> bytes:
    """The h of the line that ends before byte `at`: there is one, at least the segment's header."""
    with open(segment, "rb") as file:
        file.seek(at - TAIL)
        return hash_of(file.read(TAIL))


def _without(line: bytes, seq: int, prev: bytes, registry: Registry, change: Change) -> bytes:
    cls, body = _type(line, registry), body_of(line)
    if cls is not None:
        shown, bare = (changed(body, cls, partial(change, marker)) for marker in (MARKER, ""))
        if (new := forgotten(prev, line, shown) or forgotten(prev, line, bare)) is not None:
            return new
    raise LogError(
        f"event {seq}: its type declares no contents that can be forgotten, or it was written before it did"
    )


def _replace(segment: Path, lines: list[tuple[int, bytes]]) -> int:
    """Write a segment anew with these lines at their offsets; the new file, open and locked."""
    copy = segment.with_name(f"{segment.name}.forgetting")  # of a run that was cut short: overwritten now
    new = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(segment, "r+b", buffering=0) as old:
            for at in range(0, os.fstat(old.fileno()).st_size, _COPIED):
                _write(new, os.pread(old.fileno(), _COPIED, at), at)
            for at, line in lines:
                _write(new, line, at)
            sync_file(new)
            os.rename(copy, segment)
            sync_folder(segment.parent)
            for at, line in lines:
                _write(old.fileno(), line, at)
            sync_file(old.fileno())
    except BaseException:
        os.close(new)
        raise
    return new


def _write(fd: int, data: bytes, at: int) -> None:
    while data:
        done = os.pwrite(fd, data, at)
        data, at = data[done:], at + done
