"""`edit` and `edit_lines`: replace one exact piece of text, or a range of lines.

Both work on bytes, so what they do not touch stays as it is: line endings, a missing newline at the
end, bytes that are not UTF-8.
"""

from collections.abc import Iterator, Sequence
from typing import NoReturn

from continualcode.core.data import Arguments, ToolSpec
from continualcode.core.schema import flat_schema
from continualcode.core.workspace import Workspace
from continualcode.plugins.tools.changing import Change, ChangingTool
from continualcode.plugins.tools.nearest import find_alike, find_ignoring_space, indent_like
from continualcode.plugins.tools.refusal import Refused, call, existing, require_current
from continualcode.plugins.tools.text import (
    BOM,
    count,
    encode,
    newline_of,
    numbered,
    split_lines,
    without_numbers,
)

EDIT = ToolSpec(
    name="edit",
    description="Replace one exact piece of text in a file.",
    confined=True,
    parameters=flat_schema(
        {
            "path": ("string", "the file"),
            "old": ("string", "the text to replace, exactly as it is in the file"),
            "new": ("string", "the text to put there"),
        }
    ),
)
EDIT_LINES = ToolSpec(
    name="edit_lines",
    description="Replace lines start_line to end_line of a file that you have read.",
    confined=True,
    parameters=flat_schema(
        {
            "path": ("string", "the file"),
            "start_line": ("integer", "first line to replace"),
            "end_line": ("integer", "last line to replace; start_line - 1 to insert before start_line"),
            "content": ("string", "the lines to put there"),
        }
    ),
)

_STRIPPED = " (line numbers copied from read were left out)"
_MOST_PLACES = 10
_BEGINNING = 12
_ECHOED = 300
"""The longest text, in characters, that is repeated in a suggested call."""


# -- edit ----------------------------------------------------------------------------------------------


def plan_edit(arguments: Arguments, workspace: Workspace) -> Change:
    """Replace the one occurrence of `old`. It need not have been read: `old` proves that it is known."""
    old, new = arguments["old"], arguments["new"]
    create = call("write", path=arguments["path"], content=new) if len(new) <= _ECHOED else None
    relative, before = existing(workspace, arguments["path"], create=create)
    require_current(workspace, relative, before)
    if not old:
        raise Refused(
            "old is empty, so there is nothing to replace.",
            "To insert lines, give edit_lines an end_line that is one less than start_line, "
            f"as in {call('edit_lines', path=relative, start_line=1, end_line=0, content=_echo(new))}.",
        )
    for sought, given, note in _spellings(old, new, newline_of(before)):
        places = _occurrences(before, sought)
        if len(places) > 1:
            _refuse_several(relative, before, sought, places, given)
        if places:
            at = places[0]
            after = before[:at] + given + before[at + len(sought) :]
            first = before.count(b"\n", 0, at)
            region = (first, first + given.count(b"\n") + 1)
            # The model has seen the part that it changed, not the rest of a file that it never read.
            known = relative in workspace.seen
            return Change(
                relative, before, after, f"edited {relative} at line {first + 1}{note}", region, known
            )
    _refuse_missing(relative, before, without_numbers(old) or old, new)


def _spellings(old: str, new: str, newline: bytes) -> Iterator[tuple[bytes, bytes, str]]:
    """What to look for and to put there: in the file's line endings, as given, without line numbers."""
    yield encode(old, newline), encode(new, newline), ""
    if newline != b"\n":
        yield old.encode(), new.encode(), ""
    if (plain := without_numbers(old)) is not None:
        yield encode(plain, newline), encode(without_numbers(new) or new, newline), _STRIPPED


def _occurrences(data: bytes, sought: bytes) -> list[int]:
    """Where `sought` begins, overlapping ones too: replacing either of two is a guess."""
    places: list[int] = []
    at = data.find(sought)
    while at >= 0:
        places.append(at)
        at = data.find(sought, at + 1)
    return places


def _refuse_several(
    relative: str, data: bytes, sought: bytes, places: Sequence[int], given: bytes
) -> NoReturn:
    lines = split_lines(data)
    starts = [data.count(b"\n", 0, place) + 1 for place in places[:_MOST_PLACES]]
    rows = "\n".join(numbered(lines, start, start) for start in dict.fromkeys(starts))
    more = f"\n… and {len(places) - len(starts):,} more" if len(places) > len(starts) else ""
    # The first place by number: the lines that it lies in, whole, as they would be.
    begin = data.rfind(b"\n", 0, places[0]) + 1
    stop = data.find(b"\n", places[0] + len(sought.removesuffix(b"\n")))
    stop = stop if stop >= 0 else len(data)
    text = data[begin : places[0]] + given + data[places[0] + len(sought) : stop]
    suggestion = call(
        "edit_lines",
        path=relative,
        start_line=starts[0],
        end_line=starts[0] + data.count(b"\n", begin, stop),
        content=_echo(_text(text).removesuffix("\n")),
    )
    raise Refused(
        f"old is in {relative} {len(places):,} times, and one place is replaced at a time.",
        f"It is found here:\n{rows}{more}\n"
        "Make old longer, with lines around it that are in one place only, "
        f"or say which lines, as in {suggestion} for the first.",
    )


def _refuse_missing(relative: str, data: bytes, old: str, new: str) -> NoReturn:
    lines = split_lines(data)
    text = _text(data)
    exact = find_ignoring_space(text, old)
    if exact is not None:
        first = text.count("\n", 0, text.index(exact)) + 1
        last = first + exact.count("\n")
        moved = indent_like(new, old, text.split("\n")[first - 1])
        if exact == old:
            number = call("edit_lines", path=relative, start_line=first, end_line=last, content=_echo(moved))
            raise Refused(
                f"{_where(first, last)} of {relative} reads like old, but other bytes are there "
                "(mixed line endings, or text that is not UTF-8).",
                f"Replace by number: {number}.",
            )
        suggestion = call("edit", path=relative, old=_echo(exact), new=_echo(moved.strip()))
        raise Refused(
            f"old is not in {relative} like that: at {_where(first, last)} only the whitespace differs.",
            f"The file has there:\n{numbered(lines, first - 1, last + 1)}\nUse its exact text: {suggestion}.",
        )
    alike = find_alike(text.split("\n"), old)
    if alike is None:
        raise Refused(
            f"old is not in {relative}, and no line is like it.",
            f"The file has {count(len(lines), 'line')} and begins:\n{numbered(lines, 1, _BEGINNING)}\n"
            f"To see all of it: {call('read', path=relative)}.",
        )
    first, last = alike
    content = indent_like(new, old, text.split("\n")[first - 1]).rstrip("\n")
    suggestion = call("edit_lines", path=relative, start_line=first, end_line=last, content=_echo(content))
    raise Refused(
        f"old is not in {relative}. Nearest: {_where(first, last)}.",
        f"The file has there:\n{numbered(lines, first - 1, last + 1)}\n"
        f"Use exactly that text as old, or replace by number: {suggestion}.",
    )


def _where(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"


def _text(data: bytes) -> str:
    """Bytes as the model writes text: newlines plain, what is not UTF-8 replaced."""
    return data.decode(errors="replace").replace("\r\n", "\n")


def _echo(text: str) -> str:
    return text if len(text) <= _ECHOED else "…"


# -- edit_lines ----------------------------------------------------------------------------------------


def plan_edit_lines(arguments: Arguments, workspace: Workspace) -> Change:
    """Replace the range; line numbers mean something only for the content that was read."""
    content = arguments["content"]
    create = call("write", path=arguments["path"], content=content) if len(content) <= _ECHOED else None
    relative, before = existing(workspace, arguments["path"], create=create)
    if relative not in workspace.seen:
        raise Refused(
            f"you have not read {relative}, so its line numbers are not known to you; nothing was written.",
            f"Call {call('read', path=relative)} first.",
        )
    require_current(workspace, relative, before)
    bom = BOM if before.startswith(BOM) else b""
    body = before.removeprefix(bom)
    lines = split_lines(body)
    start, end = arguments["start_line"], arguments["end_line"]
    _require_range(relative, lines, start, end, content)
    plain = without_numbers(content)
    newline = newline_of(body)
    given = _lines_of(content if plain is None else plain, newline)
    after = _joined(
        [*lines[: start - 1], *given, *lines[end:]], newline, closed=not body or body.endswith(b"\n")
    )
    done = _done(relative, start, end, len(given)) + ("" if plain is None else _STRIPPED)
    return Change(relative, before, bom + after, done, (start - 1, start - 1 + len(given)))


def _require_range(relative: str, lines: Sequence[bytes], start: int, end: int, content: str) -> None:
    total = len(lines)
    has = f"{relative} has {count(total, 'line')}"
    if start < 1:
        why = f"start_line is {start}, and the first line is 1: {has}."
        start, end = 1, max(end, 1)
    elif start > total + 1:
        why = f"start_line {start} is past the end: {has}."
        start, end = total + 1, total
    elif end > total:
        why = f"end_line {end} is past the end: {has}."
        end = total
    elif end < start - 1:
        why = f"end_line {end} comes before start_line {start}."
        end = start
    else:
        return
    end = min(end, total)
    shown = f"Lines near there:\n{numbered(lines, start - 2, end + 2)}\n" if total else ""
    what = "replace" if end >= start else "insert"
    suggestion = call("edit_lines", path=relative, start_line=start, end_line=end, content=_echo(content))
    raise Refused(f"{why} Nothing was written.", f"{shown}To {what} there: {suggestion}.")


def _lines_of(content: str, newline: bytes) -> list[bytes]:
    """`content` as lines: one newline at its end only closes the last line, and nothing is no line."""
    lines = split_lines(encode(content, newline))
    return [line if line.endswith(b"\n") else line + newline for line in lines]


def _joined(lines: Sequence[bytes], newline: bytes, *, closed: bool) -> bytes:
    """The lines as a file whose last line is closed by a newline or, like the old one, is not."""
    if not lines:
        return b""
    *others, last = lines
    head = b"".join(line if line.endswith(b"\n") else line + newline for line in others)
    if closed:
        return head + (last if last.endswith(b"\n") else last + newline)
    return head + (last.removesuffix(b"\n").removesuffix(b"\r") if last.endswith(b"\n") else last)


def _done(relative: str, start: int, end: int, new: int) -> str:
    if end < start:
        return f"inserted {count(new, 'line')} before line {start} of {relative}"
    where = _where(start, end)
    return (
        f"replaced {where} of {relative} with {count(new, 'line')}"
        if new
        else f"deleted {where} of {relative}"
    )


edit = ChangingTool(EDIT, plan_edit)
edit_lines = ChangingTool(EDIT_LINES, plan_edit_lines)
