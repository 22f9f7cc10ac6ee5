"""Taking changes of the workspace back: first as data, what it should be; then on the disk.

Only paths that were changed between recorded snapshots are touched. What the user did to other files
stays. Where a path was changed by hand as well, it is put back too, named, and found in the snapshot that
was taken right before. A path that was left out of a snapshot on either side is never touched.

The disk is reached from the root's descriptor, one component at a time without following links, so that a
link put in the way leads nowhere. A file is written beside and renamed.
"""

import errno
import os
import stat
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from continualcode.core.rewind import FileChanges
from continualcode.plugins.rewind.objects import Entry, Objects, Tree

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Goal(NamedTuple):
    """The tree to reach, what in it was changed by hand since, and what can't be reached, with why."""

    tree: str
    overwritten: tuple[str, ...]
    kept: dict[str, str]


def reverted(objects: Objects, now: str, changes: Sequence[FileChanges]) -> Goal:
    """The workspace `now` with these changes (oldest first) taken back; nothing on the disk is changed."""
    goal, overwritten, kept = objects.flat(now), dict[str, None](), dict[str, str]()
    for change in reversed(changes):
        after = now if change.after is None else change.after
        if not change.before or not after:
            kept["what a tool changed"] = change.why or "not recorded"
            continue
        for path, (old, new) in objects.differences(change.before, after).items():
            here = goal.get(path)
            if any(entry is not None and entry.kind == "left out" for entry in (old, new, here)):
                if here != old:
                    kept[path] = "too big to be recorded"
                continue
            if here not in (old, new):
                overwritten[path] = None
            if old is None:
                goal.pop(path, None)
            else:
                goal[path] = old
    _mend(goal, objects.flat(now), kept)
    return Goal(objects.build(goal), tuple(overwritten), kept)


def _mend(goal: Tree, now: Tree, kept: dict[str, str]) -> None:
    """Make it a tree again: folders of files that go back in, and of files that somebody put there since."""
    for path in sorted(goal, key=lambda p: -p.count("/")):
        parent = path.rpartition("/")[0]
        entry = None
        while parent and (entry := goal.get(parent)) is None:
            goal[parent] = now.get(parent, Entry("folder", 0o755, ""))
            if parent in now:
                kept.setdefault(parent, "there is something in it that no tool put there")
            parent = parent.rpartition("/")[0]
        if entry is not None and entry.kind != "folder":
            kept[path] = f"{parent} is no folder any more"
            del goal[path]


def make_so(root: Path, objects: Objects, now: str, goal: str) -> tuple[int, dict[str, str]]:
    """Change what differs between the trees `now` and `goal`, on the disk; done twice, it is done once.

    Returns how many paths were changed, and those that could not be, with the system's reason.
    """
    changes = objects.differences(now, goal)
    failed: dict[str, str] = {}
    done: set[str] = set()

    def attempt(path: str, act: Callable[[int, str], None], *, gone_is_well: bool = False) -> None:
        try:
            with _parent(root, path) as folder:
                act(folder, path.rpartition("/")[2])
            done.add(path)
        except OSError as error:
            if not (gone_is_well and error.errno in _GONE):
                failed[path] = error.strerror or str(error)

    for path, (old, _) in changes.items():  # so that what is in them can be changed
        if old is not None and old.kind == "folder":
            with suppress(OSError), _parent(root, path) as folder:
                _chmod(folder, path.rpartition("/")[2], old.mode | 0o700)
    for path, (old, new) in reversed(changes.items()):
        if old is not None and (new is None or (new.kind == "folder") != (old.kind == "folder")):
            attempt(path, _remover(old), gone_is_well=True)
    for path, (_, new) in changes.items():
        if new is not None and new.kind != "left out":
            attempt(path, _maker(new, objects))
    for path, (_, new) in reversed(changes.items()):
        if new is not None and new.kind == "folder":
            attempt(path, lambda folder, name, mode=new.mode: _chmod(folder, name, mode))  # type: ignore[misc]  # bound now
    return len(done), failed


def _remover(old: Entry) -> Callable[[int, str], None]:
    def remove(folder: int, name: str) -> None:
        # What is of another kind by now was put there by an earlier time that was cut off.
        with suppress(IsADirectoryError, NotADirectoryError):
            if old.kind == "folder":
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    return remove


def _maker(new: Entry, objects: Objects) -> Callable[[int, str], None]:
    def folder_(folder: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise

    def beside(folder: int, name: str) -> None:
        # The same name when it is done again after a crash, so that nothing of the first time is left.
        temporary = f".continualcode-{sha256(os.fsencode(name) + new.digest.encode()).hexdigest()[:16]}.tmp"
        try:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            if new.kind == "link":
                os.symlink(objects.get(new.digest), os.fsencode(temporary), dir_fd=folder)
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
                    file.write(objects.get(new.digest))
                    file.flush()
                    os.fchmod(file.fileno(), new.mode)
                    os.fsync(file.fileno())
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise

    return folder_ if new.kind == "folder" else beside


def _chmod(folder: int, name: str, mode: int) -> None:
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


@contextmanager
def _parent(root: Path, path: str) -> Generator[int]:
    """A descriptor of the folder that holds `path`, reached without following a link."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split("/")[:-1]:
            try:
                inner = os.open(part, _FOLDER, dir_fd=descriptor)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise OSError(error.errno, f"{part} is no folder any more") from None
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)
