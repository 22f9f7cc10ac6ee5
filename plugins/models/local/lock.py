"""One process at a time: a lock on a file, given up by the system when its holder ends, however it ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

_TRY_EVERY = 0.2


@contextlib.contextmanager
def held(path: Path, waiting: Callable[[str], None]) -> Generator[None, None, None]:
    """Hold the lock on `path`; while another process has it, wait.

    `waiting` is called once, with the other's process id as it wrote it there. The file stays: removing
    a locked file would let two processes each lock their own.
    """
    with path.open("a+") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    file.seek(0)
                    waiting(file.read().strip() or "unknown")
                    told = True
                time.sleep(_TRY_EVERY)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
