"""The files of one log: its own path, then `PATH.1`, `PATH.2`, … as it grows, and the sidecars.

PATH, PATH.1, …   the lines
PATH.ack          how far they are acknowledged, and who holds the log (see `ack`)
PATH.torn         bytes that recovery moved out of the way (see `recovery`)
PATH.blobs/       contents that may be forgotten (see `blobs`)
"""

from collections.abc import Mapping
from pathlib import Path

from continualcode.eventlog.errors import LogError

SEGMENT_BYTES = 256 << 20
"""A segment is not begun with a batch that would take the current one past this size."""


def segment_path(path: Path, index: int) -> Path:
    """The file of segment `index`."""
    return path if index == 0 else path.with_name(f"{path.name}.{index}")


def ack_path(path: Path) -> Path:
    """The sidecar of what was acknowledged."""
    return path.with_name(f"{path.name}.ack")


def torn_path(path: Path) -> Path:
    """Where torn and damaged bytes are moved."""
    return path.with_name(f"{path.name}.torn")


def blobs_path(path: Path) -> Path:
    """The folder of blobs beside a log."""
    return path.with_name(f"{path.name}.blobs")


def segment_paths(path: Path) -> list[Path]:
    """The files of the log at `path`, in order, up to the first that is gone. Raises LogError at none."""
    found = existing_segments(path)
    if not found:
        raise LogError(f"{path}: there is no log here" + (" (this is a folder)" if path.is_dir() else ""))
    return [found[index] for index in range(gap_in(found))]


def gap_in(found: Mapping[int, Path]) -> int:
    """The number of the first segment that is not there: of the next one, where none is gone."""
    return next(index for index in range(len(found) + 1) if index not in found)


def existing_segments(path: Path) -> dict[int, Path]:
    """The files of the log at `path` by their number, gaps or not."""
    prefix = f"{path.name}."
    near = path.parent.glob(f"{_escape(path.name)}.*")
    first = {0: path} if path.is_file() else {}
    return first | {int(p.name[len(prefix) :]): p for p in near if _index(p, prefix)}


def _index(path: Path, prefix: str) -> bool:
    digits = path.name[len(prefix) :]
    return digits.isascii() and digits.isdigit() and not digits.startswith("0")


def _escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
