"""`edit` and `edit_lines`: what they do, and how they help where they cannot."""

from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.core.data import ToolResult
from continualcode.core.workspace import digest

Do = Callable[..., ToolResult]

CALC = "def add(a, b):\n    return a - b\n\n\ndef mul(a, b):\n    return a * b\n"


@pytest.fixture
def calc(root: Path, do: Do) -> Path:
    """A small file that the model has read."""
    file = root / "calc.py"
    file.write_text(CALC)
    do("read", path="calc.py")
    return file


# -- edit ----------------------------------------------------------------------------------------------


def test_edit_replaces_and_shows_the_lines_as_they_are_now(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="    return a - b\n", new="    # sum\n    return a + b\n")
    assert calc.read_text() == CALC.replace("    return a - b", "    # sum\n    return a + b")
    assert result.output == (
        "edited calc.py at line 2. calc.py has 7 lines now:\n"
        "   1| def add(a, b):\n   2|     # sum\n   3|     return a + b\n   4|\n   5|\n   6| def mul(a, b):\n"
        "   7|     return a * b"
    )
    assert result.seen == {"calc.py": digest(calc.read_bytes())}
    assert [(c.before, c.after) for c in result.changes] == [
        (digest(CALC.encode()), digest(calc.read_bytes()))
    ]


def test_edits_can_follow_each_other_without_reading_again(calc: Path, do: Do) -> None:
    assert do("edit", path="calc.py", old="a - b", new="a + b").success
    assert do("edit_lines", path="calc.py", start_line=6, end_line=6, content="    return b * a").success
    assert calc.read_text() == CALC.replace("a - b", "a + b").replace("a * b", "b * a")


def test_edit_of_a_file_never_read_needs_the_exact_text_and_makes_only_that_known(root: Path, do: Do) -> None:
    (root / "a").write_text("one\ntwo\n")
    result = do("edit", path="a", old="one", new="1")
    assert result.success
    assert result.seen == {}
    assert not do("write", path="a", content="x").success


def test_edit_refuses_a_file_that_changed_since_it_was_read(calc: Path, do: Do) -> None:
    calc.write_text(CALC + "# more\n")
    for tool, arguments in (
        ("edit", {"old": "a - b", "new": "a + b"}),
        ("edit_lines", {"start_line": 2, "end_line": 2, "content": "x"}),
    ):
        result = do(tool, path="calc.py", **arguments)
        assert result.output == "error: calc.py has changed since you last read it; nothing was written."
        assert (result.feedback or "").startswith('Call read(path="calc.py")')
    assert calc.read_text() == CALC + "# more\n"


def test_edit_names_a_difference_in_whitespace_and_gives_the_exact_call(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="return a-b", new="return a + b")
    assert result.output == "error: old is not in calc.py like that: at line 2 only the whitespace differs."
    assert result.feedback == (
        "The file has there:\n   1| def add(a, b):\n   2|     return a - b\n   3|\n"
        'Use its exact text: edit(path="calc.py", old="return a - b", new="return a + b").'
    )
    assert calc.read_text() == CALC


def test_the_call_that_is_suggested_for_whitespace_works(calc: Path, do: Do) -> None:
    old = "def add(a, b):\n  return a - b\n"
    assert "at lines 1 to 2 only" in do("edit", path="calc.py", old=old, new="def add(a, b): ...").output
    exact = "def add(a, b):\n    return a - b"
    assert do("edit", path="calc.py", old=exact, new="def add(a, b): ...").success


def test_the_call_that_is_suggested_keeps_the_indentation(root: Path, do: Do) -> None:
    (root / "a.py").write_text("class A:\n    def f(self):\n        return 1\n")
    result = do("edit", path="a.py", old="def f(self):\n    return 1", new="def f(self):\n    return 2")
    exact = '"def f(self):\\n        return 1", new="def f(self):\\n        return 2"'
    assert exact in (result.feedback or "")


def test_edit_says_that_it_only_looks_alike(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"caf\xe9\n")
    do("read", path="a")
    result = do("edit", path="a", old="caf\ufffd", new="cafe")
    assert "line 1 of a reads like old, but other bytes are there" in result.output
    assert result.feedback == (
        'Replace by number: edit_lines(path="a", start_line=1, end_line=1, content="cafe").'
    )


def test_edit_shows_the_line_that_is_nearly_it(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="return a -- bb", new="return a + b")
    assert result.output == "error: old is not in calc.py. Nearest: line 2."
    assert result.feedback == (
        "The file has there:\n   1| def add(a, b):\n   2|     return a - b\n   3|\n"
        "Use exactly that text as old, or replace by number: "
        'edit_lines(path="calc.py", start_line=2, end_line=2, content="    return a + b").'
    )


def test_edit_shows_the_beginning_where_nothing_is_near(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="import numpy as np", new="")
    assert result.output == "error: old is not in calc.py, and no line is like it."
    assert (result.feedback or "").startswith("The file has 6 lines and begins:\n   1| def add(a, b):\n")
    assert (result.feedback or "").endswith('To see all of it: read(path="calc.py").')


def test_edit_lists_all_places_and_suggests_the_whole_line(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="(a, b)", new="(x, y)")
    assert result.output == "error: old is in calc.py 2 times, and one place is replaced at a time."
    assert result.feedback == (
        "It is found here:\n   1| def add(a, b):\n   5| def mul(a, b):\n"
        "Make old longer, with lines around it that are in one place only, or say which lines, as in "
        'edit_lines(path="calc.py", start_line=1, end_line=1, content="def add(x, y):") for the first.'
    )


def test_edit_counts_places_that_overlap(root: Path, do: Do) -> None:
    (root / "a").write_text("aaa")
    assert "2 times" in do("edit", path="a", old="aa", new="b").output


def test_edit_lists_only_the_first_of_many_places(root: Path, do: Do) -> None:
    (root / "a").write_text("x\n" * 1000)
    result = do("edit", path="a", old="x\n", new="y\n")
    assert "1,000 times" in result.output
    assert "… and 990 more" in (result.feedback or "")
    assert 'start_line=1, end_line=1, content="y")' in (result.feedback or "")


def test_edit_leaves_out_line_numbers_copied_from_read(calc: Path, do: Do) -> None:
    old = "   1| def add(a, b):\n   2|     return a - b"
    result = do("edit", path="calc.py", old=old, new="   1| def add(a, b):\n   2|     return a + b")
    assert calc.read_text() == CALC.replace("a - b", "a + b")
    assert "(line numbers copied from read were left out)" in result.output


def test_edit_prefers_the_text_as_it_stands_over_leaving_out_numbers(root: Path, do: Do) -> None:
    (root / "table").write_text("1| one\n")
    assert do("edit", path="table", old="1| one", new="1| eins").success
    assert (root / "table").read_text() == "1| eins\n"


def test_edit_without_old_says_how_to_insert(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="", new="# top")
    assert result.output == "error: old is empty, so there is nothing to replace."
    assert 'edit_lines(path="calc.py", start_line=1, end_line=0, content="# top")' in (result.feedback or "")


def test_edit_to_the_same_text_is_no_success(calc: Path, do: Do) -> None:
    result = do("edit", path="calc.py", old="a - b", new="a - b")
    assert result.output == "error: calc.py already reads exactly like that: nothing was changed."


def test_edit_of_a_missing_file_names_the_likely_one_and_how_to_make_it(calc: Path, do: Do) -> None:
    result = do("edit", path="clac.py", old="a", new="b")
    assert result.output == "error: there is no file clac.py."
    assert result.feedback == (
        'Did you mean calc.py? Try read(path="calc.py"). '
        'To make a new file: write(path="clac.py", content="b").'
    )


def test_edit_finds_lines_that_end_in_crlf(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    assert do("edit", path="a", old="one\ntwo\n", new="1\n2\n").success
    assert (root / "a").read_bytes() == b"1\r\n2\r\nthree\r\n"


def test_edit_does_not_touch_bytes_that_are_no_text(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"caf\xe9\none\n")
    assert do("edit", path="a", old="one", new="1").success
    assert (root / "a").read_bytes() == b"caf\xe9\n1\n"


# -- edit_lines ----------------------------------------------------------------------------------------


def test_edit_lines_replaces_a_range_and_shows_the_lines_as_they_are_now(calc: Path, do: Do) -> None:
    result = do("edit_lines", path="calc.py", start_line=3, end_line=4, content="# one\n# two\n# three")
    assert result.output == (
        "replaced lines 3 to 4 of calc.py with 3 lines. calc.py has 7 lines now:\n"
        "   1| def add(a, b):\n   2|     return a - b\n   3| # one\n   4| # two\n   5| # three\n"
        "   6| def mul(a, b):\n   7|     return a * b"
    )


@pytest.mark.parametrize(
    ("start", "end", "content", "lines", "said"),
    [
        (1, 0, "top", ["top", "one", "two"], "inserted 1 line before line 1"),
        (3, 2, "three", ["one", "two", "three"], "inserted 1 line before line 3"),
        (2, 2, "", ["one"], "deleted line 2"),
        (1, 2, "", [], "deleted lines 1 to 2"),
        (1, 1, "\n", ["", "two"], "replaced line 1"),
        (1, 1, "a\n\n", ["a", "", "two"], "replaced line 1"),
    ],
)
def test_edit_lines_inserts_and_deletes(
    root: Path, do: Do, start: int, end: int, content: str, lines: list[str], said: str
) -> None:
    (root / "a").write_text("one\ntwo\n")
    do("read", path="a")
    result = do("edit_lines", path="a", start_line=start, end_line=end, content=content)
    assert (root / "a").read_text() == "".join(f"{line}\n" for line in lines)
    assert result.output.startswith(said)


@pytest.mark.parametrize(
    ("start", "end", "why", "call"),
    [
        (8, 9, "start_line 8 is past the end: calc.py has 6 lines.", "start_line=7, end_line=6"),
        (5, 9, "end_line 9 is past the end: calc.py has 6 lines.", "start_line=5, end_line=6"),
        (0, 2, "start_line is 0, and the first line is 1: calc.py has 6 lines.", "start_line=1, end_line=2"),
        (4, 2, "end_line 2 comes before start_line 4.", "start_line=4, end_line=4"),
    ],
)
def test_a_wrong_range_says_what_the_file_has_and_the_call_that_would_do(
    calc: Path, do: Do, start: int, end: int, why: str, call: str
) -> None:
    result = do("edit_lines", path="calc.py", start_line=start, end_line=end, content="x")
    assert result.output == f"error: {why} Nothing was written."
    assert "Lines near there:\n" in (result.feedback or "")
    assert f'edit_lines(path="calc.py", {call}, content="x").' in (result.feedback or "")
    assert calc.read_text() == CALC


def test_a_range_in_an_empty_file(root: Path, do: Do) -> None:
    (root / "a").touch()
    do("read", path="a")
    result = do("edit_lines", path="a", start_line=1, end_line=1, content="x")
    assert result.output == "error: end_line 1 is past the end: a has 0 lines. Nothing was written."
    assert result.feedback == 'To insert there: edit_lines(path="a", start_line=1, end_line=0, content="x").'
    assert do("edit_lines", path="a", start_line=1, end_line=0, content="x").success
    assert (root / "a").read_text() == "x\n"


def test_edit_lines_needs_a_file_that_was_read(root: Path, do: Do) -> None:
    (root / "a").write_text("one\n")
    result = do("edit_lines", path="a", start_line=1, end_line=1, content="1")
    assert result.output.startswith("error: you have not read a,")
    assert result.feedback == 'Call read(path="a") first.'


def test_edit_lines_leaves_out_line_numbers_copied_from_read(calc: Path, do: Do) -> None:
    result = do("edit_lines", path="calc.py", start_line=2, end_line=2, content="   2|     return a + b")
    assert calc.read_text() == CALC.replace("a - b", "a + b")
    assert "(line numbers copied from read were left out)" in result.output


def test_edit_lines_keeps_the_style_of_the_file(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\nthree")
    do("read", path="a")
    do("edit_lines", path="a", start_line=1, end_line=1, content="1\n1b\n")
    do("edit_lines", path="a", start_line=4, end_line=4, content="3\n")
    assert (root / "a").read_bytes() == b"\xef\xbb\xbf1\r\n1b\r\ntwo\r\n3"


def test_a_long_change_is_shown_by_its_ends(root: Path, do: Do) -> None:
    (root / "a").write_text("one\n")
    do("read", path="a")
    result = do("edit_lines", path="a", start_line=1, end_line=1, content="\n".join(map(str, range(200))))
    assert "a has 200 lines now" in result.output
    assert "\n    …\n" in result.output
    assert result.output.endswith(" 200| 199")
    assert result.output.count("\n") < 50


def test_the_preview_is_the_diff_of_what_then_happens(
    calc: Path, do: Do, preview: Callable[..., str]
) -> None:
    shown = preview("edit", path="calc.py", old="a - b", new="a + b")
    assert shown == (
        "--- a/calc.py\n+++ b/calc.py\n@@ -1,5 +1,5 @@\n"
        " def add(a, b):\n-    return a - b\n+    return a + b\n \n \n def mul(a, b):"
    )
    assert (
        preview("edit_lines", path="calc.py", start_line=2, end_line=2, content="    return a + b") == shown
    )
    refused = preview("edit", path="calc.py", old="nowhere to be found", new="x")
    assert refused.startswith("This would be refused: old is not in calc.py")
