"""`glob` and `grep`: find files by name, and lines by what is in them."""

import os
import re
import time
from collections.abc import Iterator, Sequence

from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.errors import UsageError
from continualcode.core.protocols import ToolContext
from continualcode.core.schema import flat_schema
from continualcode.core.workspace import Workspace
from continualcode.plugins.tools.matcher import Found, InvalidPattern, TooSlow, search_files
from continualcode.plugins.tools.patterns import MAGIC, compile_pattern
from continualcode.plugins.tools.refusal import LEFT_OUT, Refused, attempt, call, locate, similar
from continualcode.plugins.tools.text import count, is_binary, shown

MAX_PATHS = 100
SECONDS = 10.0
"""How long a search looks at files before it stops and says so."""

GLOB = ToolSpec(
    name="glob",
    description="List the files that match a pattern, such as **/*.py.",
    confined=True,
    parameters=flat_schema({"pattern": ("string", "file pattern; ** is any folder")}),
    reads_only=True,
)
GREP = ToolSpec(
    name="grep",
    description="Find the lines that match a regular expression.",
    confined=True,
    parameters=flat_schema(
        {"pattern": ("string", "regular expression")},
        {"path": ("string", "file or folder to search; default all")},
    ),
    reads_only=True,
)
_SKIPPED_NOTE = (
    "Folders such as .git, .venv, node_modules and __pycache__ are left out unless the pattern names them."
)


class Glob:
    """Lists paths in order; folders end with a slash."""

    spec = GLOB

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The matching paths, or what was looked for and where."""
        return attempt(lambda: _glob(arguments["pattern"], context))

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """One line."""
        return call("glob", **arguments)


class Grep:
    """Searches text files line by line; the expression runs in a process of its own, so it can be stopped."""

    spec = GREP

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The matching lines as `path:line: text`, or why there are none."""
        return attempt(
            lambda: _grep(arguments["pattern"], arguments.get("path", "."), self._seconds, context)
        )

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """One line."""
        return call("grep", **arguments)


class _Stop:
    """True once it is time to stop looking: after `seconds`, or when the user says so."""

    def __init__(self, seconds: float, context: ToolContext) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._cancelled = context.cancelled
        self.note = ""
        """What to say at the end of what was found; empty if all was looked at."""

    def __bool__(self) -> bool:
        if self._cancelled.is_set():
            self.note = "\n(interrupted: not all files were looked at)"
        elif time.monotonic() > self._deadline:
            self.note = f"\n(stopped after {self._seconds:g} s: not all files were looked at)"
        return bool(self.note)


# -- glob ----------------------------------------------------------------------------------------------


def _glob(pattern: str, context: ToolContext) -> ToolResult:
    workspace = context.workspace
    pattern = _relative_pattern(workspace, pattern)
    stop = _Stop(SECONDS, context)
    entries = sorted(_entries(workspace, ".", pattern, stop))
    for tried, note in _readings(workspace, pattern):
        paths = _matching(entries, tried)
        if paths:
            more = len(paths) - MAX_PATHS
            rest = f"\n… and {more:,} more: use a narrower pattern" if more > 0 else ""
            return ToolResult(output="\n".join([*note, *paths[:MAX_PATHS]]) + rest + stop.note)
    near = similar(workspace, pattern)
    advice = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else f"To list all files: {call('glob', pattern='**/*')}."
    )
    return ToolResult(output=f"no file matches {pattern}. {advice} {_SKIPPED_NOTE}{stop.note}")


def _relative_pattern(workspace: Workspace, pattern: str) -> str:
    """The pattern relative to the root; refused where it leads out."""
    root = workspace.root.as_posix().rstrip("/")
    relative = pattern.replace("\\", "/")
    if relative == root or relative.startswith(root + "/"):
        relative = relative[len(root) :].lstrip("/") or "."
    parts = [part for part in relative.split("/") if part != "."]
    if relative.startswith("/") or ".." in parts:
        inside = "/".join(part for part in parts if part not in ("", "..")) or "**/*"
        raise Refused(
            f"{pattern} leads out of the workspace.",
            f"Patterns are relative to the workspace. Try {call('glob', pattern=inside)}.",
        )
    return "/".join(parts) or "*"


def _readings(workspace: Workspace, pattern: str) -> Iterator[tuple[str, list[str]]]:
    """The pattern as it stands; else as a folder's content; else, where it has no folder, at any depth."""
    yield pattern, []
    folder = pattern.rstrip("/")
    if pattern.endswith("/") or (not MAGIC.search(folder) and workspace.is_folder(folder)):
        yield f"{folder}/*", []
    if "/" not in folder:
        yield f"**/{folder}", [f"(none at the top; in all folders, as **/{folder}:)"]


def _matching(entries: Sequence[tuple[str, bool]], pattern: str) -> list[str]:
    """Files, and folders where the pattern is for a single depth; a folder's bare name is no match."""
    compiled = compile_pattern(pattern)
    folders = "**" not in pattern and bool(MAGIC.search(pattern))
    return [
        _name(path) + "/" * is_folder
        for path, is_folder in entries
        if (folders or not is_folder) and compiled.fullmatch(path)
    ]


def _entries(workspace: Workspace, under: str, named: str, stop: _Stop) -> Iterator[tuple[str, bool]]:
    for entry in workspace.walk(under, LEFT_OUT - set(named.split("/"))):
        if stop:
            return
        yield entry


def _name(path: str) -> str:
    """A path as text that can be written anywhere; what is not UTF-8 in it is replaced."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


# -- grep ----------------------------------------------------------------------------------------------


def _grep(pattern: str, path: str, seconds: float, context: ToolContext) -> ToolResult:
    workspace, stop = context.workspace, _Stop(seconds, context)
    paths = _searched(workspace, path, stop)
    if not pattern:
        raise Refused(
            "pattern is empty.", f"Give the text to look for, as in {call('grep', pattern='def main')}."
        )
    skipped: list[str] = []
    try:
        files = _contents(workspace, paths, stop, skipped)
        found = search_files(pattern, files, seconds, context.cancelled)
    except InvalidPattern as error:
        plain = call("grep", pattern=re.escape(pattern))
        raise Refused(
            f"pattern is not a regular expression: {error} in {pattern!r}.",
            f"To look for exactly that text, put a backslash before special characters: {plain}.",
        ) from None
    except TooSlow as error:
        raise Refused(
            f"the pattern took too long, in or near {error.path}, and was stopped.",
            "Repeats inside repeats, such as (a+)+, take forever. Use a simpler pattern, or plain text.",
        ) from None
    if context.cancelled.is_set():
        return ToolResult(output="interrupted", success=False)
    return ToolResult(output=_listed(found, pattern, path) + _unsearched(skipped) + stop.note)


def _searched(workspace: Workspace, path: str, stop: _Stop) -> Iterator[str]:
    """The files that `path` stands for: a file, all in a folder, or those that match it as a pattern."""
    if MAGIC.search(path) and not os.path.exists(workspace.root / path):
        relative = _relative_pattern(workspace, path)
        pattern = compile_pattern(relative if "/" in relative else f"**/{relative}")
        return (
            p
            for p, is_folder in _entries(workspace, ".", path, stop)
            if not is_folder and pattern.fullmatch(p)
        )
    relative = locate(workspace, path)
    if workspace.is_folder(relative):
        return (p for p, is_folder in _entries(workspace, relative, path, stop) if not is_folder)
    if not os.path.exists(workspace.root / relative):
        near = similar(workspace, path)
        advice = f"Did you mean {' or '.join(near)}?" if near else "Leave path out to search all files."
        raise Refused(f"there is no file or folder {path}.", advice)
    return iter([relative])


def _contents(
    workspace: Workspace, paths: Iterator[str], stop: _Stop, skipped: list[str]
) -> Iterator[tuple[str, bytes]]:
    """The text files among `paths` with their content; what cannot be read is added to `skipped`."""
    for path in paths:
        if stop:
            return
        try:
            data = workspace.read(path)
        except UsageError:  # a link that leads out or to a folder, a special file, one that is too large
            skipped.append(path)
            continue
        if data is not None and not is_binary(data):
            yield path, data


def _unsearched(skipped: Sequence[str]) -> str:
    if not skipped:
        return ""
    names = ", ".join(_name(path) for path in skipped[:3]) + (", …" if len(skipped) > 3 else "")
    return f"\n({count(len(skipped), 'file')} could not be searched: {names})"


def _listed(found: Found, pattern: str, path: str) -> str:
    if not found.lines:
        where = "any file" if path == "." else path
        searched = count(found.files, "text file")
        return f"no line in {where} matches {pattern} ({searched} searched). {_SKIPPED_NOTE}"
    rows = [f"{_name(name)}:{number}: {shown(line)}" for name, number, line in found.lines]
    more = found.total - len(rows)
    return "\n".join(rows) + (
        f"\n… and {count(more, 'more line')}: use a narrower pattern or a path" if more else ""
    )
