"""`read` and `write`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.core.data import ToolResult
from continualcode.core.workspace import RunContext, digest

Do = Callable[..., ToolResult]


def test_read_numbers_lines_and_marks_the_file_as_seen(root: Path, do: Do) -> None:
    (root / "a.py").write_text("x = 1\n\n\ty = 2")
    result = do("read", path="a.py")
    assert result.output == "a.py (3 lines):\n   1| x = 1\n   2|\n   3| \ty = 2"
    assert result.seen == {"a.py": digest(b"x = 1\n\n\ty = 2")}


def test_read_shows_a_range(root: Path, do: Do) -> None:
    (root / "a").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    result = do("read", path="a", start_line=3, end_line=4)
    assert result.output == (
        'a, lines 3 to 4 of 10:\n   3| line 3\n   4| line 4\nTo go on: read(path="a", start_line=5).'
    )


@pytest.mark.parametrize(("start", "end"), [(0, 99), (-5, 0), (1, -1)])
def test_read_is_lenient_about_the_ends(root: Path, do: Do, start: int, end: int) -> None:
    (root / "a").write_text("1\n2\n")
    assert do("read", path="a", start_line=start, end_line=end).output == "a (2 lines):\n   1| 1\n   2| 2"


def test_read_past_the_end_shows_the_end(root: Path, do: Do) -> None:
    (root / "a").write_text("one\ntwo\n")
    result = do("read", path="a", start_line=9)
    assert result.output == "error: start_line 9 is past the end: a has 2 lines."
    assert (
        result.feedback
        == 'Its end is:\n   1| one\n   2| two\nTo see all of it from the start: read(path="a").'
    )


def test_read_of_a_range_that_runs_backwards(root: Path, do: Do) -> None:
    (root / "a").write_text("one\ntwo\nthree\n")
    result = do("read", path="a", start_line=3, end_line=2)
    assert result.output == "error: end_line 2 comes before start_line 3."
    assert result.feedback == 'a has 3 lines. Try read(path="a", start_line=3).'


def test_read_of_a_big_file_shows_a_window_and_how_to_go_on(root: Path, do: Do) -> None:
    (root / "big").write_text("".join(f"{n}\n" for n in range(1, 1001)))
    seen = ""
    call: dict[str, int] = {}
    for _ in range(5):
        output = do("read", path="big", **call).output
        seen += output.partition("\n")[2].partition("\nTo go on")[0] + "\n"
        call = (
            {"start_line": int(output.rpartition("start_line=")[2].removesuffix(")."))}
            if "To go on" in output
            else {}
        )
    assert [int(row.partition("| ")[2]) for row in seen.splitlines()] == list(range(1, 1001))
    assert call == {}


def test_read_keeps_a_window_of_long_lines_small(root: Path, do: Do) -> None:
    (root / "long").write_text(f"{'x' * 10_000}\n" * 50)
    output = do("read", path="long").output
    assert len(output) < 10_000
    assert "(9,500 more characters in this line)" in output
    assert 'read(path="long", start_line=' in output


def test_read_of_an_empty_file(root: Path, do: Do) -> None:
    (root / "a").touch()
    assert do("read", path="a").output == "a is empty (0 lines)."


def test_read_of_a_missing_file_names_the_likely_one(root: Path, do: Do) -> None:
    (root / "src").mkdir()
    (root / "src" / "calc.py").touch()
    for wrong in ("calc.py", "src/clac.py", "/calc.py", "source/calc.py"):
        assert 'read(path="src/calc.py")' in (do("read", path=wrong).feedback or "")
    result = do("read", path="zzz")
    assert result.output == "error: there is no file zzz."
    assert result.feedback == 'To see which files there are: glob(pattern="**/*").'


def test_read_of_a_folder_says_how_to_list_it(root: Path, do: Do) -> None:
    (root / "src").mkdir()
    result = do("read", path="src")
    assert (result.output, result.feedback) == (
        "error: src is a folder, not a file.",
        'To list what is in it: glob(pattern="src/*").',
    )


def test_read_of_a_binary_file(root: Path, do: Do) -> None:
    (root / "a b.bin").write_bytes(b"\x7fELF\0\0")
    result = do("read", path="a b.bin")
    assert result.output == "error: a b.bin is a binary file (6 bytes), not text."
    assert result.feedback == "Look at it with bash(command=\"file 'a b.bin'\")."
    assert result.seen == {}


def test_read_shows_what_is_not_utf8(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"caf\xe9\n")
    result = do("read", path="a")
    assert result.output == "a (1 line):\n   1| caf�"
    result.output.encode()


def test_read_counts_lines_as_every_other_program(root: Path, do: Do) -> None:
    (root / "a").write_bytes("a\u2028b\x0cc\rd\r\ne\n".encode())
    assert do("read", path="a").output == "a (2 lines):\n   1| a\u2028b\x0cc\rd\n   2| e"


def test_write_makes_a_file_and_its_folders(root: Path, do: Do) -> None:
    result = do("write", path="a/b.txt", content="one\ntwo")
    assert result.output == "created a/b.txt (2 lines)."
    assert (root / "a/b.txt").read_bytes() == b"one\ntwo"
    assert [(c.path, c.before, c.after) for c in result.changes] == [("a/b.txt", None, digest(b"one\ntwo"))]
    assert do("write", path="a/b.txt", content="three").success, "what it wrote itself it knows"


def test_write_does_not_replace_what_was_not_read(root: Path, do: Do) -> None:
    (root / "a").write_text("old")
    result = do("write", path="a", content="new")
    assert result.output == "error: a exists already and you have not read it; nothing was written."
    assert 'read(path="a")' in (result.feedback or "")
    assert (root / "a").read_text() == "old"
    do("read", path="a")
    assert do("write", path="a", content="new").output == "replaced a (1 line)."
    assert (root / "a").read_text() == "new"


def test_write_does_not_replace_what_changed_since(root: Path, do: Do) -> None:
    (root / "a").write_text("old")
    do("read", path="a")
    (root / "a").write_text("newer")
    result = do("write", path="a", content="mine")
    assert result.output == "error: a has changed since you last read it; nothing was written."
    assert (result.feedback or "").startswith('Call read(path="a")')
    assert (root / "a").read_text() == "newer"


def test_a_refused_write_is_refused_again(root: Path, do: Do) -> None:
    (root / "a").write_text("old")
    assert not do("write", path="a", content="new").success
    assert not do("write", path="a", content="new").success


def test_what_was_seen_comes_back_from_a_log(root: Path, context: RunContext, do: Do) -> None:
    (root / "a").write_text("old")
    context.workspace.note_seen({"a": digest(b"old")})
    assert do("write", path="a", content="new").success


def test_write_of_what_is_there_already_says_so(root: Path, do: Do) -> None:
    (root / "a").write_text("old")
    do("read", path="a")
    result = do("write", path="a", content="old")
    assert result.output == "error: a already reads exactly like that: nothing was changed."
    assert result.changes == ()


def test_write_does_not_take_the_place_of_a_folder(root: Path, do: Do) -> None:
    (root / "src").mkdir()
    result = do("write", path="src", content="x")
    assert result.output == "error: src is a folder: a file cannot take its place."
    assert "src/name.txt" in (result.feedback or "")


def test_write_keeps_the_line_endings_that_the_model_cannot_see(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert do("read", path="a").output == "a (2 lines):\n   1| one\n   2| two"
    result = do("write", path="a", content="one\n2\n")
    assert (root / "a").read_bytes() == b"\xef\xbb\xbfone\r\n2\r\n"
    assert "still end in CRLF" in result.output


def test_write_leaves_out_line_numbers_copied_from_read(root: Path, do: Do) -> None:
    result = do("write", path="a", content="   1| one\n   2|\n   3| three\n")
    assert (root / "a").read_text() == "one\n\nthree\n"
    assert "Line numbers copied from read were left out." in result.output


@pytest.mark.parametrize("text", ["1| a\n3| b\n", "   1| only one line", "1| a\nb\n"])
def test_write_leaves_other_numbers_alone(root: Path, do: Do, text: str) -> None:
    do("write", path="a", content=text)
    assert (root / "a").read_text() == text


def test_the_preview_of_a_write_is_the_whole_diff(root: Path, do: Do, preview: Callable[..., str]) -> None:
    (root / "a").write_text("".join(f"{n}\n" for n in range(1, 21)))
    refused = preview("write", path="a", content="x")
    assert refused.startswith("This would be refused: a exists already and you have not read it")
    do("read", path="a")
    new = "".join(f"{n}\n" for n in range(1, 21) if n != 9) + "last"
    assert preview("write", path="a", content=new) == (
        "--- a/a\n+++ b/a\n"
        "@@ -6,7 +6,6 @@\n 6\n 7\n 8\n-9\n 10\n 11\n 12\n"
        "@@ -18,3 +17,4 @@\n 18\n 19\n 20\n+last\n\\ No newline at end of file"
    )
    assert preview("write", path="b", content="x\n") == "--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+x"


def test_a_preview_hides_nothing(preview: Callable[..., str]) -> None:
    text = preview("write", path="a", content="good \x1b[2K\u202ebad\r\n")
    assert "+good \\x1b[2K\\x202ebad\\x0d" in text
