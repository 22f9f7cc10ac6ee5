"""Which fields of a record type may hold what one is looking for: found once a type, not once a record."""

from collections.abc import Callable

import msgspec
from msgspec import inspect

Wanted = Callable[[inspect.Type], bool]
"""Whether a type is what one looks for, itself."""


def fields_with(cls: type[msgspec.Struct], wanted: Wanted) -> tuple[str, ...]:
    """The names of the fields in which something wanted may stand, at any depth, keys of objects included."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return tuple(field.name for field in info.fields if may_hold(field.type, wanted))


def may_hold(kind: inspect.Type, wanted: Wanted, seen: frozenset[type] = frozenset()) -> bool:
    """Whether something wanted may stand in a value of this type. `seen`: the structs that it is in."""
    if wanted(kind):
        return True
    match kind:
        case inspect.StructType() if kind.cls not in seen:
            inner = seen | {kind.cls}
            return any(may_hold(field.type, wanted, inner) for field in kind.fields)
        case inspect.UnionType():
            return any(may_hold(member, wanted, seen) for member in kind.types)
        case inspect.Metadata():
            return may_hold(kind.type, wanted, seen)
        case inspect.TupleType():
            return any(may_hold(item, wanted, seen) for item in kind.item_types)
        case inspect.DictType():
            return may_hold(kind.key_type, wanted, seen) or may_hold(kind.value_type, wanted, seen)
        case inspect.CollectionType():
            return may_hold(kind.item_type, wanted, seen)
        case _:
            return False


def is_foreign(kind: inspect.Type) -> bool:
    """Whether what a type holds cannot be told from it, or is told by other rules than a record's."""
    return isinstance(
        kind,
        inspect.AnyType
        | inspect.RawType
        | inspect.CustomType
        | inspect.TypedDictType
        | inspect.NamedTupleType
        | inspect.DataclassType,
    )
