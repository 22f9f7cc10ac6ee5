"""Snapshots of a workspace: what is in them, what is left out, and that nothing stale is believed."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.errors import ReplayError
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.plugins.rewind import scan
from continualcode.plugins.rewind.going import look, snapshot_store
from continualcode.plugins.rewind.objects import Entry, Objects, Tree
from continualcode.plugins.rewind.restore import make_so


def tree_of(root: Path) -> Tree:
    log = root.parent / "log.jsonl"
    return snapshot_store(log).flat(look(root, log))


def test_kinds_modes_and_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = tmp_path / "p"
    (root / "empty").mkdir(parents=True)
    (root / "empty").chmod(0o750)
    (root / os.fsdecode(b"odd\xff\n")).write_text("x")
    (root / "private").write_text("x")
    (root / "private").chmod(0o600)
    (root / "folder-link").symlink_to("empty")
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    tree = tree_of(root)
    assert {path: (entry.kind, entry.mode) for path, entry in tree.items() if path != "private"} == {
        "empty": ("folder", 0o750),
        os.fsdecode(b"odd\xff\n"): ("file", 0o644),
        "folder-link": ("link", 0o777),
        "broken": ("link", 0o777),
    }
    assert tree["private"].mode == 0o600


def test_the_digest_is_a_function_of_the_files_alone(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "d").mkdir(parents=True)
        (tmp_path / name / "d" / "f").write_text("x")
    assert look(tmp_path / "one", tmp_path / "l1.jsonl") == look(
        tmp_path / "two", tmp_path / "x" / "l2.jsonl"
    )


def test_gitignore_of_nested_folders_and_exceptions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "BIG_ENTRIES", 1)
    root = tmp_path / "p"
    for folder in ("data", "sub/data", "sub/other", "keep/data"):
        (root / folder).mkdir(parents=True)
        for number in range(3):
            (root / folder / str(number)).touch()
    (root / ".gitignore").write_text("data/\n")
    (root / "sub" / ".gitignore").write_text("other\n")
    (root / "keep" / ".gitignore").write_text("!data/\n")
    kinds = {path: entry.kind for path, entry in tree_of(root).items()}
    assert kinds["data"] == kinds["sub/data"] == kinds["sub/other"] == "left out"
    assert kinds["keep/data"] == "folder" and kinds["keep/data/2"] == "file"


def test_version_control_and_the_sessions_own_files_are_not_there(tmp_path: Path) -> None:
    root = tmp_path
    for name in (".git/config", "sub/.git", "log.jsonl", "log.jsonl.ack", "other.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    log = root / "log.jsonl"
    first = look(root, log)
    assert snapshot_store(log).flat(first).keys() == {"sub", "other.txt"}
    log.write_text("longer")
    assert look(root, log) == first


def test_a_file_of_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    file = root / "a"
    file.write_text("one")
    os.utime(file, (1, 1))
    first = tree_of(root)
    file.write_text("two")
    os.utime(file, (1, 1))
    assert tree_of(root) != first


@settings(max_examples=15, deadline=None)
@given(
    edits=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "zz", None])), max_size=12)
)
def test_looking_again_is_as_looking_for_the_first_time(
    edits: list[tuple[str, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("scan")
    root = base / "p"
    root.mkdir()
    for number, (name, content) in enumerate(edits):
        if content is None:
            (root / name).unlink(missing_ok=True)
        else:
            (root / name).write_text(content)
        assert look(root, base / "log.jsonl") == look(root, base / f"fresh{number}" / "log.jsonl")


def test_a_file_above_the_limit_is_left_out_and_never_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MAX_FILE", 100)
    root = tmp_path / "p"
    root.mkdir()
    (root / "big").write_text("x" * 101)
    call = Call(tool="bash", arguments={"command": "echo x > big; echo y > small"})
    ui = ScriptedUI()
    session = open_scripted(root, [call], ui=ui)
    engine.ask(session, "go")
    engine.command(session, "/undo")
    assert "big (too big to be recorded)" in ui.messages[-1]
    assert (root / "big").read_text() == "x\n" and not (root / "small").exists()


def test_a_workspace_that_is_too_big_is_said_and_the_rest_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MAX_ENTRIES", 2)
    root = tmp_path / "p"
    root.mkdir()
    for number in range(3):
        (root / str(number)).touch()
    ui = ScriptedUI()
    session = open_scripted(root, [Call(tool="bash", arguments={"command": "rm 1"})], ui=ui)
    engine.ask(session, "go")
    engine.command(session, "/undo")
    assert "more than 2 files" in ui.messages[-1]
    assert session.transcript.messages == []


def test_a_damaged_store_is_said_and_nothing_is_undone(tmp_path: Path) -> None:
    root = tmp_path / "p"
    root.mkdir()
    (root / "a").write_text("one\n")
    ui = ScriptedUI()
    session = open_scripted(root, [Call(tool="bash", arguments={"command": "echo 2 > a"})], ui=ui)
    engine.ask(session, "go")
    store = snapshot_store(session.log.path)
    for path in store.folder.iterdir():
        if len(path.name) == 64:
            path.unlink()
    messages = list(session.transcript.messages)
    engine.command(session, "/undo")
    assert "lacks" in ui.messages[-1]
    assert session.transcript.messages == messages and (root / "a").read_text() == "2\n"


def test_objects_are_checked_when_they_are_read(tmp_path: Path) -> None:
    objects = Objects(tmp_path / "store")
    digest = objects.put(b"content")
    (path,) = (tmp_path / "store").iterdir()
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(ReplayError, match=r"lacks|damaged"):
        objects.get(digest)


FLAT = st.dictionaries(
    st.sampled_from(["a", "b", "d", "d/a", "d/e", "d/e/f", "l"]),
    st.sampled_from(["file:1", "file:2", "folder", "link"]),
)


def _tree(objects: Objects, wanted: dict[str, str]) -> Tree:
    """A tree in which every parent is a folder."""
    tree: Tree = {}
    for path in sorted(wanted):
        parent = path.rpartition("/")[0]
        if parent and (parent not in tree or tree[parent].kind != "folder"):
            continue
        kind, _, content = wanted[path].partition(":")
        if kind == "folder":
            tree[path] = Entry("folder", 0o755, "")
        elif kind == "link":
            tree[path] = Entry("link", 0o777, objects.put(b"a"))
        else:
            tree[path] = Entry("file", 0o644, objects.put(content.encode()))
    return tree


@settings(max_examples=60, deadline=None)
@given(before=FLAT, after=FLAT)
def test_any_tree_can_be_made_of_any_other(
    before: dict[str, str], after: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("trees")
    log, root = base / "log.jsonl", base / "p"
    root.mkdir()
    objects = snapshot_store(log)
    empty = objects.put_tree({})
    one, other = (objects.build(_tree(objects, flat)) for flat in (before, after))
    assert make_so(root, objects, empty, one)[1] == {} and look(root, log) == one
    assert make_so(root, objects, one, other)[1] == {} and look(root, log) == other
    assert make_so(root, objects, one, other)[1] == {} and look(root, log) == other
