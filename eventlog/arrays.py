"""Per-token arrays as little-endian bytes: exact, half the size of JSON arrays, and quick.

A field declared `U32` or `F32` is `bytes` in Python and base64 in the line. `pack_*` and `unpack_*`
go between numbers and bytes. NaN and the infinities survive, which JSON numbers would not.
"""

import sys
from array import array
from collections.abc import Iterable
from typing import Annotated, TypeVar

import msgspec

U32 = Annotated[bytes, msgspec.Meta(extra={"array": "u32"})]
"""Unsigned 32-bit integers (token ids), 4 bytes each, little-endian."""

F32 = Annotated[bytes, msgspec.Meta(extra={"array": "f32"})]
"""IEEE 754 single-precision numbers (log probabilities), 4 bytes each, little-endian."""

_SWAP = sys.byteorder == "big"
A = TypeVar("A", "array[int]", "array[float]")


def pack_u32(values: Iterable[int]) -> bytes:
    """Integers in 0 … 2³²−1 as bytes. Raises OverflowError outside of that.

    >>> pack_u32([1, 258]).hex()
    '0100000002010000'
    """
    # array() would take bytes for the array's own memory, not for small integers
    return _to_bytes(array("I", list(values) if isinstance(values, bytes | bytearray) else values))


def pack_f32(values: Iterable[float]) -> bytes:
    """Numbers as single-precision bytes: rounded to 24 bits of mantissa; NaN and ±inf are kept."""
    return _to_bytes(array("f", values))


def unpack_u32(data: bytes) -> "array[int]":
    """The way back from `pack_u32`. Raises ValueError where the length is no multiple of 4."""
    return _from_bytes(array("I"), data)


def unpack_f32(data: bytes) -> "array[float]":
    """The way back from `pack_f32`. Raises ValueError where the length is no multiple of 4."""
    return _from_bytes(array("f"), data)


def _to_bytes(values: "array[int] | array[float]") -> bytes:
    if _SWAP:
        values.byteswap()
    return values.tobytes()


def _from_bytes(values: A, data: bytes) -> A:
    values.frombytes(data)
    if _SWAP:
        values.byteswap()
    return values
