"""Saying no so that a small model can go on: what was wrong, what is really there, what to call next."""

import difflib
import json
import shlex
from collections.abc import Callable

from continualcode.core.data import Json, ToolResult
from continualcode.core.errors import UsageError
from continualcode.core.workspace import Workspace, digest
from continualcode.plugins.tools.text import is_binary

LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", ".tox"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
"""Folders that are searched only when a pattern names them."""

_MOST_FILES = 5000


class Refused(Exception):
    """A call that cannot be done as asked. `why` is one line; `advice` says what to do next."""

    def __init__(self, why: str, advice: str) -> None:
        super().__init__(why)
        self.why = why
        self.advice = advice

    def result(self) -> ToolResult:
        """The failure as the model sees it: `why`, then `advice`."""
        return ToolResult(output=f"error: {self.why}", success=False, feedback=self.advice)


def attempt(run: Callable[[], ToolResult]) -> ToolResult:
    """Run it; a refusal, of the tool's or of the workspace's, is its result."""
    try:
        return run()
    except Refused as refused:
        return refused.result()
    except UsageError as error:
        advice = f"To see which files there are: {call('glob', pattern='**/*')}."
        return ToolResult(output=f"error: {error}.", success=False, feedback=advice)


def call(tool: str, **arguments: Json) -> str:
    """A call as a model would be told to make it.

    >>> call("read", path="a.py", start_line=1)
    'read(path="a.py", start_line=1)'
    """
    given = (f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items())
    return f"{tool}({', '.join(given)})"


def locate(workspace: Workspace, path: str) -> str:
    """The workspace's name for `path`; refused with the likely file where it lies outside."""
    try:
        return workspace.relative(path)
    except UsageError as error:
        inside = next(iter(similar(workspace, path)), None)
        example = call("read", path=inside) if inside else call("glob", pattern="**/*")
        raise Refused(f"{error}.", f"Paths are relative to the workspace. Try {example}.") from None


def existing(workspace: Workspace, path: str, *, create: str | None = None) -> tuple[str, bytes]:
    """The workspace's name of a text file, and its content; where there is none, what may be meant.

    `create` is the call that would make the file, if making it is what the caller may have wanted.
    """
    relative = locate(workspace, path)
    if workspace.is_folder(relative):
        listing = call("glob", pattern="*" if relative == "." else f"{relative}/*")
        raise Refused(f"{path} is a folder, not a file.", f"To list what is in it: {listing}.")
    data = accessible(workspace, relative)
    if data is None:
        raise Refused(f"there is no file {path}.", _instead(workspace, path, create))
    if is_binary(data):
        raise Refused(
            f"{path} is a binary file ({len(data):,} bytes), not text.",
            f"Look at it with {call('bash', command=f'file {shlex.quote(relative)}')}.",
        )
    return relative, data


def accessible(workspace: Workspace, relative: str) -> bytes | None:
    """What is in a file, None if there is none; what the workspace refuses is refused here."""
    try:
        return workspace.read(relative)
    except UsageError as error:
        part = call("bash", command=f"head -n 100 {shlex.quote(relative)}")
        raise Refused(f"{error}.", f"Use another file, or look at a part of this one: {part}.") from None


def require_current(workspace: Workspace, relative: str, data: bytes) -> None:
    """Refuse to change a file whose content is not what the model knows; one it never read passes."""
    known = workspace.seen.get(relative)
    if known is not None and known != digest(data):
        raise Refused(
            f"{relative} has changed since you last read it; nothing was written.",
            f"Call {call('read', path=relative)} to see what it is now, then make your change to that.",
        )


def similar(workspace: Workspace, path: str) -> list[str]:
    """Up to three files whose path is like `path`: the same name elsewhere, then the closest spelling."""
    files: list[str] = []
    for name, is_folder in workspace.walk(leave_out=LEFT_OUT):
        if not is_folder:
            files.append(name)
        if len(files) >= _MOST_FILES:
            break
    base = path.replace("\\", "/").rstrip("/").rpartition("/")[2]
    same = [name for name in files if name.rpartition("/")[2].lower() == base.lower()]
    by_base = {name.rpartition("/")[2]: name for name in reversed(files)}
    close = [by_base[name] for name in difflib.get_close_matches(base, by_base, n=3)]
    return list(dict.fromkeys(same + close + difflib.get_close_matches(path, files, n=3)))[:3]


def _instead(workspace: Workspace, path: str, create: str | None) -> str:
    near = similar(workspace, path)
    if near:
        advice = f"Did you mean {' or '.join(near)}? Try {call('read', path=near[0])}."
    else:
        advice = f"To see which files there are: {call('glob', pattern='**/*')}."
    return f"{advice} To make a new file: {create}." if create else advice
