"""The folder that a session works in: every file that a tool touches is opened through here.

Containment holds when it matters, at the moment of opening. A path is first resolved (relative or
absolute, `..` and links followed) and must lie inside the root; then it is walked from the root's
descriptor one component at a time without following links, so that a link put in the way after the
check is refused, not followed. The walk is repeated a few times for links that change honestly.

Files are read whole and replaced whole: a new file beside the old one, then a rename, so that nobody
sees half of it. What this module does not know: which tools there are, and what a shell does.
"""

import errno
import hashlib
import os
import secrets
import stat
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

from continualcode.core.config import FILE_NAME
from continualcode.core.data import FileChange
from continualcode.core.errors import UsageError
from continualcode.core.protocols import Sandbox
from continualcode.core.sandbox import NoSandbox

MAX_FILE = 16 * 1024 * 1024
"""The largest file, in bytes, that is read into memory."""

_LONGEST = 4000
_ATTEMPTS = 5
_MOVED = {errno.ELOOP, errno.ENOTDIR}
"""What opening without following links says of a link, at the end of a path and on the way."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

T = TypeVar("T")


class Workspace:
    """A root folder, safe ways to read and replace files in it, and what the model knows of them."""

    def __init__(self, root: Path, log: Path | None = None) -> None:
        self.root = root.resolve()
        self._log = log.resolve() if log else None
        self.seen: dict[str, str] = {}
        """By relative path, the sha256 of the content that the model last read or wrote."""

    def note_seen(self, seen: Mapping[str, str]) -> None:
        """The model now knows these contents (`ToolResult.seen`)."""
        self.seen.update(seen)

    # -- Paths ----------------------------------------------------------------------------------------

    def resolve(self, path: str) -> Path:
        """Where `path` leads, with `..` and links followed; it need not exist.

        Raises UsageError where that is outside. A path that is opened later must be opened by this
        class: between two looks a link can change.
        """
        if not path or "\0" in path:
            raise UsageError(f"{path!r} is not a path: name a file in the workspace, such as src/app.py")
        if len(os.fsencode(self.root / path)) > _LONGEST:
            # Walking it by descriptors would even work, and leave a tree that no other program can open.
            raise UsageError(f"{path[:40]}… is too long for a path")
        try:
            found = Path(os.path.realpath(self.root / path))
        except (OSError, RuntimeError) as error:
            raise UsageError(f"{path} cannot be resolved: {error}") from None
        if self._log and found.parts[: len(self._log.parts) - 1] == self._log.parent.parts:
            name = found.parts[len(self._log.parts) - 1 :][:1]
            if name and name[0].startswith(self._log.name):
                raise UsageError(f"{path} belongs to this session's log: no tool can use it")
        if not found.is_relative_to(self.root):
            leads = f" (it leads to {found})" if _normal(self.root, path).is_relative_to(self.root) else ""
            raise UsageError(f"{path} is outside of the workspace{leads}: only files inside it can be used")
        return found

    def relative(self, path: str) -> str:
        """`path` as the workspace names it: relative to the root, links followed, with forward slashes."""
        return self.resolve(path).relative_to(self.root).as_posix()

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder; for choosing words, not for safety."""
        return os.path.isdir(self.resolve(path))

    # -- Files ----------------------------------------------------------------------------------------

    def read(self, path: str, limit: int = MAX_FILE) -> bytes | None:
        """The content of a regular file; None: there is none. UsageError: outside, special, too large."""
        return self._settled(path, lambda parts: self._read(parts, path, limit))

    def replace(self, path: str, data: bytes, expected: str | None) -> FileChange:
        """Make `data` the content of `path`, at once or not at all; folders on the way are made.

        `expected` is the sha256 of the content that `data` was made from, None for a new file; if
        something else is there by now it is refused. The mode of a replaced file stays. What decides what
        runs later, outside of any session, is refused: everything in `.git`, and the project's settings.
        """
        return self._settled(
            path, lambda parts: self._replace(_changeable(parts, path), path, data, expected)
        )

    def walk(self, under: str = ".", leave_out: Collection[str] = ()) -> Iterator[tuple[str, bool]]:
        """Everything below a folder, as (relative path, is it a folder), sorted within each folder.

        Folders named in `leave_out` are not entered, nor are links; what cannot be listed is skipped.
        """
        waiting = [self.resolve(under).relative_to(self.root).parts]
        while waiting:
            folder = waiting.pop()
            try:
                with self._folder(folder) as descriptor, os.scandir(descriptor) as entries:
                    found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
            except OSError:
                continue
            for name, is_folder in found:
                yield "/".join((*folder, name)), is_folder
            waiting += [
                (*folder, name) for name, is_folder in reversed(found) if is_folder and name not in leave_out
            ]

    # -- Opening, one component at a time -------------------------------------------------------------

    def _settled(self, path: str, act: Callable[[tuple[str, ...]], T]) -> T:
        """`act` on the components of where `path` leads; again if a link came in between, then give up."""
        for attempt in range(_ATTEMPTS):
            parts = self.resolve(path).relative_to(self.root).parts
            if not parts:
                raise UsageError(f"{path} is the workspace itself, a folder: name a file in it")
            try:
                return act(parts)
            except OSError as error:
                if error.errno not in _MOVED or attempt == _ATTEMPTS - 1:
                    _explain(path, error)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def _folder(self, parts: tuple[str, ...], make: bool = False) -> Generator[int]:
        """A descriptor of the folder at `parts`, reached without following a link."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                if make:
                    try:
                        os.mkdir(part, dir_fd=descriptor)
                    except FileExistsError:
                        pass
                inner = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, parts: tuple[str, ...], path: str, limit: int) -> bytes | None:
        try:
            with self._folder(parts[:-1]) as folder:
                return _content(folder, parts[-1], path, limit)[0]
        except FileNotFoundError:
            return None

    def _replace(self, parts: tuple[str, ...], path: str, data: bytes, expected: str | None) -> FileChange:
        name = parts[-1]
        with self._folder(parts[:-1], make=True) as folder:
            temporary = f".continualcode-{secrets.token_hex(8)}.tmp"
            # What replaces a private file is private from its first byte on; `_keep` then copies the mode.
            mode = 0o666 if expected is None else 0o600
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder
            )
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(descriptor)
                    # The last look at what is replaced comes as late as can be: right before the rename.
                    before = _before(folder, name, path)
                    if (digest(before[0]) if before else None) != expected:
                        raise UsageError(f"{path} was changed by someone else just now; nothing was written")
                    if before is not None:
                        _keep(descriptor, before[1], path)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
        return FileChange(path="/".join(parts), before=expected, after=digest(data))


@dataclass(frozen=True)
class RunContext:
    """A ToolContext by itself, for running a tool outside of a session."""

    workspace: Workspace
    sandbox: Sandbox = NoSandbox()
    show_text: Callable[[str], None] = lambda text: None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def show(self, text: str) -> None:
        """Pass a piece of output on."""
        self.show_text(text)


def digest(data: bytes) -> str:
    """sha256 in hex: how `seen` and `FileChange` name a content."""
    return hashlib.sha256(data).hexdigest()


def _changeable(parts: tuple[str, ...], path: str) -> tuple[str, ...]:
    """`parts`, if tools may change what is there. In any case of letters: some file systems ignore it."""
    if any(part.casefold() == ".git" for part in parts):
        raise UsageError(f"{path} is git's own: tools cannot change what is in .git, as it can run commands")
    if parts[0].casefold() == FILE_NAME:
        raise UsageError(f"{path} holds the settings of this project: only its user can change them")
    return parts


def _normal(root: Path, path: str) -> Path:
    return Path(os.path.normpath(root / path))


def _content(folder: int, name: str, path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """A regular file's bytes and status. Looked at before it is opened, as opening a device can act."""
    _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), path)
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        _regular(status, path)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        size = max(status.st_size, len(data))
        raise UsageError(f"{path} is too large: {size:,} bytes, and at most {limit:,} can be read at once")
    return data, status


def _before(folder: int, name: str, path: str) -> tuple[bytes, os.stat_result] | None:
    try:
        return _content(folder, name, path, MAX_FILE)
    except FileNotFoundError:
        return None


def _regular(status: os.stat_result, path: str) -> None:
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "a link came in between")
    if stat.S_ISDIR(mode):
        raise UsageError(f"{path} is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is a pipe, a socket or a device: only regular files can be used")


def _keep(descriptor: int, old: os.stat_result, path: str) -> None:
    """Give the new file the mode, and where it may the owner, of the old one; a protected one stays."""
    if not old.st_mode & 0o222:
        raise UsageError(f"{path} is read-only: its owner has taken the right to write away")
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):  # only root may give a file away; then it is ours
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _explain(path: str, error: OSError) -> NoReturn:
    if error.errno == errno.ENOTDIR:
        raise UsageError(f"{path} cannot be used: a part of the path is a file, not a folder") from None
    if error.errno == errno.ELOOP:
        raise UsageError(f"{path} cannot be used: a link on the way changes while it is opened") from None
    raise UsageError(f"{path} cannot be used: {error.strerror or error}") from None


def at_home(path: Path) -> str:
    """A path as a person writes it: `~/project` for what lies in their home folder."""
    try:
        return f"~/{path.absolute().relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # elsewhere, or there is no home folder
        return str(path)
