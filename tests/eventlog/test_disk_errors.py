"""A disk that says no: what was acknowledged stays, what was not is gone, and the writer says which."""

import contextlib
import ctypes
import errno
import os
import resource
import stat
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from continualcode.eventlog import LogDead, LogError, LogWriter, Registry, read, verify
from continualcode.eventlog.faults import Fail, FaultyDisk, Short
from continualcode.eventlog.segments import ack_path
from continualcode.eventlog.testing import Note


def texts(path: Path, registry: Registry) -> list[str]:
    return [record.text for record in read(path, registry) if isinstance(record, Note)]


@contextlib.contextmanager
def limited(limit: int) -> Generator[None]:
    """No file may grow past `limit` bytes meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_size_limit_anywhere_refuses_the_event_and_keeps_the_rest(
    ram: Path, registry: Registry
) -> None:
    """The real error (EFBIG, after a short write) at every 7th size; once lifted, the writer goes on."""
    refused = 0
    for limit in range(900, 2000, 7):
        path = ram / f"{limit}"
        with LogWriter.create(path, registry) as log:
            kept: list[str] = []
            for number in range(9):
                text = f"{number}" * 60
                with limited(limit), contextlib.suppress(LogError):
                    log.append(Note(text=text))
                    kept.append(text)
            refused += 9 - len(kept)
            log.append(Note(text="after"))
        assert texts(path, registry) == [*kept, "after"]
        assert verify(path).ok
    assert refused > 300


@contextlib.contextmanager
def small_disk(size: int) -> Generator[Path]:
    """A file system of `size` bytes, where this process may mount one."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = Path(tempfile.mkdtemp())
    options = f"size={size}".encode()
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options) != 0:
        folder.rmdir()
        pytest.skip(f"cannot mount a tmpfs here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount(os.fsencode(folder))
        folder.rmdir()


def test_a_full_disk_refuses_the_event_and_when_there_is_room_the_writer_goes_on(registry: Registry) -> None:
    with small_disk(128 << 10) as folder:
        (folder / "ballast").write_bytes(bytes(40 << 10))
        with LogWriter.create(folder / "log", registry) as log:
            kept = 0
            with pytest.raises(LogError, match="No space left on device; nothing was written"):
                while True:
                    log.append(Note(text="x" * 5000))
                    kept += 1
            assert verify(folder / "log").ok
            (folder / "ballast").unlink()
            log.append(Note(text="after"))
        assert len(texts(folder / "log", registry)) == kept + 1
        assert verify(folder / "log").ok


def test_short_writes_are_continued(tmp_path: Path, registry: Registry) -> None:
    disk = FaultyDisk({number: Short(7) for number in range(9, 12)})
    with LogWriter.create(tmp_path / "log", registry, disk=disk) as log:
        for text in "abcd":
            log.append(Note(text=text))
    assert texts(tmp_path / "log", registry) == list("abcd")
    assert verify(tmp_path / "log").ok


def failing(
    path: Path, registry: Registry, call: str, error: int, times: int = 1
) -> tuple[LogWriter, FaultyDisk]:
    """A writer with one event, whose next `call` will fail."""
    disk = FaultyDisk({})
    log = LogWriter.create(path, registry, disk=disk)
    log.append(Note(text="kept"))
    ahead = {"pwrite": 0, "fdatasync": 1}[call]
    disk.faults = {len(disk.calls) + ahead + i: Fail(error) for i in range(times)}
    return log, disk


def test_a_failed_write_leaves_nothing_and_the_writer_lives(tmp_path: Path, registry: Registry) -> None:
    log, _ = failing(tmp_path / "log", registry, "pwrite", errno.ENOSPC)
    before = (tmp_path / "log").read_bytes()
    with pytest.raises(LogError, match="log: cannot append event 1: .*No space left"):
        log.append(Note(text="lost"))
    assert (tmp_path / "log").read_bytes() == before
    assert log.append(Note(text="next")).seq == 1
    log.close()
    assert texts(tmp_path / "log", registry) == ["kept", "next"]


def test_a_write_that_can_neither_be_finished_nor_taken_back_ends_the_writer(
    tmp_path: Path, registry: Registry
) -> None:
    log, _ = failing(tmp_path / "log", registry, "pwrite", errno.EIO, times=2)
    with pytest.raises(LogError):
        log.append(Note(text="lost"))
    with pytest.raises(LogDead, match="cutting it off too"):
        log.append(Note(text="refused"))
    log.close()


def test_after_a_failed_sync_the_writer_is_dead_and_never_syncs_again(
    tmp_path: Path, registry: Registry
) -> None:
    """A second sync would report success for pages that the kernel has dropped."""
    log, disk = failing(tmp_path / "log", registry, "fdatasync", errno.EIO)
    with pytest.raises(LogDead, match="sync of event 1 failed.*Input/output error"):
        log.append(Note(text="who knows"))
    calls = len(disk.calls)
    with pytest.raises(LogDead, match="its sync failed"):
        log.append(Note(text="refused"))
    assert disk.calls[calls:] == []
    log.close()
    with LogWriter.open(tmp_path / "log", registry) as again:
        again.append(Note(text="after"))
    assert texts(tmp_path / "log", registry) in (["kept", "after"], ["kept", "who knows", "after"])


def test_a_failed_roll_leaves_the_log_as_it_was(ram: Path, registry: Registry) -> None:
    number = 0
    while True:
        path, disk = ram / f"{number}", FaultyDisk({})
        with LogWriter.create(path, registry, disk=disk, segment_bytes=1) as log:
            log_is_new = len(disk.calls)
            disk.faults = {log_is_new + number: Fail(errno.EIO)}
            for text in "abc":
                with contextlib.suppress(LogError):
                    log.append(Note(text=text))
        kept = texts(path, registry)
        with LogWriter.open(path, registry) as log:
            log.append(Note(text="after"))
        assert texts(path, registry) == [*kept, "after"]
        assert verify(path).ok
        if len(disk.calls) <= log_is_new + number:
            break
        number += 1
    assert number > 15


def test_a_failed_note_of_the_acknowledged_end_does_not_undo_the_event(
    tmp_path: Path, registry: Registry
) -> None:
    log, disk = failing(tmp_path / "log", registry, "pwrite", errno.EIO)
    disk.faults = {len(disk.calls) + 2: Fail(errno.EIO)}
    assert log.append(Note(text="durable")).seq == 1
    log.close()
    assert texts(tmp_path / "log", registry) == ["kept", "durable"]
    assert verify(tmp_path / "log").ok


@contextlib.contextmanager
def nobody() -> Generator[None]:
    """Without root's powers, where this process has them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def read_only(registry: Registry) -> Iterator[Path]:
    """A folder with a log, in which nobody may write."""
    folder = Path(tempfile.mkdtemp())
    with LogWriter.create(folder / "log", registry) as log:
        log.append(Note(text="kept"))
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_read_only_folder_can_be_read_and_refuses_writers_with_its_name(
    read_only: Path, registry: Registry
) -> None:
    with nobody():
        with pytest.raises(LogError, match=f"cannot begin a log at {read_only}/new: .*Permission denied"):
            LogWriter.create(read_only / "new", registry)
        with pytest.raises(LogError, match=f"cannot open {read_only}/log for appending: .*Permission denied"):
            LogWriter.open(read_only / "log", registry)
        assert texts(read_only / "log", registry) == ["kept"]
        assert verify(read_only / "log").ok


def test_only_the_owner_may_read_a_log(finished: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in finished.parent.iterdir()} == {0o600}


def test_an_existing_file_is_never_begun_anew(finished: Path, registry: Registry) -> None:
    before = finished.read_bytes()
    with pytest.raises(LogError, match="File exists"):
        LogWriter.create(finished, registry)
    assert finished.read_bytes() == before


def test_no_log_and_a_folder_are_said(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(LogError, match="there is no log here"):
        list(read(tmp_path / "none", registry))
    with pytest.raises(LogError, match="this is a folder"):
        verify(tmp_path)
    with pytest.raises(LogError, match="No such file"):
        LogWriter.open(tmp_path / "none", registry)


def test_the_sidecar_is_made_again_where_it_is_gone(finished: Path, registry: Registry) -> None:
    ack_path(finished).unlink()
    LogWriter.open(finished, registry).close()
    assert verify(finished).ack == "ok"
