"""What a call would do, as a person reviews it: a diff with line numbers, a command whole, or plain text."""

import re

from rich.console import Group, RenderableType
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from continualcode.core.data import Call
from continualcode.plugins.uis.terminal.render import clean

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
MOST_ROWS = 400
"""Rows of a diff that are shown; a longer one says how many it leaves out, and where to see them."""


def is_diff(text: str) -> bool:
    """Whether a preview is a unified diff: two lines of names, then a hunk or nothing."""
    lines = text.split("\n", 3)
    return len(lines) >= 2 and lines[0].startswith("--- ") and lines[1].startswith("+++ ")


def preview(call: Call, text: str, code_theme: str) -> RenderableType:
    """`text`, the preview of `call`, ready to print."""
    if is_diff(text):
        return diff(text, code_theme)
    if call.tool == "bash":
        return Syntax(clean(text), "bash", theme=code_theme, word_wrap=True, background_color="default")
    return Text(clean(text))


def diff(text: str, code_theme: str) -> RenderableType:
    """A unified diff: old and new line number, sign, line; what wraps stays in its column."""
    lines = text.splitlines()
    old_name, new_name = lines[0][4:], lines[1][4:]
    title = new_name if old_name == "/dev/null" else old_name
    title = clean(title.removeprefix("a/").removeprefix("b/"))
    if len(lines) == 2:
        return Text(f"{title}: nothing would change", style="dim")
    rows, added, removed = _rows(lines[2:])
    new = " (new file)" if old_name == "/dev/null" else ""
    head = Text.assemble((title + new, "head"), "  ", (f"+{added}", "yes"), " ", (f"-{removed}", "no"))
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    width = max((len(number) for row in rows for number in row[:2]), default=1)
    table.add_column(justify="right", width=width, no_wrap=True)
    table.add_column(justify="right", width=width, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    lexer = Syntax.guess_lexer(title)
    coloured = Syntax("", lexer, theme=code_theme, background_color="default")
    for old, new_number, line, style in rows[:MOST_ROWS]:
        shown = Text(line, style)
        if style != "dim" and lexer != "default":
            _colour(shown, coloured)
        table.add_row(Text(old, "number"), Text(new_number, "number"), shown, style="")
    parts: list[RenderableType] = [head, table]
    if len(rows) > MOST_ROWS:
        parts.append(
            Text(f"… {len(rows) - MOST_ROWS} more lines; e shows all of them in your editor", "warn")
        )
    return Group(*parts)


def _colour(line: Text, coloured: Syntax) -> None:
    """The colours of its language for what stands behind the sign, as far as one line alone tells."""
    for span in coloured.highlight(line.plain[2:]).spans:
        if isinstance(span.style, Style) and span.start + 2 < len(line):
            look = Style(color=span.style.color, bold=span.style.bold, italic=span.style.italic)
            line.stylize(look, span.start + 2, min(span.end + 2, len(line)))


def _rows(lines: list[str]) -> tuple[list[tuple[str, str, str, str]], int, int]:
    """(old number, new number, text with its sign, style) a line; how many were added, and removed."""
    rows: list[tuple[str, str, str, str]] = []
    old = new = added = removed = 0
    for line in lines:
        sign, shown = line[:1], clean(line[1:]).expandtabs(4)
        if hunk := _HUNK.match(line):
            if rows:
                rows.append(("", "", "⋮", "hunk"))
            old, new = int(hunk[1]), int(hunk[3])
        elif sign == "+":
            rows.append(("", str(new), f"+ {shown}", "added"))
            new, added = new + 1, added + 1
        elif sign == "-":
            rows.append((str(old), "", f"- {shown}", "removed"))
            old, removed = old + 1, removed + 1
        elif sign == "\\":
            rows.append(("", "", f"  {shown.strip()}", "dim"))
        else:
            rows.append((str(old), str(new), f"  {shown}", ""))
            old, new = old + 1, new + 1
    return rows, added, removed
