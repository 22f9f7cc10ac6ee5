"""Making a damaged log usable again, on purpose: what cannot be trusted is moved away, nothing is deleted.

A log is a chain: nothing after a damaged line can be trusted as the consequence of what stands before
it. So `repair` keeps the log up to the first damaged line and moves the rest, all segments of it, to
`PATH.torn`, where each piece follows a line of JSON that says where it was.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from continualcode.eventlog.ack import ack_line, holder_line
from continualcode.eventlog.chain import Walk
from continualcode.eventlog.damage import Damage
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.errors import LogCorrupt
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


def repair(path: Path | str, *, disk: Disk | None = None) -> Repaired:
    """Cut the log at `path` before its first damaged line; move what follows to `PATH.torn`.

    Raises LogHeld where a writer has it, LogCorrupt where it is not damaged but newer than this version.
    """
    path, disk, torn = Path(path), disk or Disk(), torn_path(Path(path))
    with hold(path):
        walk, gap = _walk(path)
        for _ in walk:
            pass
        damage = walk.damage or gap
        if damage is None:
            return Repaired(walk.place.seq, 0, 0, torn, None)
        if damage.kind == "header":
            raise damage.error()
        moved = 0
        for index, later in sorted(existing_segments(path).items(), reverse=True):
            if index > walk.place.segment:
                moved += _move_all(later, index, torn, disk)
        fd = disk.open(walk.paths[walk.place.segment])
        try:
            size = os.fstat(fd).st_size
            end, log = finish(path, disk, fd, walk.place, walk.damage)
            moved += max(0, size - walk.place.offset) if damage.kind != "newline" else 0
        finally:
            os.close(fd)
        ack = disk.open_sidecar(ack_path(path))
        try:
            disk.pwrite(ack, ack_line(log.encode(), end.segment, end.end, end.seq, end.h) + holder_line(), 0)
            disk.fdatasync(ack)
        finally:
            os.close(ack)
        lost = max(0, walk.ack.events - end.seq) if walk.ack else 0
        return Repaired(end.seq, moved, lost, torn, damage)


def _walk(path: Path) -> tuple[Walk, Damage | None]:
    """A walk over the log, or up to a gap between its segments and the gap as damage."""
    try:
        return Walk(path), None
    except LogCorrupt as gap:
        contiguous = [path]
        found = existing_segments(path)
        while len(contiguous) in found:
            contiguous.append(found[len(contiguous)])
        return Walk(path, paths=contiguous), Damage(gap.path, gap.line, gap.offset, gap.kind, False, str(gap))


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
