"""From records to lines: stamp, encode, redact, check, chain."""

import math
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol, cast

import msgspec

from continualcode.eventlog.commit import Ticket
from continualcode.eventlog.errors import LogError, RecordError
from continualcode.eventlog.line import MAX_BODY, chain, restamp, seal
from continualcode.eventlog.record import Opaque, Record
from continualcode.eventlog.registry import Registry


class Redact(Protocol):
    """Takes secrets out of a record before it is written."""

    def __call__(self, record: Record, encoded: bytes) -> Record:
        """The record itself where there is nothing to hide, or a copy without it. `encoded` is its JSON."""
        ...


class Encoder:
    """Makes the lines of one writer. `prefix` begins the ids that it gives; `clock` is in ns since 1970."""

    def __init__(
        self, registry: Registry, prefix: str, redact: Redact | None, clock: Callable[[], int]
    ) -> None:
        self._registry, self._prefix, self._redact, self._clock = registry, prefix, redact, clock
        self._json = msgspec.json.Encoder()
        self._second = -1
        self._second_text = ""

    def encode(self, tickets: list[Ticket], seq: int, h: bytes) -> tuple[list[bytes], int, bytes]:
        """The lines of all tickets from event `seq` on, after a line with hash `h`; the seq and hash then.

        A ticket with a record that cannot be written gets the error and is left out, whole.
        """
        d, lines = seq, list[bytes]()
        for ticket in tickets:
            before, done = (len(lines), seq, h), list[Record]()
            try:
                for record in ticket.records:
                    stamped, body = self._one(record, seq, d)
                    h = chain(h, body)
                    lines.append(seal(body, h))
                    done.append(stamped)
                    seq += 1
                ticket.done = done
            except LogError as error:
                ticket.error = error
                del lines[before[0] :]
                _, seq, h = before
        return lines, seq, h

    def _one(self, record: Record, seq: int, d: int) -> tuple[Record, bytes]:
        if isinstance(record, Opaque):
            body = restamp(record.raw, seq, d)
            return msgspec.structs.replace(record, seq=seq, d=d, raw=body), body
        if type(record) not in self._registry:
            raise RecordError(
                f"{type(record).__qualname__} ({record.t}) is not registered, so it could not be read back"
            )
        stamped = msgspec.structs.replace(record, seq=seq, d=d, ts=self._now(), id=f"{self._prefix}-{seq}")
        body = self._body(stamped)
        if self._redact is not None and (redacted := self._redact(stamped, body)) is not stamped:
            stamped, body = redacted, self._body(redacted)
        return stamped, body

    def _body(self, record: Record) -> bytes:
        try:
            body = self._json.encode(record)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"{record.t}: cannot be written as JSON: {error}") from error
        if body.count(b"null") > (record.cause is None):
            for where, value in _not_finite(record, record.t):
                raise RecordError(f"{where} is {value}, for which JSON has no word; F32 fields can hold it")
        if len(body) > MAX_BODY:
            raise RecordError(
                f"{record.t}: {len(body):,} bytes; a line takes {MAX_BODY:,}: put large contents in blobs"
            )
        return body

    def _now(self) -> str:
        second, ns = divmod(self._clock(), 1_000_000_000)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._second_text}.{ns // 1000:06d}Z"


def _not_finite(value: Any, where: str) -> Iterator[tuple[str, float]]:
    """The places of NaN and infinities in plain data and structs. (msgspec writes them as null.)"""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield where, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _not_finite(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, dict):
        pairs = cast(dict[object, object], value)
        for key, item in pairs.items():
            yield from _not_finite(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        items = cast(Collection[object], value)
        for index, item in enumerate(items):
            yield from _not_finite(item, f"{where}[{index}]")
