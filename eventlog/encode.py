"""From records to lines: stamp, encode, redact, check, chain."""

import os
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from continualcode.eventlog.commit import Ticket
from continualcode.eventlog.contents import holds_contents
from continualcode.eventlog.errors import LogError, RecordError
from continualcode.eventlog.finite import number_fields, require_finite
from continualcode.eventlog.line import MAX_BODY, restamp, salted
from continualcode.eventlog.record import Opaque, Record
from continualcode.eventlog.registry import Registry


class Redact(Protocol):
    """Takes secrets out of a record before it is written."""

    def __call__(self, record: Record) -> Record:
        """The record itself where there is nothing to hide, or a copy without it."""
        ...


class Encoder:
    """Makes the lines of one writer. `prefix` begins the ids that it gives; `clock` is in ns since 1970."""

    def __init__(
        self, registry: Registry, prefix: str, redact: Redact | None, clock: Callable[[], int]
    ) -> None:
        self._registry, self._prefix, self._redact, self._clock = registry, prefix, redact, clock
        self._json = msgspec.json.Encoder()
        self._number_fields: dict[type[Record], tuple[str, ...]] = {}
        self._with_contents: set[type[Record]] = set()
        self._second = -1_000_000_000  # of the text below, in ns since 1970
        self._second_text = ""

    def encode(self, tickets: list[Ticket], seq: int, h: bytes) -> tuple[list[bytes], int, bytes]:
        """The lines of all tickets from event `seq` on, after a line with hash `h`; the seq and hash then.

        A ticket with a record that cannot be written gets the error and is left out, whole.
        """
        d = seq
        lines: list[bytes] = []
        for ticket in tickets:
            before = len(lines), seq, h
            done: list[Record] = []
            try:
                for record in ticket.records:
                    stamped, body = self._one(record, seq, d)
                    h = sha256(h + body).hexdigest().encode()
                    # `chain` and `seal`, written out
                    lines.append(b"".join((body[:-1], b',"h":"', h, b'"}\n')))
                    done.append(stamped)
                    seq += 1
                ticket.done = done
            except LogError as error:
                ticket.error = error
                del lines[before[0] :]
                _, seq, h = before
        return lines, seq, h

    def _one(self, record: Record, seq: int, d: int) -> tuple[Record, bytes]:
        cls = type(record)
        numbers = self._number_fields.get(cls)
        if numbers is None:
            if isinstance(record, Opaque):
                body = restamp(record.raw, seq, d)
                return replace(record, seq=seq, d=d, raw=body), body
            numbers = self._learn(cls)
        stamped = replace(
            record, seq=seq, d=d, ts=self._now(), id=f"{self._prefix}-{seq}", of=UNSET, gone=UNSET
        )
        if numbers:
            require_finite(stamped, numbers)
        if self._redact is not None:
            stamped = self._redact(stamped)
        body = self._body(stamped)
        return stamped, salted(body, os.urandom(12)) if cls in self._with_contents else body

    def _learn(self, cls: type[Record]) -> tuple[str, ...]:
        if cls not in self._registry:
            raise RecordError(f"{cls.__qualname__} is not registered, so it could not be read back")
        self._number_fields[cls] = number_fields(cls)
        if holds_contents(cls):
            self._with_contents.add(cls)
        return self._number_fields[cls]

    def _body(self, record: Record) -> bytes:
        try:
            body = self._json.encode(record)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"{record.t}: cannot be written as JSON: {error}") from error
        if len(body) > MAX_BODY:
            raise RecordError(
                f"{record.t}: {len(body):,} bytes; a line takes {MAX_BODY:,}: put large contents in blobs"
            )
        return body

    def _now(self) -> str:
        ns = self._clock()
        if not 0 <= (rest := ns - self._second) < 1_000_000_000:
            second, rest = divmod(ns, 1_000_000_000)
            self._second = ns - rest
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._second_text}{rest // 1000:06d}Z"
