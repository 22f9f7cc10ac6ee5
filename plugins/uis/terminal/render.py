"""Text of others made fit to print: control characters spelled out, long outputs cut in the middle.

What a model, a file or a command says may hold escape sequences that would move the cursor, change the
title or hide a line. Nothing of theirs reaches the terminal as anything but visible text.
"""

import json
import re
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import Heading, Markdown, MarkdownElement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

HEAD, TAIL = 12, 12
"""Lines of a tool's output that are shown, from its beginning and its end."""

# Control characters but newline and tab; marks that reorder or hide text. Not the joiner of emoji (200d).
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def clean(text: str) -> str:
    r"""`text` with what a terminal would obey instead of show spelled out.

    >>> clean("\x1b[2Jgone\r\n")
    '\\x1b[2Jgone\n'
    """
    return _HIDDEN.sub(lambda m: ascii(m[0])[1:-1], text.replace("\r\n", "\n"))


class Rows:
    """Lines such as `name  what it is`: what wraps goes on below the second column."""

    def __init__(self, text: str) -> None:
        self._text = clean(text).expandtabs(4)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._text.split("\n"):
            column = _column(line) if options.max_width > 30 else 0
            rest = Text(line[column:]).wrap(console, options.max_width - column)
            yield Text("\n").join(
                Text(f"{' ' * column if row else line[:column]}{part}") for row, part in enumerate(rest)
            )


def _column(line: str) -> int:
    """Where the last of a line's columns begins that is in its first part; 0 where there is but one.

    >>> _column("* ask      only what"), _column("just words"), _column("    indented")
    (11, 0, 4)
    """
    ends = [found.end() for found in re.finditer(r"(?:^ +| {2,})(?=\S)", line)]
    return max((end for end in ends if end <= 24), default=0)


def output(text: str, *, style: str = "") -> RenderableType:
    """What a tool gave: set off by a bar, its middle left out where it is long."""
    lines = clean(text).expandtabs(4).split("\n")
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    if lines == [""]:
        lines, style = ["(no output)"], "dim"
    if len(lines) > HEAD + TAIL + 1:
        left_out = len(lines) - HEAD - TAIL
        lines = [*lines[:HEAD], f"… {left_out} lines, not shown …", *lines[-TAIL:]]
    return barred(Text("\n".join(lines), style))


def barred(text: Text) -> RenderableType:
    """`text` behind a bar that goes on where a line wraps."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1, no_wrap=True)
    table.add_column(overflow="fold")
    for line in text.split("\n", allow_blank=True):
        table.add_row(Text("│", "dim"), line)
    return Padding(table, (0, 0, 0, 2))


def markdown(text: str, code_theme: str) -> RenderableType:
    """An answer in words."""
    return _Markdown(clean(text), code_theme=code_theme, inline_code_theme=code_theme)


class _LeftHeading(Heading):
    """A heading where the text begins, without a box: this is a conversation, not a page."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize("bold")
        yield self.text


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
    }


_NAME = re.compile(r'"name"\s*:\s*"([\w.-]+)"')
_WORDS = re.compile(r'"text"\s*:\s*"')
_ARGUMENTS = re.compile(r'"arguments"\s*:\s*')


def half_said(text: str) -> tuple[str, str]:
    r"""The tool that a completion in progress calls, "" where there is none, and what to show of the rest.

    Only for the eye: what counts is the whole completion, read by the model's own family.

    >>> half_said('<tool_call>{"name": "reply", "arguments": {"text": "Line\\n2')
    ('reply', 'Line\n2')
    """
    named = _NAME.search(text)
    if named is None:
        return "", text
    rest = text[named.end() :]
    if named[1] == "reply" and (begun := _WORDS.search(rest)):
        return "reply", unescaped(rest[begun.end() :])
    begun = _ARGUMENTS.search(rest)
    return named[1], unescaped(rest[begun.end() :]) if begun else ""


def unescaped(piece: str) -> str:
    r"""The inside of a JSON string that may break off anywhere, as text.

    >>> unescaped('a\\"b\\u00e9c\\u00')
    'a"béc'
    """
    piece = re.sub(r"\\(?:u[0-9a-fA-F]{0,3})?$", "", piece)

    def one(match: re.Match[str]) -> str:
        try:
            return str(json.loads(f'"{match[0]}"'))
        except ValueError:
            return match[0]

    return re.sub(r"\\(?:u[0-9a-fA-F]{4}|.)", one, piece)
