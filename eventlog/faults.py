"""Disks that fail the way real ones do, for testing what a log, and what is built on it, makes of that.

    disk = FaultyDisk({3: Fail(errno.EIO)})           # the fourth call fails
    disk = FaultyDisk({5: Kill(after=10)})            # the sixth call writes 10 bytes; then kill -9
    disk = LosingDisk(); ...; disk.lose_power(random.Random(7))

Calls are counted from 0 over all methods. Deterministic; nothing here is used outside of tests.
"""

import os
import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from continualcode.eventlog.disk import Disk

SECTOR = 512
"""What a disk writes wholly or not at all, in bytes."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The call raises OSError(`errno`) and does nothing."""

    errno: int


@dataclass(frozen=True, slots=True)
class Short:
    """A write takes only the first `taken` bytes, and says so."""

    taken: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The process dies by SIGKILL in the call, of which a write's first `after` bytes have been done."""

    after: int = 0


Fault = Fail | Short | Kill


class FaultyDisk(Disk):
    """The real disk, but for the calls that have a fault. `calls` lists what was called, in order."""

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        self.faults: Mapping[int, Fault] = dict(faults)
        self.calls: list[str] = []

    def _fault(self, name: str) -> Fault | None:
        """Count the call; fail or die in it where that is its fate. A short write is left to the caller."""
        fault = self.faults.get(len(self.calls))
        self.calls.append(name)
        if isinstance(fault, Fail):
            raise OSError(fault.errno, os.strerror(fault.errno))
        if isinstance(fault, Kill) and (name != "pwrite" or not fault.after):
            os.kill(os.getpid(), signal.SIGKILL)
        return fault

    def create(self, path: Path) -> int:
        self._fault("create")
        return super().create(path)

    def open(self, path: Path) -> int:
        self._fault("open")
        return super().open(path)

    def open_sidecar(self, path: Path) -> int:
        self._fault("open_sidecar")
        return super().open_sidecar(path)

    def pwrite(self, fd: int, data: bytes | bytearray, offset: int) -> int:
        fault = self._fault("pwrite")
        if isinstance(fault, Short):
            return super().pwrite(fd, data[: fault.taken], offset)
        if isinstance(fault, Kill):
            super().pwrite(fd, data[: fault.after], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        self._fault("fdatasync")
        super().fdatasync(fd)

    def truncate(self, fd: int, length: int) -> None:
        self._fault("truncate")
        super().truncate(fd, length)

    def sync_folder(self, path: Path) -> None:
        self._fault("sync_folder")
        super().sync_folder(path)


class LosingDisk(Disk):
    """Remembers what was synced, and can put every file into a state that a power loss may leave.

    A sector written since the file's last sync holds its old or its new bytes, each on its own; the
    file has its old or its new length. Nothing syncs for real, so this is quick.
    """

    def __init__(self) -> None:
        self._synced: dict[Path, bytes] = {}

    def fdatasync(self, fd: int) -> None:
        """The file's bytes are safe from here on."""
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        self._synced[path] = path.read_bytes()

    def sync_folder(self, path: Path) -> None:
        """Names are not lost in this model."""

    def lose_power(self, chance: random.Random, folder: Path) -> None:
        """Put each file in `folder` into a state that it may be in when the power comes back."""
        for path in sorted(folder.iterdir()):
            new, old = path.read_bytes(), self._synced.get(path, b"")
            if new == old:
                continue
            length = chance.choice((len(old), len(new)))
            after = bytearray(length)
            for start in range(0, length, SECTOR):
                source = chance.choice((old, new))[start : min(start + SECTOR, length)]
                after[start : start + len(source)] = source
            path.write_bytes(after)
