"""`glob` and `grep`."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import ToolResult
from continualcode.core.workspace import RunContext, Workspace
from continualcode.plugins.tools.matcher import InvalidPattern, TooSlow, search_files
from continualcode.plugins.tools.patterns import compile_pattern
from continualcode.plugins.tools.search import Grep

Do = Callable[..., ToolResult]
ENDLESS = "(a+)+$"
"""Takes time exponential in the length of a line of a's that ends otherwise."""


@pytest.fixture
def tree(root: Path) -> Path:
    """A small project with the usual clutter."""
    for name, text in {
        "README.md": "The project\n",
        "src/app.py": "import os\n\n\ndef main():\n    return 1\n",
        "src/lib/util.py": "def helper():\n    return main\n",
        "src/lib/page.tsx": "export default 1\n",
        "tests/test_app.py": "def test_main():\n    pass\n",
        ".git/config": "def in git\n",
        "node_modules/x/index.js": "def in modules\n",
        "src/__pycache__/app.pyc": "def\0\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


# -- glob ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("**/*.py", ["src/app.py", "src/lib/util.py", "tests/test_app.py"]),
        ("src/*.py", ["src/app.py"]),
        ("src/*", ["src/__pycache__/", "src/app.py", "src/lib/"]),
        ("*", [".git/", "README.md", "node_modules/", "src/", "tests/"]),
        (".", [".git/", "README.md", "node_modules/", "src/", "tests/"]),
        ("./src/**", ["src/app.py", "src/lib/page.tsx", "src/lib/util.py"]),
        ("src", ["src/__pycache__/", "src/app.py", "src/lib/"]),
        ("src/lib/", ["src/lib/page.tsx", "src/lib/util.py"]),
        ("**/*.{py,tsx}", ["src/app.py", "src/lib/page.tsx", "src/lib/util.py", "tests/test_app.py"]),
        ("src/lib/[tu]*.py", ["src/lib/util.py"]),
        ("README.md", ["README.md"]),
        ("node_modules/**/*.js", ["node_modules/x/index.js"]),
        (".git/*", [".git/config"]),
    ],
)
def test_glob_lists_what_matches_in_order(tree: Path, do: Do, pattern: str, paths: list[str]) -> None:
    assert do("glob", pattern=pattern).output.split("\n") == paths


def test_glob_takes_an_absolute_pattern_inside(tree: Path, do: Do) -> None:
    assert do("glob", pattern=f"{tree}/src/*.py").output == "src/app.py"


def test_glob_without_a_folder_looks_everywhere_if_there_is_none_here(tree: Path, do: Do) -> None:
    assert (
        do("glob", pattern="util.py").output
        == "(none at the top; in all folders, as **/util.py:)\nsrc/lib/util.py"
    )


def test_glob_without_a_match_says_what_may_be_meant(tree: Path, do: Do) -> None:
    result = do("glob", pattern="src/utli.py")
    assert result.success
    assert result.output.startswith("no file matches src/utli.py. Did you mean src/lib/util.py")


def test_glob_refuses_to_lead_out(tree: Path, do: Do) -> None:
    result = do("glob", pattern="../*.py")
    assert result.output == "error: ../*.py leads out of the workspace."
    assert result.feedback == 'Patterns are relative to the workspace. Try glob(pattern="*.py").'


def test_glob_counts_what_it_does_not_show(root: Path, do: Do) -> None:
    for n in range(130):
        (root / f"{n:03}").touch()
    rows = do("glob", pattern="*").output.split("\n")
    assert rows[:100] == [f"{n:03}" for n in range(100)]
    assert rows[100:] == ["… and 30 more: use a narrower pattern"]


def test_names_that_are_no_text_can_still_be_shown(root: Path, do: Do) -> None:
    Path(str(root) + "/caf\udce9.txt").write_text("needle\n")
    assert do("glob", pattern="*").output == "caf�.txt"
    assert do("grep", pattern="needle").output == "caf�.txt:1: needle"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("**", "a/b/c", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/x/y/c", True),
        ("a/**/c", "ab/c", False),
        ("*", "a/b", False),
        ("a?c", "a/c", False),
        ("a[!b]c", "axc", True),
        ("a[!b]c", "a/c", False),
        ("a[z-a]c", "a[z-a]c", True),
        ("{a,b}/{c,d}", "b/c", True),
        ("x{a,{b,c}}", "xc", True),
        ("a{b}", "a{b}", True),
        ("a.b", "axb", False),
        ("[", "[", True),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert bool(compile_pattern(pattern).fullmatch(path)) is matches


@given(st.text(st.sampled_from("ab*?[]{},!^-/\\."), max_size=20), st.text("ab/.", max_size=10))
def test_any_text_is_a_pattern(pattern: str, path: str) -> None:
    compile_pattern(pattern).fullmatch(path)


# -- grep ----------------------------------------------------------------------------------------------


def test_grep_names_path_and_line(tree: Path, do: Do) -> None:
    assert do("grep", pattern=r"^def \w+").output.split("\n") == [
        "src/app.py:4: def main():",
        "src/lib/util.py:1: def helper():",
        "tests/test_app.py:1: def test_main():",
    ]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("src/lib", ["src/lib/util.py:2:     return main"]),
        ("src/app.py", ["src/app.py:4: def main():"]),
        (
            "*.py",
            [
                "src/app.py:4: def main():",
                "src/lib/util.py:2:     return main",
                "tests/test_app.py:1: def test_main():",
            ],
        ),
        ("tests/*.py", ["tests/test_app.py:1: def test_main():"]),
    ],
)
def test_grep_looks_where_it_is_told(tree: Path, do: Do, path: str, found: list[str]) -> None:
    assert do("grep", pattern="main", path=path).output.split("\n") == found


def test_grep_takes_a_file_name_with_brackets_literally(root: Path, do: Do) -> None:
    (root / "[id].tsx").write_text("needle\n")
    (root / "i.tsx").write_text("needle\n")
    assert do("grep", pattern="needle", path="[id].tsx").output == "[id].tsx:1: needle"


def test_grep_says_how_much_it_searched_in_vain(tree: Path, do: Do) -> None:
    output = do("grep", pattern="zebra").output
    assert output.startswith("no line in any file matches zebra (5 text files searched).")


def test_grep_of_a_missing_path_names_the_likely_one(tree: Path, do: Do) -> None:
    result = do("grep", pattern="x", path="util.py")
    assert result.output == "error: there is no file or folder util.py."
    assert result.feedback == "Did you mean src/lib/util.py?"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("foo(", "missing ), unterminated subpattern at position 3"),
        ("*x", "nothing to repeat at position 0"),
        ("a{99999999999999999999}", "the repetition number is too large"),
    ],
)
def test_an_invalid_expression_names_the_position_and_how_to_escape(
    tree: Path, do: Do, pattern: str, said: str
) -> None:
    result = do("grep", pattern=pattern)
    assert result.output == f"error: pattern is not a regular expression: {said} in {pattern!r}."
    assert "put a backslash before special characters: grep(pattern=" in (result.feedback or "")


def test_an_empty_expression_is_refused(tree: Path, do: Do) -> None:
    assert do("grep", pattern="").output == "error: pattern is empty."


def test_grep_skips_binary_files_links_out_and_special_files(root: Path, tmp_path: Path, do: Do) -> None:
    (tmp_path / "outside").write_text("needle\n")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "folder").symlink_to(tmp_path)
    (root / "binary").write_bytes(b"needle\0")
    (root / "text").write_bytes(b"\xff needle\n")
    rows = do("grep", pattern="needle").output.split("\n")
    assert rows == ["text:1: � needle", "(2 files could not be searched: folder, link)"]


def test_grep_counts_what_it_does_not_show(root: Path, do: Do) -> None:
    (root / "a").write_text("x\n" * 250)
    rows = do("grep", pattern="x").output.split("\n")
    assert rows[0] == "a:1: x" and rows[99] == "a:100: x"
    assert rows[100:] == ["… and 150 more lines: use a narrower pattern or a path"]


def test_grep_sees_lines_without_their_ends(root: Path, do: Do) -> None:
    (root / "a").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert do("grep", pattern="^one$").output == "a:1: one"
    assert do("grep", pattern="^$").output.startswith("no line")


def test_an_endless_expression_is_stopped_and_named(root: Path) -> None:
    (root / "a").write_text("a" * 60 + "!\n")
    began = time.monotonic()
    result = Grep(seconds=0.5).run({"pattern": ENDLESS}, RunContext(Workspace(root)))
    assert time.monotonic() - began < 5
    assert result.output == "error: the pattern took too long, in or near a, and was stopped."
    assert "Use a simpler pattern" in (result.feedback or "")


def test_an_endless_expression_can_be_interrupted(root: Path) -> None:
    (root / "a").write_text("a" * 60 + "!\n")
    context = RunContext(Workspace(root))
    timer = threading.Timer(0.5, context.cancelled.set)
    timer.start()
    began = time.monotonic()
    result = Grep(seconds=60).run({"pattern": ENDLESS}, context)
    timer.join()
    assert time.monotonic() - began < 5
    assert result == ToolResult(output="interrupted", success=False)


def test_a_search_over_too_many_files_returns_what_it_found(root: Path) -> None:
    for n in range(2000):
        (root / f"{n}").write_text("x\n")
    result = Grep(seconds=0.02).run({"pattern": "x"}, RunContext(Workspace(root)))
    assert result.success
    assert result.output.endswith("(stopped after 0.02 s: not all files were looked at)")


def test_the_matcher_takes_more_than_a_pipe_holds() -> None:
    files = ((f"f{n}", b"needle " * 50_000 + b"\n") for n in range(20))
    found = search_files("needle", files, 30, threading.Event())
    assert (found.total, found.files, len(found.lines)) == (20, 20, 20)


def test_the_matcher_says_which_file_it_was_in() -> None:
    files = [("good", b"a\n"), ("bad", b"a" * 60 + b"!\n")]
    with pytest.raises(TooSlow) as error:
        search_files(ENDLESS, files, 0.3, threading.Event())
    assert error.value.path == "bad"
    with pytest.raises(InvalidPattern, match="position 0"):
        search_files("[", files, 10, threading.Event())
