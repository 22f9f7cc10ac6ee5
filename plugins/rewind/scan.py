"""The workspace as it is, as a tree: read once, and after that only what changed.

A file whose inode, size, mode and times are those of the last look has the digest of the last look; the
others are read. That is asked of the file's change time as well, which no program can set, and not believed
of a file that changed within the tick of the clock in which it was read.

Left out, and then neither changed nor removed by going back:

- `.git`, `.hg` and `.svn`: version control is the user's own;
- folders that .gitignore ignores or that hold what tools make again (node_modules, .venv, caches), once
  they are big: more than `BIG_ENTRIES` entries or `BIG_BYTES` bytes. Small ones are recorded like any other;
- single files above `MAX_FILE` bytes, what cannot be read, and pipes, sockets and devices;
- the session's own log and its snapshots, where they lie in the workspace.

What is not kept: owners, times, extended attributes, and that two names are one file.
"""

import json
import os
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from continualcode.core.errors import UsageError
from continualcode.plugins.rewind.objects import Entry, Objects, Tree

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

VERSION_CONTROL = frozenset({".git", ".hg", ".svn"})
DERIVED = frozenset(
    {"node_modules", ".venv", "venv", "__pycache__", ".tox", ".cache", "target", "dist", "build"}
    | {".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
"""Folders that are left out once they are big, whether .gitignore names them or not."""

BIG_ENTRIES, BIG_BYTES = 1000, 16 << 20
MAX_FILE = 32 << 20
MAX_ENTRIES = 50_000
MAX_NEW = 512 << 20
"""The most that one look may newly record, in bytes; beyond that nothing is recorded, and that is said."""

_TICK = 50_000_000
"""ns: more than a tick of the clock that file systems stamp times with."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class TooBig(UsageError):
    """The workspace is larger than what is recorded; the message says which bound."""


class _Bulky(Exception):
    """A folder that may be left out is too big to be recorded."""


class _Known(NamedTuple):
    """What a file looked like when it was read: see the module's docstring."""

    inode: int
    size: int
    mtime: int
    ctime: int
    digest: str


class _Ignored(NamedTuple):
    """The rules of one .gitignore, and the folder that they are relative to."""

    folder: str
    rules: "GitIgnoreSpec"


class Scan:
    """One look at the folder `root`. Not at `own`, the session's own paths, nor at PATH.anything of them."""

    def __init__(self, root: Path, objects: Objects, own: Collection[str] = ()) -> None:
        self._root, self._objects, self._own = root, objects, tuple(own)
        self._index = objects.folder / f"index-{sha256(os.fsencode(root)).hexdigest()[:16]}.json"
        self._known = self._load()
        self._next: dict[str, _Known] = {}
        self._entries = self._bytes = 0

    def tree(self) -> str:
        """The digest of the workspace as it is; everything in it durable in the store. Raises TooBig."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            digest = self._folder(descriptor, "", (), None)
        finally:
            os.close(descriptor)
        self._objects.sync()
        if self._next != self._known:
            self._save()
        return digest

    def _folder(self, folder: int, under: str, ignored: tuple[_Ignored, ...], room: "_Room | None") -> str:
        with os.scandir(folder) as listed:
            names = sorted(entry.name for entry in listed)
        if ".gitignore" in names:
            ignored = (*ignored, *self._rules(folder, under))
        tree: Tree = {}
        for name in names:
            if name in VERSION_CONTROL or self._is_own(under + name):
                continue
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise TooBig(f"the workspace has more than {MAX_ENTRIES:,} files and folders")
            entry = self._entry(folder, name, under + name, ignored, room)
            if entry is not None:
                tree[name] = entry
        return self._objects.put_tree(tree)

    def _entry(
        self, folder: int, name: str, path: str, ignored: tuple[_Ignored, ...], room: "_Room | None"
    ) -> Entry | None:
        """What is at a path; None: it is gone, or is nothing that can be recorded."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                target = os.fsencode(os.readlink(name, dir_fd=folder))
                return Entry("link", 0o777, self._objects.put(target))
            if stat.S_ISDIR(status.st_mode):
                return self._inner(folder, name, path, mode, ignored, room)
            if stat.S_ISREG(status.st_mode):
                if room is not None:
                    room.take(status.st_size)
                if status.st_size > MAX_FILE:
                    return Entry("left out", 0, "")
                return Entry("file", mode, self._content(folder, name, path, status))
        except FileNotFoundError:
            return None
        except OSError:
            return Entry("left out", 0, "")
        return None

    def _inner(
        self,
        folder: int,
        name: str,
        path: str,
        mode: int,
        ignored: tuple[_Ignored, ...],
        room: "_Room | None",
    ) -> Entry:
        mine = room
        if room is None and (name in DERIVED or _matched(path, ignored)):
            mine = _Room()
        counted = self._entries
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
        try:
            return Entry("folder", mode, self._folder(descriptor, f"{path}/", ignored, mine))
        except _Bulky:
            if room is not None:
                raise  # the folder that may be left out is further up
            self._entries = counted
            return Entry("left out", 0, "")
        finally:
            os.close(descriptor)

    def _content(self, folder: int, name: str, path: str, status: os.stat_result) -> str:
        seen = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(path)
        if known is not None and known[:4] == seen and known.digest in self._objects:
            self._next[path] = known
            return known.digest
        descriptor = os.open(name, _FILE, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            began = time.time_ns()
            data = file.read(MAX_FILE + 1)
        self._bytes += len(data)
        if self._bytes > MAX_NEW:
            raise TooBig(f"the workspace holds more than {MAX_NEW >> 20} MB that is not recorded yet")
        digest = self._objects.put(data)
        if status.st_ctime_ns < began - _TICK:
            self._next[path] = _Known(*seen, digest)
        return digest

    def _rules(self, folder: int, under: str) -> list[_Ignored]:
        from pathspec import GitIgnoreSpec

        with suppress(OSError, UnicodeDecodeError, ValueError):
            descriptor = os.open(".gitignore", _FILE, dir_fd=folder)
            with os.fdopen(descriptor, encoding="utf-8") as file:
                return [_Ignored(under, GitIgnoreSpec.from_lines(file.read().splitlines()))]
        return []

    def _is_own(self, path: str) -> bool:
        full = f"{self._root}/{path}"
        return any(full == own or full.startswith(f"{own}.") for own in self._own)

    # -- What was known ------------------------------------------------------------------------------

    def _load(self) -> dict[str, _Known]:
        try:
            return {path: _Known(*row) for path, row in json.loads(self._index.read_text()).items()}
        except (OSError, ValueError, TypeError):
            return {}  # it saves time and nothing else

    def _save(self) -> None:
        new = self._index.with_name(f"{self._index.name}.{os.getpid()}.new")
        with suppress(OSError):
            new.write_text(json.dumps(self._next))
            new.rename(self._index)


class _Room:
    """What a folder that may be left out can still hold and be recorded."""

    def __init__(self) -> None:
        self.entries, self.bytes = BIG_ENTRIES, BIG_BYTES

    def take(self, size: int) -> None:
        self.entries -= 1
        self.bytes -= size
        if self.entries < 0 or self.bytes < 0:
            raise _Bulky


def _matched(path: str, ignored: tuple[_Ignored, ...]) -> bool:
    """Whether .gitignore files leave this folder out; the one nearest to it that speaks of it decides."""
    for rules in reversed(ignored):
        found = rules.rules.check_file(f"{path.removeprefix(rules.folder)}/").include
        if found is not None:
            return bool(found)
    return False
