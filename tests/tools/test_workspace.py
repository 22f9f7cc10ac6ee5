"""The workspace: nothing outside is reached, files are replaced whole, and what is special is refused."""

import ctypes
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from continualcode.core.errors import UsageError
from continualcode.core.workspace import Workspace, digest

SECRET = b"a secret outside"
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, of linux/fcntl.h and linux/fs.h


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file next to the workspace."""
    file = tmp_path / "secret.txt"
    file.write_bytes(SECRET)
    return file


@pytest.mark.parametrize(
    "path",
    ["../secret.txt", "a/../../secret.txt", "/etc/passwd", "link", "folder/secret.txt", "chain", "/", ".."],
)
def test_paths_that_lead_out_are_refused(root: Path, outside: Path, path: str) -> None:
    (root / "a").mkdir()
    (root / "link").symlink_to(outside)
    (root / "chain").symlink_to("link")
    (root / "folder").symlink_to(outside.parent)
    workspace = Workspace(root)
    with pytest.raises(UsageError, match="outside of the workspace"):
        workspace.resolve(path)
    with pytest.raises(UsageError, match="outside of the workspace"):
        workspace.read(path)
    with pytest.raises(UsageError, match="outside of the workspace"):
        workspace.replace(path, b"x", None)
    assert outside.read_bytes() == SECRET


def test_an_absolute_path_inside_is_the_same_file(root: Path) -> None:
    (root / "a.txt").write_text("a")
    workspace = Workspace(root)
    assert workspace.read(str(root / "a.txt")) == b"a"
    assert workspace.relative(str(root / "x" / ".." / "a.txt")) == "a.txt"


def test_a_link_inside_leads_to_the_file_that_it_names(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "a.txt").write_text("a")
    (root / "link").symlink_to("real")
    workspace = Workspace(root)
    assert workspace.relative("link/a.txt") == "real/a.txt"
    assert workspace.read("link/a.txt") == b"a"
    workspace.replace("link/a.txt", b"b", digest(b"a"))
    assert (root / "link").is_symlink()
    assert (root / "real" / "a.txt").read_bytes() == b"b"


def test_the_root_may_itself_be_behind_a_link(root: Path, tmp_path: Path) -> None:
    (root / "a.txt").write_text("a")
    (tmp_path / "other").symlink_to(root)
    assert Workspace(tmp_path / "other").read("a.txt") == b"a"


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(UsageError, match="is not a path"):
        Workspace(root).resolve(path)


def test_links_in_a_circle_are_refused(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(UsageError, match="cannot be used"):
        Workspace(root).read("a")


@contextmanager
def busy(act: Callable[[], object]) -> Generator[None]:
    """`act` again and again in a thread of its own."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            act()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def swapper(place: Path, target: Path) -> Callable[[], None]:
    """Exchanges what is at `place` with a link to `target`, and back, with nothing in between (Linux)."""
    link = place.with_name("link")
    link.symlink_to(target)
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    if exchange is None:
        pytest.skip("this system cannot exchange two files at once")

    def swap() -> None:
        assert exchange(_HERE, os.fsencode(place), _HERE, os.fsencode(link), _EXCHANGE) == 0

    return swap


def race(act: Callable[[], object], swap: Callable[[], object]) -> None:
    """One second of `act` against `swap`; both outcomes must have been common."""
    done, refused = 0, 0
    with busy(swap):
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                act()
                done += 1
            except UsageError:
                refused += 1
    assert done > 10 and refused > 10, f"the race did not take place: {done} done, {refused} refused"


def test_a_file_swapped_for_a_link_while_it_is_read_never_leaks(root: Path, outside: Path) -> None:
    (root / "file").write_bytes(b"honest")
    workspace = Workspace(root)

    def act() -> None:
        assert workspace.read("file") == b"honest"

    race(act, swapper(root / "file", outside))


def test_a_folder_swapped_for_a_link_while_it_is_read_never_leaks(root: Path, outside: Path) -> None:
    (root / "folder").mkdir()
    (root / "folder" / outside.name).write_bytes(b"honest")
    workspace = Workspace(root)

    def act() -> None:
        assert workspace.read(f"folder/{outside.name}") == b"honest"

    race(act, swapper(root / "folder", outside.parent))


def test_a_folder_swapped_for_a_link_while_it_is_listed_never_leaks(root: Path, outside: Path) -> None:
    (root / "folder").mkdir()
    workspace = Workspace(root)

    def act() -> None:
        assert outside.name not in {path.rpartition("/")[2] for path, _ in workspace.walk("folder")}

    race(act, swapper(root / "folder", outside.parent))


def test_a_folder_swapped_for_a_link_while_it_is_written_to_never_leaks(root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "folder").mkdir()
    workspace = Workspace(root)

    def act() -> None:
        workspace.replace(f"folder/{time.monotonic_ns()}", b"x", None)

    race(act, swapper(root / "folder", elsewhere))
    assert list(elsewhere.iterdir()) == []


def test_a_missing_file_is_none(root: Path) -> None:
    assert Workspace(root).read("no/such/file") is None


def test_a_large_file_is_refused_with_its_size(root: Path) -> None:
    (root / "big").write_bytes(b"x" * 1001)
    with pytest.raises(UsageError, match="1,001 bytes, and at most 1,000"):
        Workspace(root).read("big", limit=1000)


def test_special_files_are_refused_without_being_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "socket"))
        for name in ("pipe", "socket"):
            with pytest.raises(UsageError, match="a pipe, a socket or a device"):
                Workspace(root).read(name)
            with pytest.raises(UsageError, match="a pipe, a socket or a device"):
                Workspace(root).replace(name, b"x", None)


def test_a_folder_is_no_file(root: Path) -> None:
    (root / "src").mkdir()
    with pytest.raises(UsageError, match="src is a folder"):
        Workspace(root).read("src")
    with pytest.raises(UsageError, match="src is a folder"):
        Workspace(root).replace("src", b"x", None)


def test_a_file_used_as_a_folder_is_named(root: Path) -> None:
    (root / "a").write_text("a")
    with pytest.raises(UsageError, match="a/b cannot be used: a part of the path is a file"):
        Workspace(root).replace("a/b", b"x", None)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o4711])
def test_replacing_keeps_the_mode(root: Path, mode: int) -> None:
    file = root / "a"
    file.write_text("a")
    file.chmod(mode)
    Workspace(root).replace("a", b"b", digest(b"a"))
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert file.read_bytes() == b"b"


def test_a_read_only_file_stays(root: Path) -> None:
    (root / "a").write_text("a")
    (root / "a").chmod(0o444)
    with pytest.raises(UsageError, match="a is read-only"):
        Workspace(root).replace("a", b"b", digest(b"a"))
    assert (root / "a").read_text() == "a"


def test_a_file_that_changed_meanwhile_is_not_replaced(root: Path) -> None:
    (root / "a").write_text("newer")
    with pytest.raises(UsageError, match="changed by someone else"):
        Workspace(root).replace("a", b"mine", digest(b"older"))
    with pytest.raises(UsageError, match="changed by someone else"):
        Workspace(root).replace("a", b"mine", None)
    with pytest.raises(UsageError, match="changed by someone else"):
        Workspace(root).replace("gone", b"mine", digest(b"older"))
    assert [file.name for file in root.iterdir()] == ["a"], "a temporary file was left behind"


def test_a_replaced_file_breaks_off_from_its_hard_links(root: Path, outside: Path) -> None:
    os.link(outside, root / "a")
    Workspace(root).replace("a", b"mine", digest(SECRET))
    assert outside.read_bytes() == SECRET


def test_folders_on_the_way_are_made(root: Path) -> None:
    change = Workspace(root).replace("a/b/c.txt", b"c", None)
    assert (root / "a/b/c.txt").read_bytes() == b"c"
    assert (change.path, change.before, change.after) == ("a/b/c.txt", None, digest(b"c"))


def test_readers_never_see_half_a_file(root: Path) -> None:
    workspace = Workspace(root)
    contents = [b"a" * 500_000, b"b" * 500_000]
    workspace.replace("f", contents[0], None)
    state = [0]

    def write() -> None:
        old, state[0] = state[0], 1 - state[0]
        workspace.replace("f", contents[state[0]], digest(contents[old]))

    with busy(write):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert (root / "f").read_bytes() in contents


def test_walk_is_sorted_and_enters_neither_links_nor_what_is_left_out(root: Path, tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", "skip/x.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    (root / "up").symlink_to(tmp_path)
    found = list(Workspace(root).walk(leave_out={"skip"}))
    assert found == [
        ("a.txt", False),
        ("b", True),
        ("skip", True),
        ("up", False),
        ("b/1.txt", False),
        ("b/2.txt", False),
    ]


def test_seen_is_what_was_noted_last(root: Path) -> None:
    workspace = Workspace(root)
    workspace.note_seen({"a": "1", "b": "2"})
    workspace.note_seen({"a": "3"})
    assert workspace.seen == {"a": "3", "b": "2"}
