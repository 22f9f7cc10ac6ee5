"""Laws of the file tools, on random texts."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from continualcode.core.data import Arguments, ToolResult
from continualcode.core.protocols import Tool
from continualcode.core.workspace import RunContext, Workspace
from continualcode.plugins.tools import register_tools
from continualcode.plugins.tools.text import without_numbers

TOOLS: dict[str, Tool] = {tool.spec.name: tool for tool in register_tools()}

# Any character but NUL (a file with one is binary) and half pairs (no text holds them); troublemakers often.
CHARACTERS = st.sampled_from("ab \t\r\u2028\u0085\x0c\ufeffé🙂1|") | st.characters(
    exclude_characters="\0\n", exclude_categories=["Cs"]
)
LINE = st.text(CHARACTERS, max_size=8)
LINES = st.lists(LINE, max_size=6)
TEXTS = st.lists(CHARACTERS | st.sampled_from(["\n", "\r\n"]), max_size=30).map("".join)
PLAIN = TEXTS.map(lambda text: text.replace("\r", ""))
SHOWABLE = st.lists(st.text(st.sampled_from("ab \té🙂1|+-@\\"), max_size=8), max_size=6)
"""Lines that a preview shows as they are: it spells out control characters, which no patch could have."""
BYTES = st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\0", b"").replace(b"\n", b"")), max_size=6)


def run(workspace: Workspace, tool: str, **arguments: object) -> ToolResult:
    result = TOOLS[tool].run(arguments, RunContext(workspace))
    workspace.note_seen(result.seen)
    result.output.encode()  # what a tool says can always be written
    (result.feedback or "").encode()
    return result


def opened(folder: str, data: bytes) -> tuple[Path, Workspace]:
    file = Path(folder) / "file"
    file.write_bytes(data)
    workspace = Workspace(Path(folder))
    assert run(workspace, "read", path="file").success
    return file, workspace


@st.composite
def ranges(draw: st.DrawFn, lines: int) -> tuple[int, int]:
    """A start and an end that `edit_lines` takes for a file with so many lines."""
    start = draw(st.integers(1, lines + 1))
    return start, draw(st.integers(start - 1, lines))


@settings(max_examples=100, deadline=None)
@given(st.data(), LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), LINES)
def test_edit_lines_is_a_slice_assignment(
    data: st.DataObject, lines: list[str], newline: str, closed: bool, new: list[str]
) -> None:
    # A carriage return before a newline is a part of the terminator.
    lines, new = [line.rstrip("\r") for line in lines], [line.replace("\r", "") for line in new]
    assume(closed or not lines or lines[-1])
    assume(len(lines) > 1 or newline == "\n")  # a file without newlines has no style of its own
    content = "".join(f"{line}\n" for line in new)
    assume(without_numbers(content) is None)
    before = newline.join(lines) + (newline if closed and lines else "")
    assume(not before.startswith("\ufeff"))
    start, end = data.draw(ranges(len(lines)))
    with TemporaryDirectory() as folder:
        file, workspace = opened(folder, before.encode())
        result = run(workspace, "edit_lines", path="file", start_line=start, end_line=end, content=content)
        after = file.read_bytes().decode()
    lines[start - 1 : end] = new
    expected = newline.join(lines) + (newline if (closed or not before) and lines else "")
    assert after == expected
    assert result.success == (expected != before)


@settings(max_examples=100, deadline=None)
@given(st.data(), BYTES, LINES)
def test_edit_lines_keeps_every_byte_of_the_other_lines(
    data: st.DataObject, lines: list[bytes], new: list[str]
) -> None:
    before = b"".join(line + b"\n" for line in lines)
    assume(not before.startswith(b"\xef\xbb\xbf"))
    start, end = data.draw(ranges(len(lines)))
    content = "".join(f"{line}\n" for line in new)
    assume(without_numbers(content) is None)
    with TemporaryDirectory() as folder:
        file, workspace = opened(folder, before)
        run(workspace, "edit_lines", path="file", start_line=start, end_line=end, content=content)
        after = file.read_bytes()
    kept_head = b"".join(line + b"\n" for line in lines[: start - 1])
    kept_tail = b"".join(line + b"\n" for line in lines[end:])
    assert after.startswith(kept_head)
    assert after.endswith(kept_tail)
    assert len(after) >= len(kept_head) + len(kept_tail)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS)
@example("a\r\nb", "c\u2028d\n")
@example("", "\ufeff")
def test_write_writes_exactly_what_it_is_given(first: str, second: str) -> None:
    assume(without_numbers(first) is None and without_numbers(second) is None)
    # Replacing keeps a file's own line endings and byte order mark: that has its own tests.
    assume("\r\n" not in first and not first.startswith("\ufeff"))
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        for text in (first, second):
            run(workspace, "write", path="file", content=text)
            assert (Path(folder) / "file").read_bytes() == text.encode()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(CHARACTERS, max_size=8).filter(lambda t: "\r" not in t), min_size=1, max_size=6),
    st.booleans(),
)
def test_what_read_shows_is_what_is_there(lines: list[str], closed: bool) -> None:
    text = "\n".join(lines) + "\n" * closed
    assume(text and not text.startswith("\ufeff"))
    with TemporaryDirectory() as folder:
        _, workspace = opened(folder, text.encode())
        output = run(workspace, "read", path="file").output
    shown = output.partition("\n")[2].split("\n")
    expected = text.removesuffix("\n").split("\n")
    assert [row[6:] for row in shown] == expected
    assert [int(row[:4]) for row in shown] == list(range(1, len(expected) + 1))


@settings(max_examples=100, deadline=None)
@given(PLAIN, PLAIN.filter(bool), PLAIN, PLAIN)
def test_edit_replaces_the_one_place_and_nothing_else(head: str, old: str, tail: str, new: str) -> None:
    before = head + old + tail
    assume(old != new)
    places = [at for at in range(len(before)) if before.startswith(old, at)]
    with TemporaryDirectory() as folder:
        file, workspace = opened(folder, before.encode())
        result = run(workspace, "edit", path="file", old=old, new=new)
        after = file.read_bytes().decode()
    assert result.success == (len(places) == 1)
    assert after == (head + new + tail if result.success else before)


@settings(max_examples=100, deadline=None)
@given(SHOWABLE, SHOWABLE, st.booleans(), st.booleans())
def test_the_preview_is_a_patch_that_applies(
    old: list[str], new: list[str], old_closed: bool, new_closed: bool
) -> None:
    before = "\n".join(old) + "\n" * (old_closed and bool(old))
    after = "\n".join(new) + "\n" * (new_closed and bool(new))
    assume(before != after and without_numbers(after) is None and before and after)
    with TemporaryDirectory() as folder:
        file, workspace = opened(folder, before.encode())
        arguments: Arguments = {"path": "file", "content": after}
        diff = TOOLS["write"].preview(arguments, RunContext(workspace))
        patched = subprocess.run(
            ["git", "apply", "-p1", "--unidiff-zero", "--whitespace=nowarn", "-"],
            cwd=folder,
            input=f"{diff}\n".encode(),
            capture_output=True,
        )
        assert patched.returncode == 0, (diff, patched.stderr)
        assert file.read_bytes().decode() == after
