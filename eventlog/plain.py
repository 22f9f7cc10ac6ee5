"""A record as plain data, for printing and for programs that read JSON: arrays as lists of numbers."""

import math
from functools import lru_cache
from typing import Any, cast

import msgspec
from msgspec import inspect

from continualcode.eventlog.arrays import unpack_f32, unpack_u32
from continualcode.eventlog.errors import RecordError
from continualcode.eventlog.record import Opaque, Record


def to_builtins(record: Record) -> dict[str, Any]:
    """The record as dicts, lists, strings and numbers: `t` first, then the header, then the body.

    Fields declared `U32` and `F32` become lists of numbers. What JSON has no number for is a string
    there: "NaN", "Infinity", "-Infinity" (which float() reads back). An `Opaque` is what its line says.
    """
    if isinstance(record, Opaque):
        raw: dict[str, Any] = msgspec.json.decode(record.raw)
        return raw
    plain: dict[str, Any] = _plain(record, _type_of(type(record)))
    return plain


@lru_cache(maxsize=1024)
def _type_of(cls: type) -> inspect.Type:
    return inspect.type_info(cls)


def _plain(value: Any, kind: inspect.Type) -> Any:
    """`value` as plain data, told by its declared type where bytes are arrays."""
    if isinstance(kind, inspect.Metadata):
        given = kind.extra  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # declared a bare dict
        extra = cast(dict[str, object], given or {})
        if "array" in extra and isinstance(value, bytes):
            return _numbers(str(extra["array"]), value)
        return _plain(value, kind.type)
    if isinstance(kind, inspect.UnionType):
        return _plain(value, next((k for k in kind.types if _fits(value, k)), inspect.AnyType()))
    if isinstance(kind, inspect.StructType) and isinstance(value, msgspec.Struct):
        tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
        values = ((f, getattr(value, f.name)) for f in kind.fields)
        return tag | {f.encode_name: _plain(v, f.type) for f, v in values if v is not msgspec.UNSET}
    if isinstance(kind, inspect.TupleType):
        return [_plain(item, item_kind) for item, item_kind in zip(value, kind.item_types, strict=True)]
    if isinstance(kind, inspect.CollectionType):
        return [_plain(item, kind.item_type) for item in value]
    if isinstance(kind, inspect.DictType):
        return {str(key): _plain(item, kind.value_type) for key, item in value.items()}
    if isinstance(value, Record):
        return to_builtins(value)
    return msgspec.to_builtins(value)


def _fits(value: Any, kind: inspect.Type) -> bool:
    """Whether a member of a union is the one that `value` is of."""
    if isinstance(kind, inspect.Metadata):
        return _fits(value, kind.type)
    if isinstance(kind, inspect.StructType):
        return isinstance(value, kind.cls)
    if isinstance(kind, inspect.TupleType | inspect.CollectionType):
        return isinstance(value, list | tuple | set | frozenset)
    if isinstance(kind, inspect.DictType):
        return isinstance(value, dict)
    return isinstance(kind, inspect.BytesType) and isinstance(value, bytes)


def _numbers(which: str, data: bytes) -> list[int] | list[float | str]:
    if which == "u32":
        return unpack_u32(data).tolist()
    if which == "f32":
        return [x if math.isfinite(x) else _word(x) for x in unpack_f32(data)]
    raise RecordError(f"an array field is declared {which!r}; allowed: u32, f32")


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
