"""Files as lines, the way the model sees and names them.

A line ends with a newline byte and nothing else: U+2028, form feeds and a lone carriage return are
part of a line, so the numbers agree with every other program's. Everything is done on bytes; what is
not UTF-8 is shown with replacement characters and survives edits of other lines.
"""

import io
import re
from collections.abc import Sequence

MAX_SHOWN = 500
"""How many characters of one line are shown."""

BOM = b"\xef\xbb\xbf"
_NUMBERED = re.compile(r"\s*(\d+)\|(?: |$)")


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their terminators; the last may have none."""
    return io.BytesIO(data).readlines()


def is_binary(data: bytes) -> bool:
    """Whether these are not lines of text: there is a NUL byte, as in UTF-16 and most binary formats."""
    return b"\0" in data


def newline_of(data: bytes) -> bytes:
    """The terminator that most lines have; a plain newline where there are none."""
    windows = data.count(b"\r\n")
    return b"\r\n" if windows > data.count(b"\n") - windows else b"\n"


def encode(text: str, newline: bytes) -> bytes:
    """`text` as bytes, its newlines in a file's style; text that brings carriage returns is left alone."""
    data = text.encode()
    return data.replace(b"\n", newline) if b"\r" not in data else data


def shown(line: bytes) -> str:
    """A line without its terminator, as text, cut where it is very long."""
    text = line.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
    left_out = len(text) - MAX_SHOWN
    return text if left_out <= 0 else f"{text[:MAX_SHOWN]}… ({left_out:,} more characters in this line)"


def numbered(lines: Sequence[bytes], first: int, last: int) -> str:
    """Lines `first` to `last` (1-based, inclusive; what is not there is left out) as `   5| text`."""
    first, last = max(1, first), min(len(lines), last)
    rows = (f"{n:>4}| {shown(lines[n - 1])}" for n in range(first, last + 1))
    return "\n".join(row.removesuffix(" ") if row.endswith("| ") else row for row in rows)


def without_numbers(text: str) -> str | None:
    """`text` without the line numbers that `numbered` puts in front, if all of it is numbered in a row.

    >>> without_numbers("   4| a\\n   5| b\\n")
    'a\\nb\\n'
    """
    lines = text.split("\n")
    body = lines[:-1] if lines[-1] == "" else lines
    found = [_NUMBERED.match(line) for line in body]
    numbers = [int(match[1]) for match in found if match]
    if not numbers or len(numbers) < len(body) or numbers != list(range(numbers[0], numbers[0] + len(body))):
        return None
    plain = [line[match.end() :] for line, match in zip(body, found, strict=True) if match]
    return "\n".join(plain + lines[len(body) :])


def count(number: int, thing: str) -> str:
    """A number of things in words.

    >>> count(1, "line"), count(2000, "line")
    ('1 line', '2,000 lines')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def visible(text: str) -> str:
    """`text` for a person's eyes: what could hide a part, control and direction characters, spelled out."""
    return "".join(c if c in "\n\t" or not _hides(c) else f"\\x{ord(c):02x}" for c in text)


def _hides(character: str) -> bool:
    code = ord(character)
    return code < 0x20 or 0x7F <= code < 0xA0 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
