"""`read` and `write`: a file as numbered lines, and a file as a whole."""

from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.protocols import ToolContext
from continualcode.core.schema import flat_schema
from continualcode.core.workspace import Workspace, digest
from continualcode.plugins.tools.changing import Change, ChangingTool
from continualcode.plugins.tools.refusal import (
    Refused,
    accessible,
    attempt,
    call,
    existing,
    locate,
    require_current,
)
from continualcode.plugins.tools.text import (
    BOM,
    count,
    encode,
    newline_of,
    numbered,
    split_lines,
    without_numbers,
)

MAX_LINES = 200
MAX_CHARACTERS = 8000
"""What one `read` shows at most: a few thousand tokens, which a small model on a CPU can still take in."""

READ = ToolSpec(
    name="read",
    description="Show a file with line numbers.",
    confined=True,
    parameters=flat_schema(
        {"path": ("string", "the file")},
        {"start_line": ("integer", "first line to show"), "end_line": ("integer", "last line to show")},
    ),
    reads_only=True,
)
WRITE = ToolSpec(
    name="write",
    description="Create a file, or replace a whole file that you have read.",
    confined=True,
    parameters=flat_schema(
        {"path": ("string", "the file"), "content": ("string", "all that the file shall hold")}
    ),
)


class Read:
    """Shows numbered lines, and makes the file's content known to the session."""

    spec = READ

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The lines asked for, or as many as can be shown, and how to ask for the rest."""
        return attempt(lambda: _read(arguments, context.workspace))

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """One line."""
        return call("read", **arguments)


def _read(arguments: Arguments, workspace: Workspace) -> ToolResult:
    relative, data = existing(workspace, arguments["path"])
    lines = split_lines(data)
    total = len(lines)
    first = max(1, arguments.get("start_line", 1))
    last = min(total, arguments.get("end_line", total))
    if last < 1:
        last = total  # -1 is what many take for the end, and looking does no harm
    if total and first > total:
        raise Refused(
            f"start_line {first} is past the end: {relative} has {count(total, 'line')}.",
            f"Its end is:\n{numbered(lines, total - 2, total)}\n"
            f"To see all of it from the start: {call('read', path=relative)}.",
        )
    if total and first > last:
        raise Refused(
            f"end_line {arguments['end_line']} comes before start_line {first}.",
            f"{relative} has {count(total, 'line')}. Try {call('read', path=relative, start_line=first)}.",
        )
    text, stop = _window(lines, first, last)
    return ToolResult(output=_headed(relative, text, first, stop, total), seen={relative: digest(data)})


def _window(lines: list[bytes], first: int, last: int) -> tuple[str, int]:
    """As many of the lines as can be shown, and the last one of them; at least one."""
    stop, text = first, numbered(lines, first, first)
    while stop < min(last, first + MAX_LINES - 1):
        longer = f"{text}\n{numbered(lines, stop + 1, stop + 1)}"
        if len(longer) > MAX_CHARACTERS:
            break
        text, stop = longer, stop + 1
    return text, stop


def _headed(relative: str, text: str, first: int, stop: int, total: int) -> str:
    if total == 0:
        return f"{relative} is empty (0 lines)."
    if first == 1 and stop == total:
        return f"{relative} ({count(total, 'line')}):\n{text}"
    more = f"\nTo go on: {call('read', path=relative, start_line=stop + 1)}." if stop < total else ""
    return f"{relative}, lines {first} to {stop} of {total}:\n{text}{more}"


def plan_write(arguments: Arguments, workspace: Workspace) -> Change:
    """The whole file as given; refused for a file that the model does not know as it is."""
    path: str = arguments["path"]
    text: str = arguments["content"]
    relative = locate(workspace, path)
    if workspace.is_folder(relative):
        inside = call("write", path=f"{relative}/name.txt", content="…")
        raise Refused(
            f"{path} is a folder: a file cannot take its place.", f"Name a file in it, as in {inside}."
        )
    before = accessible(workspace, relative)
    plain = without_numbers(text) if text.count("\n") else None
    note = "" if plain is None else " Line numbers copied from read were left out."
    text = text if plain is None else plain
    if before is None:
        after = text.encode()
        return Change(relative, None, after, f"created {relative} ({_size(after)}).{note}")
    if relative not in workspace.seen:
        raise Refused(
            f"{relative} exists already and you have not read it; nothing was written.",
            f"Call {call('read', path=relative)} first. "
            "To change only some of its lines, use edit_lines, not write.",
        )
    require_current(workspace, relative, before)
    newline = newline_of(before)
    after = encode(text, newline)
    if newline != b"\n":
        note += " Its lines still end in CRLF."
    if before.startswith(BOM) and not after.startswith(BOM):
        after = BOM + after  # the model never sees it, so it cannot have meant to drop it
    return Change(relative, before, after, f"replaced {relative} ({_size(after)}).{note}")


def _size(data: bytes) -> str:
    return count(len(split_lines(data)), "line")


write = ChangingTool(WRITE, plan_write)
