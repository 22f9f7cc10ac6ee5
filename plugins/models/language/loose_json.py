"""Reads one JSON value as models write it: strictly first, then with the repairs that are beyond doubt.

Repaired, and named: Python's quotes and constants, line breaks inside strings, a comma before a closing
bracket, names without quotes, a backslash that escapes nothing. A value that breaks off is never completed:
what is missing is not known, and half a file is not the file.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from continualcode.core.data import Json

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*")
_CONSTANTS: dict[str, Json] = {"true": True, "false": False, "null": None}
_PYTHONS: dict[str, Json] = {"True": True, "False": False, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_PYTHON_ESCAPES = {"x": 2, "U": 8}
_DEEPEST = 64

BREAKS = "line breaks inside a string"
PYTHON = "Python's quotes or constants"
COMMA = "a comma before a closing bracket"
BARE = "names without quotes"
BACKSLASH = "a backslash that escapes nothing"


class Value(NamedTuple):
    """What was read, the character after it, and what had to be repaired."""

    value: Json
    end: int
    repairs: tuple[str, ...] = ()


def read(text: str, begin: int) -> Value | None:
    """The value that begins at `begin`; None where there is no whole one."""
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
        return Value(_sound(value), end)
    except (ValueError, RecursionError):
        pass
    reader = _Reader(text, begin)
    try:
        value = reader.value(0)
        return Value(_sound(value), reader.place, tuple(dict.fromkeys(reader.repairs)))
    except (ValueError, IndexError, OverflowError, RecursionError):
        return None


def _sound(value: Json) -> Json:
    """`value` as JSON can hold it. Raises ValueError for NaN, infinities and halves of surrogate pairs."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    return json.loads(text)


class _Reader:
    """One pass over the text. Raises ValueError or IndexError where there is no whole value."""

    def __init__(self, text: str, place: int) -> None:
        self.text = text
        self.place = place
        self.repairs: list[str] = []

    def value(self, depth: int) -> Json:
        self._space()
        first = self.text[self.place]
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if first == "{":
            return dict(self._items("}", depth, self._pair))
        if first == "[":
            return self._items("]", depth, self.value)
        if first in "\"'":
            return self._string()
        if (number := _NUMBER.match(self.text, self.place)) is not None:
            self.place = number.end()
            return json.loads(number[0])
        word = self._word()
        if word in _PYTHONS:
            self.repairs.append(PYTHON)
            return _PYTHONS[word]
        if word not in _CONSTANTS:
            raise ValueError(word)
        return _CONSTANTS[word]

    def _items(self, closing: str, depth: int, item: Callable[[int], Json]) -> list[Json]:
        self.place += 1
        found: list[Json] = []
        while True:
            self._space()
            if self.text[self.place] == closing:
                if found:
                    self.repairs.append(COMMA)
                break
            found.append(item(depth + 1))
            self._space()
            if self.text[self.place] == closing:
                break
            self._take(",")
        self.place += 1
        return found

    def _pair(self, depth: int) -> Json:
        if self.text[self.place] in "\"'":
            name = self._string()
        else:
            name = self._word()
            self.repairs.append(BARE)
        self._space()
        self._take(":")
        return name, self.value(depth)

    def _string(self) -> str:
        quote = self.text[self.place]
        if quote == "'":
            self.repairs.append(PYTHON)
        self.place += 1
        read: list[str] = []
        while (char := self.text[self.place]) != quote:
            self.place += 1
            if char == "\\":
                char = self._escaped(quote)
            elif char < " ":
                self.repairs.append(BREAKS)
            read.append(char)
        self.place += 1
        return "".join(read)

    def _escaped(self, quote: str) -> str:
        char = self.text[self.place]
        self.place += 1
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char in "\"'\\/":
            return char
        if char == "u":
            digits = self.text[self.place : self.place + 4]
            self.place += 4
            code = int(digits, 16) if re.fullmatch("[0-9a-fA-F]{4}", digits) else -1
            if 0xD800 <= code < 0xDC00 and self.text.startswith("\\u", self.place):
                low = int(self.text[self.place + 2 : self.place + 6], 16) - 0xDC00
                self.place += 6
                code = 0x10000 + ((code - 0xD800) << 10) + low if 0 <= low < 0x400 else -1
            return chr(code)  # ValueError for -1, and `_sound` refuses half a pair
        if quote == "'" and char in _PYTHON_ESCAPES:
            digits = self.text[self.place : self.place + _PYTHON_ESCAPES[char]]
            self.place += len(digits)
            return chr(int(digits, 16))
        self.repairs.append(BACKSLASH)
        return f"\\{char}"

    def _word(self) -> str:
        found = _WORD.match(self.text, self.place)
        if found is None:
            raise ValueError("no value")
        self.place = found.end()
        return found[0]

    def _take(self, char: str) -> None:
        if self.text[self.place] != char:
            raise ValueError(char)
        self.place += 1

    def _space(self) -> None:
        found = _SPACE.match(self.text, self.place)
        self.place = found.end() if found else self.place
