"""One writer: what it stamps, whom it keeps out, and how many threads share its syncs."""

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.eventlog import (
    LogDead,
    LogError,
    LogHeld,
    LogWriter,
    Record,
    RecordError,
    Registry,
    read,
    verify,
)
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.faults import FaultyDisk
from continualcode.eventlog.segments import segment_paths
from continualcode.eventlog.testing import Note, Sample, example_registry


def test_what_append_returns_is_what_a_reader_gets(tmp_path: Path, registry: Registry) -> None:
    with LogWriter.create(tmp_path / "log", registry) as log:
        first = log.append(Note(text="a"))
        second = log.append(Note(text="b"), cause=first.id)
        batch = log.append_many([Note(text="c", cause=second.id), Sample(ids=b"", logprobs=b"")])
        assert (log.next_seq, log.path) == (4, tmp_path / "log")
    assert list(read(tmp_path / "log", registry)) == [first, second, *batch]
    assert [r.seq for r in (first, second, *batch)] == [0, 1, 2, 3]
    assert [r.d for r in (first, second, *batch)] == [0, 1, 2, 2]
    assert (second.cause, batch[0].cause) == (first.id, second.id)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.ts)


def test_ids_differ_between_events_sessions_and_copies_of_a_log(tmp_path: Path, registry: Registry) -> None:
    ids: list[str] = []
    with LogWriter.create(tmp_path / "a", registry) as log:
        ids += [log.append(Note(text="")).id]
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
    for name in "ab":
        with LogWriter.open(tmp_path / name, registry) as log:
            ids += [log.append(Note(text="")).id]
    assert len(set(ids)) == 3


def test_an_event_is_synced_before_append_returns_and_acknowledged_after(
    tmp_path: Path, registry: Registry
) -> None:
    disk = FaultyDisk({})
    with LogWriter.create(tmp_path / "log", registry, disk=disk) as log:
        before = len(disk.calls)
        log.append(Note(text=""))
        assert disk.calls[before:] == ["pwrite", "fdatasync", "pwrite"]


def test_the_order_is_by_seq_where_the_clock_goes_backwards(tmp_path: Path, registry: Registry) -> None:
    clock = iter([5 * 10**9, 4 * 10**9, 3 * 10**9, 2 * 10**9])
    with LogWriter.create(tmp_path / "log", registry, clock=lambda: next(clock)) as log:
        for text in "abc":
            log.append(Note(text=text))
    records = list(read(tmp_path / "log", registry))
    assert [r.seq for r in records] == [0, 1, 2]
    assert [r.ts for r in records] == [f"1970-01-01T00:00:0{s}.000000Z" for s in (4, 3, 2)]


def test_a_second_writer_is_told_who_holds_the_log_and_how_to_go_on(
    tmp_path: Path, registry: Registry
) -> None:
    with LogWriter.create(tmp_path / "log", registry) as log:
        log.append_many([Note(text="one"), Note(text="two")])
        host = re.escape(os.uname().nodename)
        with pytest.raises(
            LogHeld, match=f"held by process {os.getpid()} on {host}.*cc run NEWFOLDER --fork .*log@1$"
        ):
            LogWriter.open(tmp_path / "log", registry)
    LogWriter.open(tmp_path / "log", registry).close()


def test_another_process_is_kept_out_too(tmp_path: Path, registry: Registry) -> None:
    with LogWriter.create(tmp_path / "log", registry):
        pid = os.fork()
        if pid == 0:
            try:
                LogWriter.open(tmp_path / "log", registry)
            except LogHeld:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_fork_may_not_write_and_its_close_lets_nothing_go(tmp_path: Path, registry: Registry) -> None:
    log = LogWriter.create(tmp_path / "log", registry)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            log.append(Note(text="child"))
        except LogDead as error:
            code = 7 if f"opened by process {os.getppid()}" in str(error) else 2
        log.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    with pytest.raises(LogHeld):
        LogWriter.open(tmp_path / "log", registry)
    log.append(Note(text="parent"))
    log.close()
    assert [r.seq for r in read(tmp_path / "log", registry)] == [0]


def test_a_closed_writer_refuses_and_may_be_closed_again(tmp_path: Path, registry: Registry) -> None:
    log = LogWriter.create(tmp_path / "log", registry)
    log.close()
    log.close()
    with pytest.raises(LogDead, match="it is closed"):
        log.append(Note(text=""))


class Stranger(Record, frozen=True, kw_only=True, tag="stranger"):
    """Not registered."""


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Stranger(), "Stranger is not registered"),
        (Sample(ids=b"", logprobs=b"", metrics={"loss": float("nan")}), r"sample\.metrics\['loss'\] is nan"),
        (
            Sample(ids=b"", logprobs=b"", metrics={"a": 1.0, "b": float("-inf")}),
            r"sample\.metrics\['b'\] is -inf",
        ),
        (Note(text="\udcff"), r"note: cannot be written as JSON"),
        (
            Note(text="x" * (17 << 20)),
            r"17,825,\d+ bytes; a line takes 16,776,192: put large contents in blobs",
        ),
    ],
)
def test_a_record_that_could_not_be_read_back_is_refused_and_leaves_nothing(
    tmp_path: Path, registry: Registry, record: Record, said: str
) -> None:
    with LogWriter.create(tmp_path / "log", registry) as log:
        with pytest.raises(RecordError, match=said):
            log.append_many([Note(text="with it"), record])
        assert log.append(Note(text="next")).seq == 0
    assert verify(tmp_path / "log").events == 1


def test_segments_roll_and_are_read_as_one_log(tmp_path: Path, registry: Registry) -> None:
    with LogWriter.create(tmp_path / "log", registry, segment_bytes=2000) as log:
        written = [log.append(Note(text=f"{i}" * 50)) for i in range(40)]
    with LogWriter.open(tmp_path / "log", registry, segment_bytes=2000) as log:
        written += [log.append(Note(text=f"{i}" * 50)) for i in range(40)]
    assert len(segment_paths(tmp_path / "log")) > 10
    assert list(read(tmp_path / "log", registry)) == written
    assert list(read(tmp_path / "log", registry, start_seq=33, end_seq=36)) == written[33:36]
    found = verify(tmp_path / "log")
    assert (found.ok, found.events) == (True, 80)


def test_a_failed_batch_of_one_thread_does_not_hurt_the_others(tmp_path: Path, registry: Registry) -> None:
    refused: list[str] = []

    def produce(number: int) -> None:
        for i in range(8):
            try:
                log.append_many(
                    [Note(text=f"{number}.{i}"), Note(text="\udcff" if (number + i) % 3 == 0 else "ok")]
                )
            except RecordError:
                refused.append(f"{number}.{i}")

    with LogWriter.create(tmp_path / "log", registry) as log:
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept = [r.text for r in read(tmp_path / "log", registry) if isinstance(r, Note)]
    assert len(refused) == len([0 for n in range(16) for i in range(8) if (n + i) % 3 == 0])
    assert sorted(kept) == sorted(
        text for n in range(16) for i in range(8) if f"{n}.{i}" not in refused for text in (f"{n}.{i}", "ok")
    )
    assert verify(tmp_path / "log").ok


class SlowDisk(Disk):
    """A sync takes 3 ms, as on a real disk."""

    syncs = 0

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        time.sleep(0.003)


def test_sixty_four_threads_share_syncs_and_each_keeps_its_order(tmp_path: Path, registry: Registry) -> None:
    disk = SlowDisk()
    acknowledged: list[list[str]] = [[] for _ in range(64)]
    all_there = threading.Barrier(64)  # on a busy machine the last thread starts long after the first

    def produce(number: int) -> None:
        all_there.wait()
        for _ in range(10):
            acknowledged[number].append(log.append(Note(text=f"{number}")).id)

    with LogWriter.create(tmp_path / "log", registry, disk=disk) as log:
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    records = [r for r in read(tmp_path / "log", registry) if isinstance(r, Note)]
    for number, ids in enumerate(acknowledged):
        assert [r.id for r in records if r.text == f"{number}"] == ids
    assert len(records) == 640
    assert disk.syncs < 100, "each commit takes all that waited during the one before it"


class BrokenDisk(SlowDisk):
    """The fourth sync fails."""

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        if self.syncs == 4:
            raise OSError(5, "Input/output error")


def test_a_failed_sync_is_told_to_every_thread_that_waited_for_it(tmp_path: Path, registry: Registry) -> None:
    acknowledged: list[str] = []
    failed: list[LogError] = []

    def produce(number: int) -> None:
        try:
            while True:
                acknowledged.append(log.append(Note(text="")).id)
        except LogError as error:
            failed.append(error)

    with LogWriter.create(tmp_path / "log", registry, disk=BrokenDisk()) as log:
        threads = [threading.Thread(target=produce, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
    assert len(failed) == 16
    assert all(isinstance(error, LogDead) for error in failed)
    kept = [r.id for r in read(tmp_path / "log", registry)]
    assert set(acknowledged) <= set(kept)


def test_an_interrupt_during_a_sync_leaves_the_log_in_order(tmp_path: Path, registry: Registry) -> None:
    """Ctrl-C in append: the event is not acknowledged, the log is whole, the writer lives."""

    class Interrupting(Disk):
        armed = False

        def fdatasync(self, fd: int) -> None:
            super().fdatasync(fd)
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt

    disk = Interrupting()
    with LogWriter.create(tmp_path / "log", registry, disk=disk) as log:
        log.append(Note(text="a"))
        disk.armed = True
        with pytest.raises(KeyboardInterrupt):
            log.append(Note(text="b"))
        log.append(Note(text="c"))
    assert [r.text for r in read(tmp_path / "log", registry) if isinstance(r, Note)] == ["a", "c"]
    assert verify(tmp_path / "log").ok


def test_signals_that_interrupt_system_calls_do_no_harm(tmp_path: Path, registry: Registry) -> None:
    """EINTR: a timer fires every half millisecond while large events are written and synced."""
    fired = 0

    def count(number: int, frame: object) -> None:
        nonlocal fired
        fired += 1

    before = signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        with LogWriter.create(tmp_path / "log", registry) as log:
            written = [log.append(Note(text="x" * 300_000)) for _ in range(30)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert fired > 10
    assert list(read(tmp_path / "log", registry)) == written


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            TEXT.map(lambda t: Note(text=t)), st.binary().map(lambda b: Sample(ids=b, logprobs=b[::-1]))
        )
    )
)
def test_any_records_come_back_as_they_were(records: list[Record]) -> None:
    """Line separators of all kinds, NULs, quotes, anything: one record stays one line."""
    registry = example_registry()
    path = Path("/dev/shm" if os.path.isdir("/dev/shm") else "/tmp") / f"law-{os.getpid()}"
    try:
        with LogWriter.create(path, registry) as log:
            written = log.append_many(records)
        assert list(read(path, registry)) == written
        assert path.read_bytes().count(b"\n") == len(records) + 1
        assert verify(path).ok
    finally:
        for leftover in path.parent.glob(f"{path.name}*"):
            leftover.unlink()
