"""The UI `terminal`: every key that decides a call, pressed in a real pseudo-terminal."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Start, Terminal

WRITE = {"name": "write", "arguments": {"path": "a.txt", "content": "one\n2\nthree\n"}}
REPLY = {"name": "reply", "arguments": {"text": "Line 2 says **2** now."}}
QUESTION = r"y allow"


def at_the_write(start: "Start", **env: str) -> "Terminal":
    """A session whose model has read the file and proposes to overwrite it."""
    screen = start(**env)
    screen.keys("go\r")
    screen.sees(QUESTION)
    screen.keys("y")
    screen.sees(r"● write[\s\S]*y allow")
    return screen


def finish(screen: "Terminal") -> None:
    """Let the rest be, and leave."""
    screen.sees(r"(?m)^>$")
    screen.keys("/quit\r")
    assert screen.ends() == 0


def test_y_allows_once(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("y")
    screen.sees("Line 2 says 2 now")
    assert (screen.project / "a.txt").read_text() == "one\n2\nthree\n"
    finish(screen)
    assert [d["verdict"] for d in screen.records("decision_made") if d["by"] == "user"] == ["allow", "allow"]
    assert not screen.records("rule_added")


def test_a_diff_of_the_real_result_stands_above_the_question(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    assert re.search(
        r"a\.txt  \+1 -1\n  1 1   one\n  2   - two\n    2 \+ 2\n  3 3   three\n  y allow", screen.text
    )
    assert (screen.project / "a.txt").read_text() == "one\ntwo\nthree\n"
    (added,) = screen.colours("+ 2")
    (removed,) = screen.colours("- two")
    assert added[1] != removed[1] != "default"


def test_a_adds_exactly_the_rule_that_is_written_beside_it(terminal: "Start") -> None:
    screen = terminal()
    screen.keys("go\r")
    screen.sees("a always allow: every read")
    screen.keys("a")
    screen.sees(r'a always allow: write path="a\.txt"')
    screen.keys("a")
    finish(screen)
    rules = [r["rule"] for r in screen.records("rule_added")]
    assert [(r["tool"], r["arguments"], r["path"]) for r in rules] == [
        ("read", {}, None),
        ("write", {}, "a.txt"),
    ]


def test_n_asks_for_words_and_learns_from_them_at_once(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("n")
    screen.sees("What should it do instead")
    screen.keys("use edit_lines — größer ✓\r")
    screen.sees(r"denied by you: use edit_lines — größer ✓")
    screen.sees(r"divergence 1\.00 → 0\.25 nats \(25% left\)")
    finish(screen)
    assert [c["feedback"] for c in screen.records("correction_given")] == ["use edit_lines — größer ✓"]
    assert (screen.project / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_n_without_words_is_asked_for_again_and_ctrl_c_leads_back(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("n")
    screen.sees("What should it do instead")
    screen.keys("\r")
    screen.sees("a denial without words teaches nothing")
    screen.keys("\x03")
    screen.sees(QUESTION)
    assert not screen.records("decision_made")[1:]


@pytest.mark.parametrize(("then", "verdict"), [("y", "allow"), ("n", "deny")])
def test_s_decides_without_learning(terminal: "Start", then: str, verdict: str) -> None:
    screen = at_the_write(terminal)
    screen.keys("s")
    screen.sees("nothing will be learned from this decision")
    screen.keys(then)
    if then == "n":
        screen.sees("no reason")
        screen.keys("\r")
    finish(screen)
    last = screen.records("decision_made")[1]
    assert (last["verdict"], last["train"]) == (verdict, False)
    assert not screen.records("correction_given")


def test_s_twice_learns_after_all(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("s")
    screen.sees("learn after all")
    screen.keys("s")
    screen.sees("without learning")
    screen.keys("y")
    finish(screen)
    assert all(d["train"] for d in screen.records("decision_made"))


def test_e_edits_field_by_field_and_shows_what_the_edited_call_would_do(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("e")
    screen.sees(r"path \(string\): a\.txt")
    screen.keys("\r")
    screen.sees(r"content \(string\): one")
    screen.keys("\x1b>")  # the end of the text
    screen.keys("four\r")
    screen.sees(r"as edited:[\s\S]*4 \+ four[\s\S]*y allow as edited")
    screen.keys("y")
    screen.sees("with edited arguments")
    finish(screen)
    assert (screen.project / "a.txt").read_text() == "one\n2\nthree\nfour"
    assert [c["kind"] for c in screen.records("correction_given")] == ["edit"]


def test_an_edited_value_that_cannot_be_is_refused_as_it_is_typed(terminal: "Start") -> None:
    screen = terminal([{"name": "read", "arguments": {"path": "a.txt", "start_line": 1}}])
    screen.keys("go\r")
    screen.sees(QUESTION)
    screen.keys("e")
    screen.sees(r"path \(string\)")
    screen.keys("\r")
    screen.sees(r"start_line \(integer, may be empty\): 1")
    screen.keys("x")
    screen.sees("start_line must be integer")
    screen.keys("\r")
    screen.sees("start_line must be integer")
    screen.keys("\x7f\x7f2\r")
    screen.sees(r"end_line \(integer, may be empty\)")
    screen.keys("\r")
    screen.sees("y allow as edited")
    screen.keys("y")
    finish(screen)
    assert screen.records("tool_started")[0]["call"]["arguments"] == {"path": "a.txt", "start_line": 2}


def test_capital_e_edits_in_the_editor(terminal: "Start", tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/three/3/" "$1"\n')
    editor.chmod(0o755)
    screen = at_the_write(terminal, EDITOR=str(editor))
    screen.keys("E")
    screen.sees(r"as edited:[\s\S]*\+ 3")
    screen.keys("y")
    finish(screen)
    assert (screen.project / "a.txt").read_text() == "one\n2\n3\n"


@pytest.mark.parametrize(("editor", "said"), [("false", "the editor failed"), ("printf '{' >", "not JSON")])
def test_an_editor_that_leaves_nothing_useful_leads_back(terminal: "Start", editor: str, said: str) -> None:
    screen = at_the_write(terminal, EDITOR=editor)
    screen.keys("E")
    screen.sees(said)
    screen.sees(QUESTION)


def test_a_note_joins_the_next_correction(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("!")
    screen.sees("Note:")
    screen.keys("prefer small edits\r")
    screen.sees("Noted")
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit\r")
    finish(screen)
    (correction,) = screen.records("correction_given")
    assert correction["feedback"] == "use edit\n\nprefer small edits"


@pytest.mark.parametrize("key", ["?", "x", "\r", "\x1b[200~y\x1b[201~"], ids=["?", "x", "enter", "paste"])
def test_any_other_key_decides_nothing_and_shows_the_keys(terminal: "Start", key: str) -> None:
    screen = at_the_write(terminal)
    screen.keys(key)
    screen.sees(r"n +deny it and say what to do instead")
    assert len(screen.records("decision_made")) == 1


def test_keys_pressed_before_the_question_is_there_decide_nothing(terminal: "Start") -> None:
    screen = terminal([{"name": "bash", "arguments": {"command": "sleep 1.5"}}, WRITE, REPLY])
    screen.keys("go\r")
    screen.sees(QUESTION)
    screen.keys("y")
    screen.sees("running bash")
    screen.keys("yyy")
    screen.sees(r"● write[\s\S]*y allow")
    assert len(screen.records("decision_made")) == 1


def test_ctrl_c_twice_stops_the_turn_and_ctrl_d_ends_the_session(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("\x03")
    screen.sees("Ctrl-C again stops")
    screen.keys("\x03")
    screen.sees("The session goes on")
    screen.keys("again\r")
    screen.sees(r"Line 2|y allow")
    screen.sees(r"(?m)^>$")
    screen.keys("\x04")
    assert screen.ends() == 0
    assert screen.records("turn_interrupted")
    assert screen.records("session_ended")


def test_ctrl_d_at_a_question_is_no_decision_and_ends_the_session(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("\x04")
    assert screen.ends() == 0
    assert len(screen.records("decision_made")) == 1
    assert screen.records("session_ended")


def test_a_command_stands_whole_and_hides_nothing(terminal: "Start") -> None:
    command = "echo one; echo two\necho " + "x" * 200 + " \x1b[8m; rm -rf /"
    screen = terminal([{"name": "bash", "arguments": {"command": command}}])
    screen.keys("go\r")
    shown = screen.sees(QUESTION)
    assert "rm -rf /" in shown
    assert "x1b[8m" in shown
    assert "echo two" in shown


def test_earlier_corrections_are_offered_by_number_and_with_tab(terminal: "Start") -> None:
    screen = terminal([WRITE, WRITE, WRITE])
    screen.keys("go\r")
    screen.sees(QUESTION)
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit_lines\r")
    for key in ("1", "\t"):
        screen.sees(r"y allow")
        screen.keys("n")
        screen.sees(r"instead\?\n    1 use edit_lines\n  >")
        screen.keys(key)
        screen.sees(r"  > use edit_lines")
        screen.keys("\r")
    finish(screen)
    assert [c["feedback"] for c in screen.records("correction_given")] == ["use edit_lines"] * 3


def test_what_the_tool_advises_is_suggested(terminal: "Start") -> None:
    screen = terminal([WRITE, REPLY])
    screen.keys("go\r")
    screen.sees(r"This would be refused[\s\S]*y allow")
    screen.keys("n")
    screen.sees(r"→ takes what is suggested")
    screen.keys("\x1b[C\r")
    screen.sees("denied by you")
    finish(screen)
    (correction,) = screen.records("correction_given")
    assert 'read(path="a.txt")' in correction["feedback"]


def test_a_number_of_no_earlier_correction_is_no_lesson(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("n")
    screen.sees("instead")
    screen.keys("7\r")
    screen.sees("without words teaches nothing")
    screen.keys(" lines at most\r")
    finish(screen)
    assert [c["feedback"] for c in screen.records("correction_given")] == ["7 lines at most"]


def test_corrections_are_remembered_for_the_next_session(terminal: "Start") -> None:
    screen = at_the_write(terminal)
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit_lines\r")
    finish(screen)
    screen.log.unlink()
    screen = at_the_write(terminal)
    screen.keys("n")
    screen.sees("instead")
    screen.keys("\x1b[A")
    screen.sees(r"  > use edit_lines")
