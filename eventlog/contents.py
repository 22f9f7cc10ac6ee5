"""What of a record can be forgotten: the fields that its type declares as contents.

    class NoteGiven(Record, frozen=True, kw_only=True, tag="note_given"):
        text: Text

Ids, digests and figures stay, so a record still says that something happened, when, and what came of it.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, cast

import msgspec
from msgspec import inspect

from continualcode.eventlog.fields import may_hold
from continualcode.eventlog.record import Record

CONTENT = msgspec.Meta(extra={"content": True})
"""Marks a type whose strings can be forgotten, at any depth: `Annotated[dict[str, Any], CONTENT]`."""

Text = Annotated[str, CONTENT]
"""Words of a user, a model or a tool."""

Tokens = Annotated[bytes, msgspec.Meta(extra={"array": "u32", "content": True})]
"""Token ids: text to whoever has the tokenizer. Packed as `U32`."""

Change = Callable[[str], str]
"""What becomes of a text."""


@lru_cache(maxsize=256)
def holds_contents(cls: type[Record]) -> bool:
    """Whether records of this type have anything that can be forgotten."""
    return may_hold(inspect.type_info(cls), _is_content)


def texts_in(body: bytes, cls: type[Record]) -> list[str]:
    """The texts among the contents of a record, from its JSON."""
    found: list[str] = []

    def keep(text: str) -> str:
        found.append(text)
        return text

    changed(body, cls, keep)
    return found


def changed(body: bytes, cls: type[Record], change: Change) -> bytes:
    """The JSON of a record with every text among its contents changed and its token ids gone.

    Members that hold no contents keep their bytes. `salt`, `gone` and `of` are left out.
    """
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    kinds = {field.encode_name: field.type for field in info.fields}
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    for name in members.keys() & kinds.keys():
        if may_hold(kinds[name], _is_content):
            value = _changed(msgspec.json.decode(members[name]), kinds[name], change)
            members[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode({k: v for k, v in members.items() if k not in ("salt", "gone", "of")})


def _changed(value: Any, kind: inspect.Type, change: Change) -> Any:
    """Plain data with its contents changed, told by the declared type."""
    match kind:
        case inspect.Metadata() if _is_content(kind):
            return "" if isinstance(kind.type, inspect.BytesType) else _all(value, change)
        case inspect.Metadata():
            return _changed(value, kind.type, change)
        case inspect.UnionType() if not _is(value, type(None)):
            held = next((k for k in kind.types if may_hold(k, _is_content)), None)
            return value if held is None else _changed(value, held, change)
        case inspect.StructType() if _is(value, dict):
            kinds = {field.encode_name: field.type for field in kind.fields}
            return {k: _changed(v, kinds[k], change) if k in kinds else v for k, v in value.items()}
        case inspect.TupleType() if _is(value, list):
            return [_changed(v, k, change) for v, k in zip(value, kind.item_types, strict=True)]
        case inspect.CollectionType() if _is(value, list):
            return [_changed(item, kind.item_type, change) for item in value]
        case inspect.DictType() if _is(value, dict):
            return {k: _changed(item, kind.value_type, change) for k, item in value.items()}
        case _:
            return value


def _all(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if _is(value, list):
        return [_all(item, change) for item in value]
    return {k: _all(item, change) for k, item in value.items()} if _is(value, dict) else value


def _is(value: object, kind: type) -> bool:
    """isinstance, after which type checkers still take the value for Any: JSON does not say of what it is."""
    return isinstance(value, kind)


def _is_content(kind: inspect.Type) -> bool:
    if not isinstance(kind, inspect.Metadata):
        return False
    given = kind.extra  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # declared a bare dict
    return "content" in cast(dict[str, object], given or {})
