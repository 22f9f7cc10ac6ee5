"""What `write`, `edit` and `edit_lines` share: plan a change, show it, make it.

Each of them is a function from its arguments to the `Change` that it would make: `preview` shows it as a
diff and `run` makes it, so that what the person approved is what happens. Where the file has changed since
the model read it, the plan is refused.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.errors import UsageError
from continualcode.core.protocols import ToolContext
from continualcode.core.workspace import Workspace, digest
from continualcode.plugins.tools.refusal import Refused, attempt, call
from continualcode.plugins.tools.text import count, numbered, split_lines, visible

AROUND = 3
"""How many unchanged lines are shown before and after a change."""

_MOST_SHOWN = 40
"""How many lines of a change are shown to the model, that wrote them, afterwards."""


@dataclass(frozen=True)
class Change:
    """A file's content before (None: no file) and after, and what to tell the model of it.

    `region` is the half-open range of line indices of `after` that are new; None: show nothing. `known`:
    the model knows all of the file's content once this is done.
    """

    path: str
    before: bytes | None
    after: bytes
    done: str
    region: tuple[int, int] | None = None
    known: bool = True


class ChangingTool:
    """A tool that changes one file as `plan` says. `plan` changes nothing and raises Refused."""

    def __init__(self, spec: ToolSpec, plan: Callable[[Arguments, Workspace], Change]) -> None:
        self.spec = spec
        self.plan = plan

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Plan the change and make it, unless the file changed in between."""
        return attempt(lambda: _make(self.plan(arguments, context.workspace), context.workspace))

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """The change as a unified diff of what the file would be, or why it would be refused."""
        try:
            change = self.plan(arguments, context.workspace)
        except Refused as refused:
            return f"This would be refused: {visible(f'{refused.why} {refused.advice}')}"
        except UsageError as error:
            return f"This would be refused: {visible(str(error))}."
        return visible(unified_diff(change)).rstrip("\n")


def _make(change: Change, workspace: Workspace) -> ToolResult:
    if change.after == change.before:
        raise Refused(
            f"{change.path} already reads exactly like that: nothing was changed.",
            f"If you expected a change, look at it again: {call('read', path=change.path)}.",
        )
    expected = None if change.before is None else digest(change.before)
    try:
        made = workspace.replace(change.path, change.after, expected)
    except UsageError as error:
        raise Refused(
            f"{error}.", f"Look again before you repeat it: {call('read', path=change.path)}."
        ) from None
    seen = {change.path: digest(change.after)} if change.known else {}
    return ToolResult(output=change.done + _region(change), changes=(made,), seen=seen)


def _region(change: Change) -> str:
    """The lines that are new, with their numbers now and a few around them."""
    if change.region is None:
        return ""
    lines = split_lines(change.after)
    first, last = change.region[0] + 1 - AROUND, change.region[1] + AROUND
    text = f". {change.path} has {count(len(lines), 'line')} now:\n"
    if last - first < _MOST_SHOWN:
        return text + numbered(lines, first, last)
    half = _MOST_SHOWN // 2
    return f"{text}{numbered(lines, first, first + half)}\n    …\n{numbered(lines, last - half, last)}"


def unified_diff(change: Change) -> str:
    """The change with three lines of context, like `diff -u`; a note where the last line has no newline."""
    before, after = _decoded(change.before or b""), _decoded(change.after)
    # What is the same at both ends is cut off first: comparing it is what takes long in a large file.
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    skip = max(0, head - AROUND)
    old = before[skip : len(before) - max(0, tail - AROUND)]
    new = after[skip : len(after) - max(0, tail - AROUND)]
    names = ("/dev/null" if change.before is None else f"a/{change.path}", f"b/{change.path}")
    rows = [f"--- {names[0]}\n", f"+++ {names[1]}\n"]
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(AROUND):
        (_, i1, _, j1, _), (_, _, i2, _, j2) = group[0], group[-1]
        rows.append(f"@@ -{_range(skip + i1, skip + i2)} +{_range(skip + j1, skip + j2)} @@\n")
        for tag, a, b, c, d in group:
            if tag == "equal":
                rows += [f" {line}" for line in old[a:b]]
            else:
                rows += [f"-{line}" for line in old[a:b]] + [f"+{line}" for line in new[c:d]]
    return "".join(row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows)


def _decoded(data: bytes) -> list[str]:
    return [line.decode(errors="replace") for line in split_lines(data)]


def _common(one: list[str], other: list[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _range(start: int, stop: int) -> str:
    """A hunk's range as `diff -u` writes it."""
    length = stop - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
