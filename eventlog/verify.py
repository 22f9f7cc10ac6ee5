"""Does the log hold what was written? Names the first line that does not, and what is still good."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from continualcode.eventlog.chain import Walk
from continualcode.eventlog.errors import LogCorrupt

Progress = Callable[[int, int], None]
"""Called now and then with the bytes done and the bytes in all."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `ok` is True where every line is whole and the acknowledged end is there.

    `line` (1-based), `offset` (bytes) and `path` say where the first damaged line is, `kind` and `found`
    what it looks like. `recoverable` is True where a crash explains it: nothing says that it was ever
    acknowledged, and the next writer will put it right. `good_events` counts the events
    before it. `ack` is `ok`, `missing` or `foreign`: without the sidecar a log cut off between two lines,
    or damaged in its last batch alone, cannot be told from one that ended there.
    """

    ok: bool
    events: int
    good_events: int
    bytes: int
    segments: int
    last_hash: str
    log: str
    ack: str
    path: Path
    line: int | None = None
    offset: int | None = None
    kind: str | None = None
    recoverable: bool = False
    found: str | None = None


def verify(path: Path | str, *, progress: Progress | None = None) -> Verification:
    """Check every byte of the log at `path`, all segments. Raises LogError where there is no log."""
    path = Path(path)
    try:
        walk = Walk(path)
    except LogCorrupt as gap:
        return Verification(
            False, 0, 0, 0, 0, "", "", "missing", gap.path, gap.line, gap.offset, gap.kind, False, str(gap)
        )
    sizes = [p.stat().st_size for p in walk.paths]
    total, place = sum(sizes), walk.place
    for _ in walk:
        if progress is not None and not place.seq & 0x3FFF:
            progress(sum(sizes[: place.segment]) + place.offset, total)
    if progress is not None:
        progress(total, total)
    damage, header = walk.damage, walk.header
    return Verification(
        ok=damage is None,
        events=place.seq,
        good_events=place.seq,
        bytes=total,
        segments=len(walk.paths),
        last_hash=place.h.decode(),
        log=header.log if header else "",
        ack="foreign" if walk.foreign_ack else "ok" if walk.ack else "missing",
        path=damage.path if damage else walk.paths[-1],
        line=damage.line if damage else None,
        offset=damage.offset if damage else None,
        kind=damage.kind if damage else None,
        recoverable=damage.recoverable if damage else False,
        found=damage.found if damage else None,
    )
