"""What Tab offers: slash commands at the beginning of a line, files of the workspace anywhere after `@`.

Commands come from the session's plugins, so the list is what there is. Files are found by any part of their
path, those whose name begins with what was typed first.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from continualcode.core.protocols import Command

MOST_FILES = 5000
MOST_OFFERED = 30
_SECONDS = 0.3  # that a look through the workspace may take
_AGE = 10.0  # seconds after which it is looked through again
_LEFT_OUT = frozenset({"node_modules", "__pycache__", "venv", "build", "dist", "target"})
_WORD = re.compile(r"(?:^|(?<=\s))(@?)([^\s@]*)$")


class Files:
    """The files of a folder by their paths from there; hidden ones and built ones are left out."""

    def __init__(self, root: Callable[[], Path]) -> None:
        self._root = root
        self._found: list[str] = []
        self._looked = float("-inf")

    def matching(self, typed: str) -> list[str]:
        """Paths that contain `typed`, the likeliest first."""
        if time.monotonic() - self._looked > _AGE:
            self._found, self._looked = self._look(), time.monotonic()
        sought = typed.lower().removeprefix("./")
        hits = [path for path in self._found if sought in path.lower()]

        def order(path: str) -> tuple[bool, bool, int, str]:
            lowered = path.lower()
            name = lowered.rpartition("/")[2]
            return not lowered.startswith(sought), not name.startswith(sought), path.count("/"), path

        return sorted(hits, key=order)[:MOST_OFFERED]

    def _look(self) -> list[str]:
        found: list[str] = []
        stop = time.monotonic() + _SECONDS
        root = self._root()
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _LEFT_OUT)
            inside = os.path.relpath(folder, root)
            found += [f if inside == "." else f"{inside}/{f}" for f in sorted(files)]
            if len(found) > MOST_FILES or time.monotonic() > stop:
                break
        return found[:MOST_FILES]


class PromptCompleter(Completer):
    """For the prompt line. `commands` is asked each time: before the session is open there are none."""

    def __init__(self, files: Files, commands: Callable[[], Mapping[str, Command]]) -> None:
        self._files = files
        self._commands = commands

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Commands, or files after `@` and where Tab was pressed."""
        before = document.text_before_cursor
        if before.startswith("/") and not re.search(r"\s", before):
            typed = before[1:]
            for name, command in sorted(self._commands().items()):
                if name.startswith(typed):
                    yield Completion(f"/{name}", -len(before), display_meta=command.help)
            return
        if (word := _WORD.search(before)) and (word[1] or complete_event.completion_requested):
            for path in self._files.matching(word[2]):
                yield Completion(f"{word[1]}{path}", -len(word[0]))


def begun(document: Document) -> bool:
    """Whether the cursor stands in something that is completed while it is typed: `/…` or `@…`."""
    before = document.text_before_cursor
    if before.startswith("/"):
        return not re.search(r"\s", before)
    word = _WORD.search(before)
    return bool(word and word[1])
