"""What the tests of undo share: how a folder is, told independently of the product."""

import os
import stat
import tempfile
from collections.abc import Callable, Collection, Generator
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest

Files: TypeAlias = dict[str, tuple[str, int, str]]


def _listing(root: Path, leave_out: Collection[str] = (".git",)) -> Files:
    """Every path below `root`: its kind, its mode, and its content (or where it leads)."""
    found: Files = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in leave_out]
        for name in [*folders, *files]:
            path = Path(folder, name)
            status = path.lstat()
            if name in leave_out:
                continue
            if path.is_symlink():
                row = ("link", 0, os.readlink(path))
            elif path.is_dir():
                row = ("folder", stat.S_IMODE(status.st_mode), "")
            else:
                row = ("file", stat.S_IMODE(status.st_mode), sha256(path.read_bytes()).hexdigest())
            found[str(path.relative_to(root))] = row
    return found


@pytest.fixture
def memory() -> Generator[Path]:
    """A folder in memory where there is one: for tests that do a thing hundreds of times."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project: files, a link, a script, an empty folder."""
    return filled(tmp_path / "project")


def filled(folder: Path) -> Path:
    """See `project`."""
    (folder / "src").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.txt").write_text("one\n")
    (folder / "src" / "b.py").write_text("print(1)\n")
    (folder / "run.sh").write_text("true\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/b.py")
    return folder


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], Files]:
    """How a folder is: see `_listing`."""
    return _listing


@pytest.fixture
def project_in_memory(memory: Path) -> Path:
    """The same project, in memory."""
    return filled(memory / "session" / "project")
