"""What is measured, each thing once: the callers repeat it, in turns, and take medians."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from continualcode.eventlog import LogWriter, Record, pack_f32, pack_u32, read, verify
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.testing import Note, Sample, example_registry

SMALL = Note(text="x" * 102)
"""A line of about 300 bytes."""

SAMPLE = Sample(ids=pack_u32(range(100_000, 100_740)), logprobs=pack_f32([-0.123] * 740))
"""740 tokens with their log probabilities: a line of about 8 KB."""


class NoSync(Disk):
    """Everything but the wait for the disk."""

    def fdatasync(self, fd: int) -> None:
        """Returns at once."""


def line_of(record: Record, folder: Path) -> bytes:
    """The bytes of one line."""
    with LogWriter.create(folder / "line", example_registry(), disk=NoSync()) as log:
        log.append_many([record] * 3)
    line = (folder / "line").read_bytes().splitlines(keepends=True)[-1]
    for path in folder.glob("line*"):
        path.unlink()
    return line


def latencies(append: Callable[[], object], count: int) -> list[float]:
    """Seconds of wall time of each of `count` appends."""
    clock, took = time.perf_counter, list[float]()
    for _ in range(count):
        began = clock()
        append()
        took.append(clock() - began)
    return took


def raw(path: Path, line: bytes) -> Callable[[], object]:
    """The ceiling: write and fdatasync of the same bytes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append() -> None:
        os.write(fd, line)
        os.fdatasync(fd)

    return append


def ours(path: Path) -> Callable[[], object]:
    """A durable append to the log."""
    log = LogWriter.create(path, example_registry())
    return lambda: log.append(SMALL)


def cpu_per_append(folder: Path, record: Record, count: int) -> float:
    """Seconds of CPU of an append but for the sync, the write calls included."""
    path = folder / "cpu"
    with LogWriter.create(path, example_registry(), disk=NoSync()) as log:
        began = time.process_time()
        for _ in range(count):
            log.append(record)
        took = time.process_time() - began
    for leftover in folder.glob("cpu*"):
        leftover.unlink()
    return took / count


def durable_rate(folder: Path, producers: int, each: int) -> float:
    """Durable appends a second of so many threads on one log, each with so many to append."""
    path = folder / "group"
    with LogWriter.create(path, example_registry()) as log:

        def produce() -> None:
            for _ in range(each):
                log.append(SMALL)

        threads = [threading.Thread(target=produce) for _ in range(producers)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
    for leftover in folder.glob("group*"):
        leftover.unlink()
    return producers * each / took


def make_log(path: Path, record: Record, events: int) -> None:
    """A log of so many events, in one file."""
    with LogWriter.create(path, example_registry(), disk=NoSync(), segment_bytes=1 << 40) as log:
        for _ in range(0, events, 1000):
            log.append_many([record] * 1000)


def sha_seconds(path: Path) -> float:
    """CPU seconds of sha256 over the file's bytes, read in blocks."""
    began, digest = time.process_time(), sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 18):
            digest.update(block)
    return time.process_time() - began


def verify_seconds(path: Path) -> float:
    """CPU seconds of verifying the log."""
    began = time.process_time()
    assert verify(path).ok
    return time.process_time() - began


def decode_rate(path: Path) -> float:
    """Events a CPU second, lines to typed records, without checking hashes."""
    decode, began, count = example_registry().decode, time.process_time(), 0
    with open(path, "rb") as file:
        next(file)
        for line in file:
            decode(line)
            count += 1
    return count / (time.process_time() - began)


def read_rate(path: Path) -> float:
    """Events a CPU second as `read` gives them: typed, and each line checked against the chain."""
    began, count = time.process_time(), 0
    for _ in read(path, example_registry()):
        count += 1
    return count / (time.process_time() - began)


_PEAK = """
import sys
from continualcode.eventlog import read, to_builtins, verify
from continualcode.eventlog.testing import example_registry
what, path = sys.argv[1:]
if what == "verify":
    verify(path)
else:
    for record in read(path, example_registry()):
        to_builtins(record) if what == "show" else record
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_mib(what: str, path: Path) -> float:
    """The most memory, in MiB, that a process of its own needs to verify, fold or show the log."""
    done = subprocess.run([sys.executable, "-c", _PEAK, what, path], capture_output=True, check=True)
    return int(done.stdout) / 1024
