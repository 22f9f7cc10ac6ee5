"""One writer a log: a lock on its first file, which the system lets go when the process ends."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from pathlib import Path

from continualcode.eventlog.ack import read_ack, read_holder
from continualcode.eventlog.errors import LogError, LogHeld


@contextlib.contextmanager
def hold(path: Path) -> Generator[None]:
    """Hold the log at `path` for writing. Raises LogHeld where a writer has it."""
    lock = acquire(path)
    try:
        yield
    finally:
        os.close(lock)


def acquire(path: Path) -> int:
    """Hold the log's first file for writing, until the returned descriptor is closed."""
    with said(f"cannot open {path} for appending"):
        fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if not isinstance(error, BlockingIOError):
            raise LogError(f"{path}: this file system cannot lock files: {error}") from error
        holder = read_holder(path)
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        ack = read_ack(path)
        last = f"@{ack.events - 1}" if ack is not None and ack.events else ""
        raise LogHeld(
            f"{path} is held by {who}. Wait for it to end, or begin a session of its own from the last event "
            f"there, in a new folder with the files as they were: cc run NEWFOLDER --fork {path}{last}"
        ) from None
    if not os.path.samestat(os.fstat(fd), os.stat(path)):  # forgetting has put a new file in its place
        os.close(fd)
        return acquire(path)
    return fd


@contextlib.contextmanager
def said(doing: str) -> Generator[None]:
    """What the system refuses in here, as a LogError that says what was being done."""
    try:
        yield
    except OSError as error:
        raise LogError(f"{doing}: {error}") from error
