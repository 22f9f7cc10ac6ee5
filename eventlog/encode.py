"""From records to lines: stamp, encode, redact, check, chain."""

import os
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Protocol

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from continualcode.eventlog.commit import Ticket
from continualcode.eventlog.contents import holds_contents
from continualcode.eventlog.errors import LogError, RecordError
from continualcode.eventlog.finite import number_fields, require_finite
from continualcode.eventlog.line import MAX_BODY, restamp, salt_member
from continualcode.eventlog.record import Opaque, Record
from continualcode.eventlog.registry import Registry

_KEPT = 1 << 20
"""The most bytes of a batch whose memory is used again for the next one."""


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
        self._json, self._lines = msgspec.json.Encoder(), bytearray()
        self._number_fields: dict[type[Record], tuple[str, ...]] = {}
        self._with_contents: set[type[Record]] = set()
        self._second = -1_000_000_000  # of the text below, in ns since 1970
        self._second_text = ""

    def encode(self, tickets: Sequence[Ticket], seq: int, h: bytes) -> tuple[bytearray, int, bytes]:
        """The lines of all tickets from event `seq` on, after a line with hash `h`; the seq and hash then.

        A ticket with a record that cannot be written gets the error and is left out, whole. The lines
        are in one buffer, good until the next call: what is not copied costs nothing.
        """
        if len(self._lines) > _KEPT:
            self._lines = bytearray()
        d, lines, end = seq, self._lines, 0
        for ticket in tickets:
            before = end, seq, h
            done: list[Record] = []
            try:
                for record in ticket.records:
                    done.append(self._body(record, seq, d, end))
                    digest = sha256(h)  # `chain` and `seal`, written out
                    digest.update(lines[end:] if end else lines)
                    h = digest.hexdigest().encode()
                    lines[-1:] = b',"h":"%b"}\n' % h
                    end = len(lines)
                    seq += 1
                ticket.done = done
            except LogError as error:
                ticket.error = error
                end, seq, h = before
                del lines[end:]
        return lines, seq, h

    def _body(self, record: Record, seq: int, d: int, end: int) -> Record:
        """Put the record's body after the first `end` bytes of the lines; the record as it was written."""
        cls, lines = type(record), self._lines
        numbers = self._number_fields.get(cls)
        if numbers is None:
            if isinstance(record, Opaque):
                lines[end:] = body = restamp(record.raw, seq, d)
                return replace(record, seq=seq, d=d, raw=body)
            numbers = self._learn(cls)
        stamped = replace(
            record, seq=seq, d=d, ts=self._now(), id=f"{self._prefix}-{seq}", of=UNSET, gone=UNSET
        )
        for name in numbers:
            if getattr(stamped, name):  # most often there is none
                require_finite(stamped, name)
        if self._redact is not None:
            stamped = self._redact(stamped)
        try:
            self._json.encode_into(stamped, lines, end)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"{record.t}: cannot be written as JSON: {error}") from error
        if cls in self._with_contents:
            lines[-1:] = salt_member(os.urandom(12))
        if len(lines) - end > MAX_BODY:
            size = f"{len(lines) - end:,} bytes; a line takes {MAX_BODY:,}"
            raise RecordError(f"{record.t}: {size}: put large contents in blobs")
        return stamped

    def _learn(self, cls: type[Record]) -> tuple[str, ...]:
        if cls not in self._registry:
            raise RecordError(f"{cls.__qualname__} is not registered, so it could not be read back")
        self._number_fields[cls] = number_fields(cls)
        if holds_contents(cls):
            self._with_contents.add(cls)
        return self._number_fields[cls]

    def _now(self) -> str:
        ns = self._clock()
        if not 0 <= (rest := ns - self._second) < 1_000_000_000:
            second, rest = divmod(ns, 1_000_000_000)
            self._second = ns - rest
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return "%s%06dZ" % (self._second_text, rest // 1000)  # noqa: UP031  # an f-string takes longer
