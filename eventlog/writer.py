"""The one writer of a log: stamps records, chains them, and returns when they are on the disk."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

import msgspec

from continualcode.eventlog import recovery
from continualcode.eventlog.ack import ack_line, holder_line
from continualcode.eventlog.commit import GroupCommit, Ticket
from continualcode.eventlog.disk import Disk, write_all
from continualcode.eventlog.encode import Encoder, Redact
from continualcode.eventlog.errors import LogDead, LogError
from continualcode.eventlog.lock import acquire, said
from continualcode.eventlog.record import Record
from continualcode.eventlog.recovery import End, header_line, new_id, now
from continualcode.eventlog.registry import Registry
from continualcode.eventlog.segments import SEGMENT_BYTES, ack_path, existing_segments, segment_path

R = TypeVar("R", bound=Record)


class LogWriter:
    """Appends to one log, alone. Make one with `create` or `open`; close it, or use it in a `with`.

    When `append` returns, the event is on the disk. It may be called from many threads: those that
    wait share a sync. An append that raises has left nothing in the log, with one exception: after
    a failed sync nobody knows, and the writer is dead (`LogDead`); open the log again to find out.
    """

    def __init__(
        self,
        path: Path,
        registry: Registry,
        lock: int,
        log: str,
        prefix: str,
        fd: int,
        end: End,
        *,
        redact: Redact | None,
        disk: Disk,
        clock: Callable[[], int],
        segment_bytes: int,
    ) -> None:
        """Not for callers: `create` and `open` know how to come by these."""
        self._path, self._log, self._lock, self._fd = path, log, lock, fd
        self._at, self._log_bytes = end, log.encode()
        self._disk, self._segment_bytes = disk, segment_bytes
        self._pid, self._clock = os.getpid(), clock
        self._dead: str | None = None
        self._encoder = Encoder(registry, prefix, redact, clock)
        self._group = GroupCommit(self._commit)
        self._ack = disk.open_sidecar(ack_path(path))
        disk.pwrite(self._ack, self._ack_line() + holder_line(), 0)

    @classmethod
    def create(
        cls,
        path: Path | str,
        registry: Registry,
        *,
        log_id: str | None = None,
        merged: tuple[str, ...] = (),
        redact: Redact | None = None,
        disk: Disk | None = None,
        clock: Callable[[], int] = time.time_ns,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> "LogWriter":
        """Begin a log in a new file. Raises LogError where `path` exists or cannot be made.

        `clock` gives nanoseconds since 1970, `redact` hides secrets, `disk` makes the system calls.
        """
        path, disk, log = Path(path), disk or Disk(), log_id or new_id()
        if (there := existing_segments(path)) and 0 not in there:
            raise LogError(
                f"cannot begin a log at {path}: {segment_path(path, min(there))} is there, "
                "which would be a part of it; move it away, or take another name"
            )
        with said(f"cannot begin a log at {path}"), contextlib.ExitStack() as undo:
            fd = disk.create(path)
            undo.callback(os.close, fd)
            lock = acquire(path)
            undo.callback(os.close, lock)
            line, h = header_line(log, 0, None, now(clock()), merged)
            write_all(disk, fd, line, 0)
            disk.fdatasync(fd)
            disk.sync_folder(path.parent)
            writer = cls(
                path, registry, lock, log, log, fd, End(0, len(line), 0, h),
                redact=redact, disk=disk, clock=clock, segment_bytes=segment_bytes,
            )  # fmt: skip
            undo.pop_all()
            return writer

    @classmethod
    def open(
        cls,
        path: Path | str,
        registry: Registry,
        *,
        redact: Redact | None = None,
        disk: Disk | None = None,
        clock: Callable[[], int] = time.time_ns,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> "LogWriter":
        """Go on with a log: its tail is checked and, where a crash tore it, put right.

        Raises LogHeld where another writer has it, LogCorrupt at damage that no crash explains.
        """
        path, disk = Path(path), disk or Disk()
        with said(f"cannot open {path} for appending"), contextlib.ExitStack() as undo:
            lock = acquire(path)
            undo.callback(os.close, lock)
            log, fd, end = recovery.recover(path, disk)
            undo.callback(os.close, fd)
            writer = cls(
                path, registry, lock, log, new_id(), fd, end,
                redact=redact, disk=disk, clock=clock, segment_bytes=segment_bytes,
            )  # fmt: skip
            undo.pop_all()
            return writer

    @property
    def path(self) -> Path:
        """The log's first file."""
        return self._path

    @property
    def log_id(self) -> str:
        """The log's id, as its first line has it."""
        return self._log

    @property
    def next_seq(self) -> int:
        """The seq of the next event: how many the log holds."""
        return self._at.seq

    @property
    def last_hash(self) -> str:
        """The h of the last line: everything before it is a function of it."""
        return self._at.h.decode()

    def append(self, record: R, *, cause: str | None = None) -> R:
        """Write one event; return it as written (stamped, redacted) when it is on the disk.

        `cause` is the id of the event that led to it. Raises RecordError where the record cannot be
        written, LogError where the disk would not take it, LogDead where this writer is done for.
        """
        if cause is not None:
            record = msgspec.structs.replace(record, cause=cause)
        return cast(R, self._group.submit(Ticket((record,)))[0])  # the encoder keeps the type

    def append_many(self, records: Iterable[Record]) -> list[Record]:
        """Write several events with one sync. A power loss before it returns may keep some first ones."""
        given = tuple(records)
        return self._group.submit(Ticket(given)) if given else []

    def close(self) -> None:
        """Let the log go. The acknowledged end is made durable too. Safe to call twice and in a fork."""
        if self._fd < 0:
            return
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                self._disk.fdatasync(self._ack)
        for fd in (self._fd, self._ack, self._lock):
            os.close(fd)
        self._fd, self._dead = -1, "it is closed"

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _commit(self, tickets: Sequence[Ticket]) -> None:
        """Write and sync the tickets' records as one batch, and give each ticket its outcome."""
        try:
            if self._dead is not None or os.getpid() != self._pid:
                raise self._refusal()
            if self._at.end >= self._segment_bytes:
                self._roll()
            lines, seq, h = self._encoder.encode(tickets, self._at.seq, self._at.h)
            if seq > self._at.seq:
                self._store(lines, seq, h)
        except BaseException as error:
            told = (
                error
                if isinstance(error, LogError)
                else LogError(f"{self._path}: the commit was cut short: {error!r}")
            )
            for ticket in tickets:
                ticket.error = ticket.error or told
            if told is not error:
                raise

    def _store(self, lines: bytearray, seq: int, h: bytes) -> None:
        at, disk, fd = self._at, self._disk, self._fd
        try:
            write_all(disk, fd, lines, at.end)
            try:
                disk.fdatasync(fd)
            except OSError as error:
                raise self._sync_failed(error) from error
            self._at = End(at.segment, at.end + len(lines), seq, h)
        except BaseException as error:
            self._take_back(error)
            if isinstance(error, OSError):
                what = f"{self._path}: cannot append event {at.seq}: {error}; nothing was written"
                raise LogError(what) from error
            raise
        try:
            disk.pwrite(self._ack, self._ack_line(), 0)
        except OSError:
            pass  # it may lag: the event itself is durable

    def _roll(self) -> None:
        """Go on in a new file, whose header, and whose name, are durable before any event is in it."""
        at = self._at
        path = segment_path(self._path, at.segment + 1)
        line, h = header_line(self._log, at.segment + 1, at, now(self._clock()))
        with said(f"cannot begin segment {path}"):
            fd = self._disk.create(path)
            try:
                write_all(self._disk, fd, line, 0)
                self._disk.fdatasync(fd)
                self._disk.sync_folder(path.parent)
            except BaseException:
                os.close(fd)
                path.unlink()  # it holds no event
                raise
        os.close(self._fd)
        self._fd, self._at = fd, End(at.segment + 1, len(line), at.seq, h)

    def _sync_failed(self, error: OSError) -> LogDead:
        self._dead = f"its sync failed: {error}"
        return LogDead(
            f"{self._path}: the sync of event {self._at.seq} failed: {error}. Whether it is on the disk "
            "nobody knows, and trying again would not tell; open the log again to see what it holds."
        )

    def _take_back(self, error: BaseException) -> None:
        """Cut off what a failed or interrupted write left, back to the last acknowledged line."""
        if self._dead is not None:
            return
        try:
            self._disk.truncate(self._fd, self._at.end)
        except OSError as again:
            self._dead = f"a write failed ({error}), and cutting it off too ({again})"

    def _refusal(self) -> LogDead:
        if os.getpid() != self._pid:
            return LogDead(
                f"{self._path}: opened by process {self._pid}, and this is {os.getpid()}, a fork of it; "
                "a fork may not write: open another log"
            )
        return LogDead(f"{self._path}: this writer takes no more events: {self._dead}")

    def _ack_line(self) -> bytes:
        at = self._at
        return ack_line(self._log_bytes, at.segment, at.end, at.seq, at.h)
