"""Where a text that is not in a file was probably meant to be: the usual reason why an edit fails."""

import difflib
from collections.abc import Sequence

ENOUGH = 0.6
"""How alike two lines must be (difflib's ratio, from 0 to 1) to be called nearly the same."""

_MOST_LINES = 20_000


def find_ignoring_space(text: str, old: str) -> str | None:
    """The part of `text` that equals `old` in everything but whitespace; the first if there are several.

    >>> find_ignoring_space("x = f(a, b)  # c", "f(a,b)")
    'f(a, b)'
    """
    wanted = "".join(old.split())
    places = [place for place, character in enumerate(text) if not character.isspace()]
    at = "".join(text[place] for place in places).find(wanted) if wanted else -1
    return None if at < 0 else text[places[at] : places[at + len(wanted) - 1] + 1]


def find_alike(lines: Sequence[str], old: str) -> tuple[int, int] | None:
    """The lines (1-based, inclusive) that are most like `old`, found by its longest line; None: none is."""
    wanted = old.strip("\n").split("\n")
    anchor = max(range(len(wanted)), key=lambda i: len(wanted[i].strip()))
    if not wanted[anchor].strip():
        return None
    at = _most_alike(lines, wanted[anchor].strip())
    if at is None:
        return None
    first = max(0, at - anchor)
    return first + 1, min(len(lines), first + len(wanted))


def indent_like(text: str, old: str, line: str) -> str:
    """`text`, the replacement of `old`, moved to the right as far as `old` would be to start like `line`."""
    missing = len(_indent(line)) - len(_indent(old))
    if missing <= 0 or not _indent(line).endswith(_indent(old)):
        return text
    return "".join(_indent(line)[:missing] + row if row.strip() else row for row in text.splitlines(True))


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _most_alike(lines: Sequence[str], wanted: str) -> int | None:
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(wanted)
    best, at = ENOUGH, None
    for index, line in enumerate(lines[:_MOST_LINES]):
        matcher.set_seq1(line.strip())
        # The two quick ratios are upper bounds: most lines are out without the slow one.
        if matcher.real_quick_ratio() <= best or matcher.quick_ratio() <= best:
            continue
        if (ratio := matcher.ratio()) > best:
            best, at = ratio, index
    return at
