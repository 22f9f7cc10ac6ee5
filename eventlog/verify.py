"""Does the log hold what was written? Names the first line that does not, and what is still good."""

from dataclasses import dataclass
from pathlib import Path

from continualcode.eventlog.ack import ack_is_damaged
from continualcode.eventlog.blobs import BlobStore
from continualcode.eventlog.chain import Progress, Walk
from continualcode.eventlog.damage import KINDS, Damage, damaged_sidecar
from continualcode.eventlog.segments import blobs_path


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found. `ok` is True where every line and blob is whole and the acknowledged end is there.

    `line` (1-based), `offset` (bytes) and `path` say where the first damaged line is, `kind` and `found`
    what it looks like. `recoverable` is True where a crash explains it: nothing says that it was ever
    acknowledged, and the next writer will put it right. `good_events` counts the events
    before it. `ack` is `ok`, `missing`, `damaged` or `foreign`: without the sidecar a log cut off between two
    lines, or damaged in its last batch alone, cannot be told from one that ended there.
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
    """Check every byte of the log at `path`: segments, sidecar, blobs. Raises LogError at none."""
    path = Path(path)
    walk = Walk(path)
    for _ in walk.telling(progress):
        pass
    place = walk.place
    damage, header = walk.damage or _beside(path), walk.header
    return Verification(
        ok=damage is None,
        events=place.seq,
        good_events=place.seq,
        bytes=sum(p.stat().st_size for p in walk.paths),
        segments=len(walk.paths),
        last_hash=place.h.decode(),
        log=header.log if header else "",
        ack=_witness(path, walk),
        path=damage.path if damage else walk.paths[-1],
        line=damage.line if damage else None,
        offset=damage.offset if damage else None,
        kind=damage.kind if damage else None,
        recoverable=damage.recoverable if damage else False,
        found=damage.found if damage else None,
    )


def _witness(path: Path, walk: Walk) -> str:
    if walk.foreign_ack is not None:
        return "foreign"
    return "ok" if walk.ack is not None else "damaged" if ack_is_damaged(path) else "missing"


def _beside(path: Path) -> Damage | None:
    """What is wrong beside the lines, where they are whole."""
    blob = BlobStore(blobs_path(path)).damaged()
    found = None if blob is None else Damage(blob, 1, 0, "blob", False, KINDS["blob"])
    return damaged_sidecar(path) or found
