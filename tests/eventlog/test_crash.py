"""Crashes: after each one, acknowledged ⊆ recovered ⊆ submitted, in order, and the next append verifies."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.eventlog import LogError, LogWriter, Registry, read, verify
from continualcode.eventlog.faults import Fault, FaultyDisk, Kill, LosingDisk
from continualcode.eventlog.segments import ack_path, segment_paths, torn_path
from continualcode.eventlog.testing import Note


def child(work: Callable[[], None]) -> int:
    """The pid of a fork that does `work` and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def texts(path: Path, registry: Registry) -> list[str]:
    return [record.text for record in read(path, registry) if isinstance(record, Note)]


def check(path: Path, registry: Registry, submitted: list[str], acknowledged: int) -> int:
    """The invariant; how many events were recovered."""
    with LogWriter.open(path, registry) as log:
        kept = log.next_seq
        log.append(Note(text="after"))
    recovered = texts(path, registry)
    assert recovered == [*submitted[:kept], "after"]
    assert acknowledged <= kept <= len(submitted)
    assert verify(path).ok
    return kept


SIZES = [0, 1, 37, 300, 300, 7_000, 7_000, 100_003, 100_003, 600_001]


def kill_loop(folder: Path, registry: Registry, kills: int) -> str:
    """Kill a writer again and again on one log, and say what came of it."""
    chance = random.Random(kills)
    path, told = folder / "log", folder / "told"
    LogWriter.create(path, registry).close()
    submitted: list[str] = []
    torn = acks = 0
    for _ in range(kills):
        sizes = [chance.choice(SIZES) for _ in range(40)]
        fresh = [f"{len(submitted) + i}:" + "x" * size for i, size in enumerate(sizes)]

        def work(fresh: list[str] = fresh) -> None:
            with LogWriter.open(path, registry) as log:
                acks = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                for text in fresh:
                    log.append(Note(text=text))
                    os.write(acks, b".")

        before = len(submitted)
        pid = child(work)
        deadline = time.monotonic() + 60
        while not told.exists():  # not reaped before it is killed: its pid stays its own
            assert time.monotonic() < deadline, "the writer did not come up"
            time.sleep(0)
        time.sleep(chance.random() ** 2 * 0.02)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged = before + told.stat().st_size
        told.unlink()
        found = verify(path)
        torn += found.recoverable
        acks += acknowledged - before
        assert found.ok or found.recoverable, found
        submitted += fresh
        kept = check(path, registry, submitted, acknowledged)
        submitted = [*submitted[:kept], "after"]
        if path.stat().st_size > 4_000_000:
            for old in folder.iterdir():
                old.unlink()
            LogWriter.create(path, registry).close()
            submitted = []
    return f"{kills} kills, {torn} torn tails, {acks} events acknowledged, 0 of them lost"


def test_kill_9_at_any_time_loses_nothing_acknowledged(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = kill_loop(tmp_path, registry, 40)
    with capsys.disabled():
        print(f"\n  on disk: {counts}", end=" ")


def test_kill_9_where_syncing_is_free_hits_the_writing(
    ram: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = kill_loop(ram, registry, 60)
    with capsys.disabled():
        print(f"\n  in memory: {counts}", end=" ")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_kills(
    tmp_path: Path, ram: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    for where, folder, kills in (("on disk", tmp_path, 1000), ("in memory", ram, 4000)):
        counts = kill_loop(folder, registry, kills)
        with capsys.disabled():
            print(f"\n  {where}: {counts}", end=" ")


def scenario(path: Path, disk: FaultyDisk, registry: Registry, acks: int) -> None:
    """Create, append, batch, roll, close, open, append: every call that the writer makes."""
    with LogWriter.create(path, registry, disk=disk, segment_bytes=700) as log:
        for batch in (["0"], ["1", "2", "3"], ["4"]):
            log.append_many([Note(text=text) for text in batch])
            os.write(acks, b"." * len(batch))
    with LogWriter.open(path, registry, disk=disk, segment_bytes=700) as log:
        for text in ("5", "6"):
            log.append(Note(text=text))
            os.write(acks, b".")


SUBMITTED = ["0", "1", "2", "3", "4", "5", "6"]


def test_kill_9_in_every_call_that_the_writer_makes(
    ram: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the N-th call, before it, and after its first 1, 50 and 400 bytes; for every N."""
    whole = FaultyDisk({})
    os.mkdir(ram / "whole")
    told = os.open(ram / "told", os.O_RDWR | os.O_CREAT)
    scenario(ram / "whole" / "log", whole, registry, told)
    kills = 0
    for number, call in enumerate(whole.calls):
        for after in (0, 1, 50, 400) if call == "pwrite" else (0,):
            folder = ram / f"{number}-{after}"
            folder.mkdir()
            os.ftruncate(told, 0)
            os.lseek(told, 0, os.SEEK_SET)
            disk = FaultyDisk({number: Kill(after)})

            def work(folder: Path = folder, disk: FaultyDisk = disk) -> None:
                scenario(folder / "log", disk, registry, told)

            _, status = os.waitpid(child(work), 0)
            assert os.WIFSIGNALED(status)
            kills += 1
            if (folder / "log").exists():
                check(folder / "log", registry, SUBMITTED, os.fstat(told).st_size)
            else:
                assert os.fstat(told).st_size == 0
    with capsys.disabled():
        print(f"\n  killed in {kills} places of {len(whole.calls)} calls, 0 acknowledged lost", end=" ")


def test_kill_9_in_every_call_of_a_recovery_leaves_a_log_to_recover(ram: Path, registry: Registry) -> None:
    """A torn tail, then a recovery that dies in its N-th call, then another recovery."""
    number = 0
    while True:
        path = ram / f"{number}" / "log"
        path.parent.mkdir()
        with LogWriter.create(path, registry) as log:
            for text in SUBMITTED:
                log.append(Note(text=text))
        with open(path, "ab") as file:
            file.write(b'{"t":"note","seq":7,"d":7,"ts":"')
        disk = FaultyDisk({number: Kill(after=3)})

        def work(path: Path = path, disk: FaultyDisk = disk) -> None:
            LogWriter.open(path, registry, disk=disk).close()

        _, status = os.waitpid(child(work), 0)
        check(path, registry, SUBMITTED, len(SUBMITTED))
        assert b'{"t":"note","seq":7' in torn_path(path).read_bytes()
        if not os.WIFSIGNALED(status):
            break
        number += 1
    assert number > 8


def test_cut_at_every_byte_without_the_sidecar_recovers_every_whole_line(
    finished: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a crash would, and where no witness says otherwise. What is cut into is moved, not deleted."""
    folder, last = finished.parent, segment_paths(finished)[1]
    ack_path(finished).unlink()
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    data = whole[last]
    all_texts = texts(finished, registry)
    for length in range(len(data)):
        for path in folder.iterdir():
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
        last.write_bytes(data[:length])
        lines = data[: length + 1].count(b"\n")  # one that lacks only its newline is whole
        with LogWriter.open(finished, registry) as log:
            assert log.next_seq == 4 + max(0, lines - 1)
            log.append(Note(text="after"))
        assert texts(finished, registry)[-1] == "after"
        assert texts(finished, registry)[:-1] == all_texts[: 3 + max(0, lines - 1)]
        assert verify(finished).ok
        rest = data[data[:length].rfind(b"\n") + 1 : length]
        assert not rest or data[length : length + 1] == b"\n" or rest in torn_path(finished).read_bytes()
    with capsys.disabled():
        print(f"\n  {len(data)} truncations, each recovered to the last whole line", end=" ")


def test_a_valid_last_line_that_lacks_its_newline_is_completed(finished: Path, registry: Registry) -> None:
    last = segment_paths(finished)[1]
    data = last.read_bytes()
    last.write_bytes(data[:-1])
    assert (verify(finished).kind, verify(finished).ok) == ("newline", False)
    assert [record.seq for record in read(finished, registry)] == [0, 1, 2, 3, 4]
    LogWriter.open(finished, registry).close()
    assert last.read_bytes() == data
    assert verify(finished).ok


def test_corruption_is_refused_with_line_and_offset_and_left_alone(
    finished: Path, registry: Registry
) -> None:
    data = finished.read_bytes().replace(b'"two, ', b'"TWO, ')
    finished.write_bytes(data)
    ack_path(finished).unlink()  # so that the later lines are the witnesses
    segment_paths(finished)[1].unlink()
    offset = data.rfind(b"\n", 0, data.index(b"TWO")) + 1
    with pytest.raises(
        LogError, match=rf"line 3 \(byte {offset}\): changed: .*a later line says that it was ack"
    ):
        LogWriter.open(finished, registry)
    assert finished.read_bytes() == data
    assert not torn_path(finished).exists()


def lose_power(folder: Path, registry: Registry, trials: int) -> tuple[int, int]:
    """Random writes, then a loss of power with random sectors lost: how many torn tails, how many events."""
    torn = events = 0
    for trial in range(trials):
        chance = random.Random(trial)
        path, disk = folder / "log", LosingDisk()
        sizes = [chance.choice((1, 1, 2, 5)) for _ in range(5)]
        batches = [[f"{chance.random()}" * chance.randrange(40) for _ in range(size)] for size in sizes]
        acknowledged = 0
        die_at = chance.randrange(len(batches))
        log = LogWriter.create(path, registry, disk=disk, segment_bytes=chance.choice((900, 1 << 30)))
        for number, batch in enumerate(batches):
            if number == die_at:
                _write_unsynced(log, disk, batch, chance)
                break
            log.append_many([Note(text=text) for text in batch])
            acknowledged += len(batch)
        log.close()
        disk.lose_power(chance, folder)
        found = verify(path)
        assert found.ok or found.recoverable, (trial, found)
        torn += found.recoverable
        events += check(path, registry, [text for batch in batches for text in batch], acknowledged)
        for old in folder.iterdir():
            old.unlink()
    return torn, events


def _write_unsynced(log: LogWriter, disk: LosingDisk, batch: list[str], chance: random.Random) -> None:
    """An append in whose sync the power goes."""

    def no_sync(fd: int) -> None:
        raise KeyboardInterrupt

    def no_truncate(fd: int, length: int) -> None:
        pass

    real = disk.fdatasync
    disk.fdatasync, disk.truncate = no_sync, no_truncate
    with pytest.raises(KeyboardInterrupt):
        log.append_many([Note(text=text) for text in batch])
    disk.fdatasync = real


def test_power_losses_with_lost_sectors_lose_nothing_acknowledged(
    ram: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    torn, events = lose_power(ram, registry, 400)
    with capsys.disabled():
        print(f"\n  400 power losses, {torn} torn tails, {events} events, 0 lost, 0 false alarms", end=" ")
    assert torn > 40


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_thousand_power_losses(
    ram: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    torn, events = lose_power(ram, registry, 40_000)
    with capsys.disabled():
        print(f"\n  40,000 power losses, {torn} torn tails, {events} events, 0 lost, 0 false alarms", end=" ")


def test_a_log_whose_creation_was_cut_short_begins_anew(tmp_path: Path, registry: Registry) -> None:
    for content in (b"", b'{"t":"log","seq":0,'):
        path = tmp_path / f"{len(content)}"
        path.write_bytes(content)
        assert list(read(path, registry)) == []
        check(path, registry, [], 0)


def test_the_last_batch_is_written_again_on_opening(finished: Path, registry: Registry) -> None:
    """After a failed sync the kernel may call pages clean that are not on the disk: a sync does nothing."""
    ack_path(finished).unlink()
    disk = FaultyDisk(dict[int, Fault]())
    LogWriter.open(finished, registry, disk=disk).close()
    assert disk.calls.index("pwrite") < disk.calls.index("fdatasync")
