"""NaN and infinities where JSON has no word for them. msgspec would write them as null, in silence."""

import math
from collections.abc import Collection, Iterator
from typing import Any, cast

import msgspec
from msgspec import inspect

from continualcode.eventlog.errors import RecordError
from continualcode.eventlog.fields import fields_with, is_foreign
from continualcode.eventlog.record import Record


def require_finite(record: Record, field: str) -> None:
    """Raise RecordError, naming the place, where this field holds a number that is not finite."""
    for where, value in _not_finite(getattr(record, field), f"{record.t}.{field}"):
        raise RecordError(f"{where} is {value}, for which JSON has no word; F32 fields can hold it")


def number_fields(cls: type[Record]) -> tuple[str, ...]:
    """The fields of a record type in which a float may stand, at any depth."""
    return fields_with(cls, lambda kind: isinstance(kind, inspect.FloatType) or is_foreign(kind))


def _not_finite(value: Any, where: str) -> Iterator[tuple[str, float]]:
    """The places of NaN and infinities in plain data and structs."""
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
