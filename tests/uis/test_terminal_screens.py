"""Whole screens of the UI `terminal`, as text, at 80 and 40 columns; wide characters, colours, resizing.

Each screen is a file in tests/uis/screens. With UPDATE_SCREENS=1 in the environment this test writes them
anew: read the difference before you commit it.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Start, Terminal

SCREENS = Path(__file__).parent / "screens"
BEFORE = "def größe(name):\n    return f'{name} 日本語'\n\n\nprint('🎉 done')\n"
AFTER = BEFORE.replace("(name)", "(name: str) -> str").replace(
    "語", "語 und noch viel mehr Text in dieser Zeile"
)
READ = {"name": "read", "arguments": {"path": "größe.py"}}
WRITE = {"name": "write", "arguments": {"path": "größe.py", "content": AFTER}}
ANSWER = "# Done\n\nThe *return* line is longer now:\n\n```python\nprint('日本語')\n```\n\n- one\n- two\n"
REPLY = {"name": "reply", "arguments": {"text": ANSWER}}


def at_the_question(start: "Start", folder: Path, columns: int, rows: int = 40, **env: str) -> "Terminal":
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "größe.py").write_text(BEFORE)
    screen = start(
        [READ, WRITE, REPLY],
        size=(rows, columns),
        arguments=("--set", "sandbox.name=none"),  # a screen must not depend on the machine
        HOME=str(folder),
        **env,
    )
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("y")
    screen.sees(r"● write[\s\S]*y allow[\s\S]*always allow: write")
    return screen


def same(screen: str, name: str) -> None:
    """`screen` is as in the file, but for digests, seconds, and how far down the status line is.

    It is at the bottom once the terminal has said where the cursor is, below the text until then.
    """
    *above, status = screen.rstrip().split("\n")
    screen = "\n".join([*above, ""]).rstrip() + "\n\n" + status
    masked = re.sub(r"\b[0-9a-f]{8}\b", "01234567", screen)
    masked = re.sub(r"\b\d+\.\d s\b", "0.0 s", masked) + "\n"
    file = SCREENS / f"{name}.txt"
    if os.environ.get("UPDATE_SCREENS"):
        file.write_text(masked)
    assert masked == file.read_text()


@pytest.mark.parametrize("columns", [80, 40])
def test_a_question(terminal: "Start", tmp_path: Path, columns: int) -> None:
    same(at_the_question(terminal, tmp_path, columns).text, f"question-{columns}")


@pytest.mark.parametrize("columns", [80, 40])
def test_what_was_learned_and_an_answer(terminal: "Start", tmp_path: Path, columns: int) -> None:
    screen = at_the_question(terminal, tmp_path, columns, rows=60)
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit_lines\r")
    screen.sees(r"(?m)• two[\s\S]*^>$")
    same(screen.text, f"learned-{columns}")


@pytest.mark.parametrize("columns", [80, 40])
def test_the_keys_of_a_question(terminal: "Start", tmp_path: Path, columns: int) -> None:
    screen = at_the_question(terminal, tmp_path, columns, rows=60)
    screen.keys("?")
    screen.sees(r"Ctrl-C +twice")
    same(screen.text, f"keys-{columns}")


def test_a_window_that_is_made_narrower_shows_the_same_question(terminal: "Start", tmp_path: Path) -> None:
    screen = at_the_question(terminal, tmp_path, 100)
    screen.resize(40, 46)
    screen.sees(r"(?m)^  y allow  n deny & teach  e edit[\s\S]*always allow")
    for line in screen.text.splitlines():
        assert len(line) <= 46
    screen.keys("y")
    screen.sees(r"• two")


def test_a_long_prompt_survives_resizing(terminal: "Start", tmp_path: Path) -> None:
    screen = terminal(["ok"], size=(30, 80))
    words = " ".join(f"word{n}" for n in range(20))
    screen.keys(words)
    screen.sees("word19")
    screen.resize(30, 40)
    screen.sees(r"(?m)^> word0 word1 word2 word3 word4 word5 wo$\n  rd6")
    screen.keys(" 日本語\r")
    screen.sees(r"(?m)^ok$")
    assert screen.records("prompt_submitted")[0]["text"] == f"{words} 日本語"


def test_no_color_leaves_marks_instead_of_colours(terminal: "Start", tmp_path: Path) -> None:
    screen = at_the_question(terminal, tmp_path, 80, rows=60, NO_COLOR="1")
    assert {fg for fg, _ in screen.colours("+ def")} == {"default"}
    assert {bg for _, bg in screen.colours("+ def")} == {"default"}
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit_lines\r")
    screen.sees(r"\{\+a\+\}\{\+s\+\}[\s\S]*\{\+more\+\} or \[-less-\] likely")


def test_light_and_dark_backgrounds_have_their_own_colours(terminal: "Start", tmp_path: Path) -> None:
    seen = {
        at_the_question(terminal, tmp_path, 80, COLORTERM="truecolor", COLORFGBG=of).colours("- def").pop()[1]
        for of in ("0;15", "15;0")
        if not (tmp_path / "log.jsonl").unlink(missing_ok=True)
    }
    assert seen == {"ffdfe0", "43191c"}


def test_a_diff_has_the_colours_of_its_language_on_those_of_the_change(
    terminal: "Start", tmp_path: Path
) -> None:
    screen = at_the_question(terminal, tmp_path, 80, COLORTERM="truecolor")
    cells = screen.colours("+ def größe(name: str)")
    assert {bg for _, bg in cells} == {"12361f"}
    assert len({fg for fg, _ in cells}) > 2


def test_an_answer_is_rendered_while_it_is_said(terminal: "Start") -> None:
    answer = {
        "name": "reply",
        "arguments": {"text": "It **is** `done`.\n\n- one\n- two\n" + "and more " * 12},
    }
    screen = terminal([answer], model="slow:{}", arguments=("--plugin", "slow_model"))
    screen.keys("go\r")
    screen.sees(r"│ It is done\.\n[\s\S]*answering")
    screen.sees(r"│ +• one\n[\s\S]*answering")
    screen.sees(r"(?m)^It is done\.$[\s\S]*^>$")


def test_the_theme_can_be_set(terminal: "Start", tmp_path: Path) -> None:
    (tmp_path / "continualcode").mkdir()
    (tmp_path / "continualcode" / "continualcode.toml").write_text('[ui]\ntheme = "light"\n')
    screen = at_the_question(terminal, tmp_path, 80, COLORTERM="truecolor", COLORFGBG="15;0")
    assert screen.colours("- def").pop()[1] == "ffdfe0"


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_dumb_terminal_gets_the_plain_ui(terminal: "Start", environment: dict[str, str]) -> None:
    screen = terminal(prompt=r"(?m)^>$", **environment)
    screen.keys("go\r")
    screen.sees(r"\[y\]es  \[a\]lways: every read")
    assert "\x1b" not in screen.text


def test_what_a_model_says_cannot_move_the_cursor(terminal: "Start") -> None:
    screen = terminal(["before\x1b[2J\x1b[Hafter \x1b]0;title\x07 \u202eabc"])
    screen.keys("go\r")
    shown = screen.sees("after")
    assert r"before\x1b[2J\x1b[Hafter" in shown
    assert r"\u202eabc" in shown
