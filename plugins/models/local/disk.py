"""Room on the disk: asked for before a long download, and recognised when it runs out anyway."""

import contextlib
import errno
import os
import shutil
import threading
from pathlib import Path

from continualcode.core.errors import ModelUnavailable

_HARDLY_ANY = 1 << 16


def require_free(folder: Path, needed: int, what: str) -> None:
    """Raise ModelUnavailable unless the disk that holds `folder` has `needed` bytes free for `what`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelUnavailable(
            f"not enough room for {what}: {needed:,} bytes are needed in {folder}, {free:,} are free."
            " Free some, or choose a folder on another disk for the models"
        )


def out_of_room(folder: Path, what: str, error: object) -> ModelUnavailable:
    """The error to raise when the disk ran full while `what` was written to `folder`."""
    free = shutil.disk_usage(folder).free
    return ModelUnavailable(
        f"the disk ran full during {what}: {folder} has {free:,} bytes free ({error})."
        " Free some room, or choose a folder on another disk for the models"
    )


def is_out_of_room(error: BaseException | str) -> bool:
    """Whether `error`, or the text of a failed program, says that the disk or the quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors (Rust) and child processes say it in words only.
    return "No space left on device" in str(error) or "Disk quota exceeded" in str(error)


def is_full(folder: Path) -> bool:
    """Whether hardly a byte can be written to the disk that holds `folder`."""
    return shutil.disk_usage(folder).free < _HARDLY_ANY


def write_if_possible(path: Path, content: bytes) -> None:
    """Replace `path` in one step, if it can be written: for notes that only save time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_bytes(content)
        new.replace(path)


def read_ahead(folder: Path) -> None:
    """Let the disk read the weights in `folder` from now on, in the background, where the system can."""

    def ask() -> None:
        for file in folder.glob("*.safetensors"):
            with contextlib.suppress(OSError), open(file, "rb") as weights:
                os.posix_fadvise(weights.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)

    if hasattr(os, "posix_fadvise"):
        threading.Thread(target=ask, name="read ahead", daemon=True).start()


def size_of(folder: Path) -> int:
    """Bytes of all files under `folder`; those that vanish while we look count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if not path.is_dir() else 0
        except FileNotFoundError:
            continue
    return total
