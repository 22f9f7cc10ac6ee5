"""The calls that the writer makes of the operating system: one object, so that a fault can be put in.

`Disk` is the real one. `faults.FaultyDisk` fails the calls that it is told to, with the errors that
real disks give. Each method does one system call; all raise OSError.
"""

import fcntl
import os
import sys
from pathlib import Path


class Disk:
    """The real disk. Files are made 0600: a log holds what the user typed and what tools printed."""

    def create(self, path: Path) -> int:
        """A new file; raises FileExistsError where there is one."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)

    def open(self, path: Path) -> int:
        """An existing file, for reading and writing."""
        return os.open(path, os.O_RDWR)

    def open_sidecar(self, path: Path) -> int:
        """A file to be written in place, made if it is not there."""
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def pwrite(self, fd: int, data: bytes | bytearray, offset: int) -> int:
        """Write in place; how many bytes were taken may be fewer than given."""
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        """Return when the file's bytes, and its length, are on the disk."""
        sync_file(fd)

    def truncate(self, fd: int, length: int) -> None:
        """Cut the file off at `length` bytes."""
        os.ftruncate(fd, length)

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's names are on the disk: a new file is not durable before."""
        sync_folder(path)


def sync_file(fd: int) -> None:
    """Return when the file's bytes, and its length, are on the disk."""
    if sys.platform == "darwin":
        fcntl.fcntl(
            fd, fcntl.F_FULLFSYNC
        )  # fsync there leaves them in the drive's cache; fdatasync there is none
    else:
        os.fdatasync(fd)


def sync_folder(path: Path) -> None:
    """Return when the folder's names are on the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_all(disk: Disk, fd: int, data: bytes | bytearray, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls that takes. (Python itself retries EINTR.)"""
    done = disk.pwrite(fd, data, offset)
    while done < len(
        data
    ):  # rare: then a copy is no matter, and an error's traceback holds no view of `data`
        done += disk.pwrite(fd, data[done:], offset + done)
