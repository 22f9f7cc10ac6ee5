"""Readers beside a writer: no half lines, nothing that is taken back, constant memory."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from continualcode.eventlog import LogCorrupt, LogWriter, Record, Registry, follow, read, read_header, verify
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.segments import ack_path
from continualcode.eventlog.testing import Note


def test_a_live_tail_sees_every_event_once_and_never_half_of_one(tmp_path: Path, registry: Registry) -> None:
    """While another process appends records of up to a megabyte, over several segments."""
    path = tmp_path / "log"
    LogWriter.create(path, registry).close()
    sizes = [10, 1_000_000, 300, 70_000, 500_000] * 6
    pid = os.fork()
    if pid == 0:
        with LogWriter.open(path, registry, segment_bytes=2_000_000) as log:
            for number, size in enumerate(sizes):
                log.append(Note(text=f"{number}:".ljust(size, "x")))
        os._exit(0)
    seen: list[int] = []
    deadline = time.monotonic() + 60
    for record in follow(path, registry, poll=0.001, stop=lambda: time.monotonic() > deadline):
        assert isinstance(record, Note)
        assert record.text == f"{len(seen)}:".ljust(sizes[len(seen)], "x")
        seen.append(record.seq)
        if len(seen) == len(sizes):
            break
    os.waitpid(pid, 0)
    assert seen == list(range(len(sizes)))


def test_a_live_tail_yields_an_event_when_it_is_durable_and_not_before(
    tmp_path: Path, registry: Registry
) -> None:
    synced, reached = threading.Event(), threading.Event()

    class Waiting(Disk):
        armed = False

        def fdatasync(self, fd: int) -> None:
            if self.armed:
                reached.set()
                synced.wait(20)
            super().fdatasync(fd)

    disk = Waiting()
    with LogWriter.create(tmp_path / "log", registry, disk=disk) as log:
        disk.armed = True
        writing = threading.Thread(target=lambda: log.append(Note(text="x")))
        writing.start()
        reached.wait(20)
        assert b'"text":"x"' in (tmp_path / "log").read_bytes()
        assert list(follow(tmp_path / "log", registry, stop=lambda: True)) == []
        synced.set()
        writing.join()
        assert len(list(follow(tmp_path / "log", registry, stop=lambda: True))) == 1


def test_a_live_tail_starts_where_it_is_told(finished: Path, registry: Registry) -> None:
    assert [r.seq for r in follow(finished, registry, start_seq=3, stop=lambda: True)] == [3, 4]


def test_a_live_tail_waits_at_a_torn_line_and_goes_on_after_the_recovery(
    finished: Path, registry: Registry
) -> None:
    ack_path(finished).unlink()
    last = finished.with_name(f"{finished.name}.1")
    last.write_bytes(last.read_bytes()[:-20])
    seen: list[Record] = []
    pauses = 0

    def stop() -> bool:
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            with LogWriter.open(finished, registry) as log:
                log.append(Note(text="after"))
        return pauses == 6

    seen += follow(finished, registry, poll=0, stop=stop)
    assert [r.seq for r in seen] == [0, 1, 2, 3, 4]
    assert isinstance(seen[-1], Note) and seen[-1].text == "after"


def test_a_live_tail_raises_at_damage(finished: Path, registry: Registry) -> None:
    finished.write_bytes(finished.read_bytes().replace(b'"one"', b'"two"'))
    with pytest.raises(LogCorrupt, match="line 2 "):
        list(follow(finished, registry, stop=lambda: True))


def test_a_reader_of_a_log_in_use_stops_at_the_last_whole_line(tmp_path: Path, registry: Registry) -> None:
    with LogWriter.create(tmp_path / "log", registry) as log:
        log.append(Note(text="a"))
        with open(tmp_path / "log", "ab") as file:  # what a write in progress looks like
            file.write(b'{"t":"note","seq":1,"d":1,"ts":"20')
        assert [r.seq for r in read(tmp_path / "log", registry)] == [0]
        assert verify(tmp_path / "log").recoverable


def test_the_header_names_the_log(finished: Path, tmp_path: Path) -> None:
    assert (read_header(finished).log, read_header(finished).format) == ("abc", 1)
    (tmp_path / "empty").touch()
    with pytest.raises(LogCorrupt, match="line 1 "):
        read_header(tmp_path / "empty")


MEASURE = """
import sys
from continualcode.eventlog import read, stats, verify
from continualcode.eventlog.testing import example_registry
work = {"verify": verify, "stats": stats, "read": lambda p: sum(1 for _ in read(p, example_registry()))}
work[sys.argv[1]](sys.argv[2])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_reading_takes_the_same_memory_at_any_size(ram: Path, registry: Registry) -> None:
    """At most 64 MiB, interpreter and imports included, and no more for a log 10 times as long."""

    def peak(what: str, path: Path) -> int:
        return int(
            subprocess.run(
                [sys.executable, "-c", MEASURE, what, path], capture_output=True, check=True
            ).stdout
        )

    for name, events in (("small", 5_000), ("large", 50_000)):
        with LogWriter.create(ram / name, registry) as log:
            for _ in range(0, events, 1000):
                log.append_many([Note(text="x" * 150)] * 1000)
    for what in ("verify", "read", "stats"):
        small, large = peak(what, ram / "small"), peak(what, ram / "large")
        assert large < 64 << 10, what
        assert large < small + 2048, what


def test_progress_is_told_in_bytes_up_to_all(ram: Path, registry: Registry) -> None:
    with LogWriter.create(ram / "log", registry) as log:
        log.append_many([Note(text="x")] * 40_000)
    told: list[tuple[int, int]] = []
    verify(ram / "log", progress=lambda done, total: told.append((done, total)))
    size = (ram / "log").stat().st_size
    assert len(told) == 3
    assert told[-1] == (size, size)
    assert told == sorted(told)
