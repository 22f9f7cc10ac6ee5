"""/help in groups: what there is to say, the keys, and the commands of every plugin that takes part."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from continualcode.core.protocols import Command

GROUPS: Mapping[str, tuple[str, ...]] = {
    "learning": ("metrics", "note", "wrong", "undo", "redo"),
    "permissions": ("rules", "mode", "tools"),
    "this session": ("model", "log", "resume", "compact", "clear", "help", "quit"),
}
"""Where commands with these names are listed; any other is listed under "more"."""

KEYS = (
    ("Enter", "send"),
    ("Alt-Enter or \\", "a new line (a backslash at the end, then Enter)"),
    ("Up, Ctrl-R", "what you said before; search in it"),
    ("Tab, @path, /", "complete a file, a command"),
    ("Ctrl-X Ctrl-E", "write in $EDITOR"),
    ("Ctrl-C", "empty the line; while the model works: stop it, the session goes on"),
    ("Ctrl-D", "end the session"),
)


def page(commands: Mapping[str, Command]) -> RenderableType:
    """All of it."""
    known = {name for names in GROUPS.values() for name in names}
    groups = {title: [n for n in names if n in commands] for title, names in GROUPS.items()}
    groups["more"] = sorted(name for name in commands if name not in known)
    parts: list[RenderableType] = [Text("Say what you want done. The keys:", "head"), _rows(KEYS)]
    for title, names in groups.items():
        if names:
            parts += [Text(title, "head"), _rows([(f"/{n}", commands[n].help) for n in names])]
    parts.append(Text("When a call is proposed: one key decides it, and ? says what each does.", "dim"))
    return Group(*parts)


def _rows(rows: "tuple[tuple[str, str], ...] | list[tuple[str, str]]") -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(f"  {left}", "learned"), right)
    return table
