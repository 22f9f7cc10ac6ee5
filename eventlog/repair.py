"""Making a damaged log usable again, on purpose: what cannot be trusted is moved away, nothing is deleted.

A log is a chain: nothing after a damaged line can be trusted as the consequence of what stands before
it. So `repair` keeps the log up to the first damaged line and moves the rest, all segments of it, to
`PATH.torn`, where each piece follows a line of JSON that says where it was.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from continualcode.eventlog.ack import ack_line, holder_line
from continualcode.eventlog.chain import Progress, Walk
from continualcode.eventlog.damage import NO_REPAIR, Damage, damaged_sidecar
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.lock import hold
from continualcode.eventlog.recovery import End, finish, quarantine
from continualcode.eventlog.segments import ack_path, existing_segments, torn_path


@dataclass(frozen=True, slots=True)
class Repaired:
    """What `repair` did: `events` are left, `moved` bytes went to the file `quarantine`.

    `damage` is what was wrong, None where nothing was. `lost` counts acknowledged events that are no longer
    in the log, as far as the `.ack` sidecar tells.
    """

    events: int
    moved: int
    lost: int
    quarantine: Path
    damage: Damage | None


def repair(path: Path | str, *, disk: Disk | None = None, progress: Progress | None = None) -> Repaired:
    """Cut the log at `path` before its first damaged line; move what follows to `PATH.torn`.

    Where the lines are whole and the sidecar is damaged, the sidecar is written anew. Blobs are left alone.
    Raises LogHeld where a writer has it, LogCorrupt where it is newer than this version, or no log at all.
    """
    path, disk, torn = Path(path), disk or Disk(), torn_path(Path(path))
    with hold(path):
        walk = Walk(path)
        for _ in walk.telling(progress):
            pass
        damage = walk.damage
        if damage is None:
            sidecar = damaged_sidecar(path)
            if sidecar is not None:
                place = walk.place
                _write_ack(path, place.log, End(place.segment, place.offset, place.seq, place.h), disk)
            return Repaired(walk.place.seq, 0, 0, torn, sidecar)
        if damage.kind in NO_REPAIR:
            raise damage.error()
        moved = 0
        for index, later in sorted(existing_segments(path).items(), reverse=True):
            if index > walk.place.segment:
                moved += _move_all(later, index, torn, disk)
        fd = disk.open(walk.paths[walk.place.segment])
        try:
            size = os.fstat(fd).st_size
            end, log = finish(path, disk, fd, walk.place, damage)
            moved += max(0, size - walk.place.offset) if damage.kind != "newline" else 0
        finally:
            os.close(fd)
        _write_ack(path, log, end, disk)
        lost = max(0, walk.ack.events - end.seq) if walk.ack else 0
        return Repaired(end.seq, moved, lost, torn, damage)


def _write_ack(path: Path, log: str, end: End, disk: Disk) -> None:
    """The sidecar of a log that ends at `end`, durable."""
    ack = disk.open_sidecar(ack_path(path))
    try:
        disk.pwrite(ack, ack_line(log.encode(), end.segment, end.end, end.seq, end.h) + holder_line(), 0)
        disk.fdatasync(ack)
    finally:
        os.close(ack)


def _move_all(path: Path, index: int, torn: Path, disk: Disk) -> int:
    """Move a whole segment to the quarantine; how many bytes it had."""
    fd = disk.open(path)
    try:
        size = os.fstat(fd).st_size
        quarantine(torn, disk, fd, End(index, 0, 0, b""))
    finally:
        os.close(fd)
    path.unlink()
    disk.sync_folder(path.parent)
    return size
