"""Which Python type a line's tag means, and what became of its older versions.

A registry never makes a log unreadable: a tag that it does not know, and a body that does not fit
the type, become `Opaque` records that keep their bytes.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar, Union

import msgspec

from continualcode.eventlog.errors import RecordError
from continualcode.eventlog.line import TAIL
from continualcode.eventlog.record import HEADER_FIELDS, Opaque, Record

R = TypeVar("R", bound=Record)

_TAG = re.compile(r"[A-Za-z0-9_.:/-]+(@[1-9][0-9]*)?")
_RESERVED = ("log", "opaque")


class _Bare(msgspec.Struct, frozen=True):
    """The header of a line of any type."""

    t: str
    seq: int
    d: int
    ts: str
    id: str
    cause: str | None
    of: str | msgspec.UnsetType = msgspec.UNSET
    gone: str | msgspec.UnsetType = msgspec.UNSET


class _Nothing(Record, frozen=True, kw_only=True, tag="\0"):
    """What a registry decodes that knows no type."""


class Registry:
    """Record types by tag. Make one a session; there is no global one."""

    def __init__(self) -> None:
        self._types: dict[str, type[Record]] = {}
        self._decoder: msgspec.json.Decoder[Record] | None = (
            None  # of all types; made anew after each new one
        )
        self._upcasts: dict[type[Record], Callable[[Any], Record]] = {}
        self._bare = msgspec.json.Decoder(_Bare)

    def register(self, cls: type[R]) -> type[R]:
        """Know a record type by its tag, and return it. Raises RecordError where shape or tag is wrong."""
        tag = _checked_tag(cls)
        other = self._types.get(tag)
        if other is cls:
            return cls
        if other is not None:
            raise RecordError(
                f"two record types claim the tag {tag!r}: {_name(other)} and {_name(cls)}; "
                "give one of them another (a new version of a type is tagged NAME@2, and so on)"
            )
        self._types[tag], self._decoder = cls, None
        return cls

    def upcast(self, old: type[R], to_next: Callable[[R], Record]) -> None:
        """Know an older version of a type, and how to make the next version of it.

        `to_next` gives the body; the header fields are carried over. Versions chain: v1 → v2 → v3.
        """
        self.register(old)
        self._upcasts[old] = to_next

    def __contains__(self, cls: object) -> bool:
        """Whether `cls` is a type that this registry can read back."""
        return isinstance(cls, type) and issubclass(cls, Record) and self._types.get(str(_tag(cls))) is cls

    @property
    def types(self) -> dict[str, type[Record]]:
        """The registered types by tag: a copy."""
        return dict(self._types)

    def decode(self, line: bytes) -> Record:
        """The record of a whole line (or of a body): typed and in its newest version, or `Opaque`.

        Raises RecordError only where the bytes are no line of a log at all.
        """
        try:
            record = (self._decoder or self._make_decoder()).decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return self._opaque(line, str(error))
        return self._newest(record) if self._upcasts and type(record) in self._upcasts else record

    def _make_decoder(self) -> msgspec.json.Decoder[Record]:
        types = tuple(self._types.values()) or (_Nothing,)
        self._decoder = msgspec.json.Decoder[Record](Union[types])  # noqa: UP007  # the types are known at run time only
        return self._decoder

    def _newest(self, record: Record) -> Record:
        while (to_next := self._upcasts.get(type(record))) is not None:
            header = {name: getattr(record, name) for name in HEADER_FIELDS}
            record = msgspec.structs.replace(to_next(record), **header)
        return record

    def _opaque(self, line: bytes, why: str) -> Opaque:
        try:
            bare = self._bare.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RecordError(f"not a line of a log: {error}; it begins {line[:60]!r}") from None
        if bare.t not in self._types:
            why = "this type is not registered"
        raw = line[:-TAIL] + b"}" if line[-TAIL : 6 - TAIL] == b',"h":"' else line
        header = {name: getattr(bare, name) for name in HEADER_FIELDS}
        return Opaque(type=bare.t, raw=raw, why=why, **header)


def _tag(cls: type[Record]) -> object:
    return cls.__struct_config__.tag


def _name(cls: type[Record]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _checked_tag(cls: type[Record]) -> str:
    """The tag of a record type whose lines have the shape that the format asks for."""
    tag, config = str(_tag(cls)), cls.__struct_config__
    if not _TAG.fullmatch(tag) or tag in _RESERVED:
        raise RecordError(
            f"{_name(cls)}: the tag {tag!r} cannot be; allowed: letters, digits and _ . : / - with an "
            f"optional @VERSION at the end, and none of {', '.join(_RESERVED)}"
        )
    faults = {
        "frozen=True is missing": not config.frozen,
        "array_like": config.array_like,
        "omit_defaults": config.omit_defaults,
        "forbid_unknown_fields": config.forbid_unknown_fields,
        f"the first fields must be {', '.join(HEADER_FIELDS)}": cls.__struct_encode_fields__[
            : len(HEADER_FIELDS)
        ]
        != HEADER_FIELDS,
        "a field named h or salt, which the format has taken": not {"h", "salt"}.isdisjoint(
            cls.__struct_encode_fields__
        ),
    }
    if wrong := [what for what, is_so in faults.items() if is_so]:
        raise RecordError(f"{_name(cls)} cannot be a record: {'; '.join(wrong)}")
    return tag
