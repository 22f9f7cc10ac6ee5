"""The UI `terminal`: what is typed while the model, a tool or an update works."""

import os
import pty
import termios
import time
from typing import TYPE_CHECKING, Any

from continualcode.plugins.uis.terminal.working import waiting

if TYPE_CHECKING:
    from conftest import Start, Terminal

SLEEP = {"name": "bash", "arguments": {"command": "sleep 1.5"}}
WRITE = {"name": "write", "arguments": {"path": "b.txt", "content": "x\n"}}
SLOW: dict[str, Any] = {"model": "slow:{}", "arguments": ("--plugin", "slow_model")}


def said(screen: "Terminal") -> list[str]:
    return [record["text"] for record in screen.records("prompt_submitted")]


def leave(screen: "Terminal") -> None:
    screen.sees(r"(?m)^>$")
    screen.keys("\x04")
    assert screen.ends() == 0


def test_a_line_typed_ahead_is_shown_survives_a_question_and_stands_in_the_next_prompt(
    terminal: "Start",
) -> None:
    screen = terminal([SLEEP, WRITE, "done", "fine"])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("y")
    screen.sees("running bash")
    screen.keys("next thinh\x7fg")
    screen.sees("> next thing▏")
    screen.sees(r"● write[\s\S]*kept for your next prompt: next thing")
    screen.keys("y")
    screen.sees(r"(?m)^> next thing$")
    screen.keys("\r")
    screen.sees("fine")
    leave(screen)
    assert said(screen) == ["go", "next thing"]


def test_enter_sends_it_when_the_turn_is_over_and_up_takes_it_back(terminal: "Start") -> None:
    screen = terminal(["word " * 30, "second", "third"], **SLOW)
    screen.keys("go\r")
    screen.sees("│ word")
    screen.keys("first\rsecon\r")
    screen.sees(r"> first +\(next; .*\n> secon +\(next;")
    screen.keys("\x1b[A")
    screen.sees("> secon▏")
    screen.keys("d\r")
    screen.sees(r"(?m)^> second$[\s\S]*third")
    leave(screen)
    assert said(screen) == ["go", "first", "second"]


def test_a_note_typed_ahead_is_taken_at_the_next_question(terminal: "Start") -> None:
    screen = terminal([SLEEP, WRITE, "done"])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("y")
    screen.sees("running bash")
    screen.keys("/note small steps\r")
    screen.sees(r"Noted, and it joins your next correction: small steps[\s\S]*y allow")
    screen.keys("y")
    leave(screen)
    assert [note["text"] for note in screen.records("note_given")] == ["small steps"]


def test_a_line_that_is_being_typed_when_a_question_comes_up_goes_on_and_decides_nothing(
    terminal: "Start",
) -> None:
    screen = terminal([SLEEP, WRITE, "done"])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("y")
    screen.sees("running bash")
    typed = ""
    while "● write" not in screen.text:
        screen.keys("y")
        typed += "y"
        time.sleep(0.2)
    screen.keys("y")
    screen.sees(f"kept for your next prompt: {typed}y")
    assert len(screen.records("decision_made")) == 1


def test_what_was_typed_while_nobody_read_is_not_lost_and_the_terminal_is_as_it_was() -> None:
    ours, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        assert waiting(terminal) == ""
        os.write(ours, "né".encode())  # no whole line, which is all that a terminal gives out otherwise
        end = time.monotonic() + 10
        while not (found := waiting(terminal)) and time.monotonic() < end:
            time.sleep(0.01)
        assert found == "né" and waiting(terminal) == ""
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(ours)
        os.close(terminal)


def test_a_slash_at_a_question_begins_a_line_of_which_no_key_decides(terminal: "Start") -> None:
    screen = terminal([WRITE, "done"])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("/note nay\r")
    screen.sees(r"Noted, and it joins your next correction: nay[\s\S]*y allow")
    screen.keys("/metrics")
    screen.sees("kept for your next prompt: /metrics")
    assert not screen.records("decision_made")
    time.sleep(0.8)
    screen.keys("y")
    screen.sees(r"(?m)^> /metrics$")
    screen.keys("\r")
    screen.sees("0 applied")
    leave(screen)
    assert [note["text"] for note in screen.records("note_given")] == ["nay"]


def test_a_turn_that_is_stopped_puts_what_waited_back_into_the_line(terminal: "Start") -> None:
    screen = terminal(["word " * 100], **SLOW)
    screen.keys("go\r")
    screen.sees("│ word")
    screen.keys("one\rtwo")
    screen.sees("> two▏")
    screen.keys("\x03")
    screen.sees(r"Stopped\.[\s\S]*\n> one\n… two\n")
    screen.keys("\x03")
    leave(screen)
    assert said(screen) == ["go"]


def test_an_update_takes_the_next_line_and_ctrl_c_stops_it_with_the_weights_as_they_were(
    terminal: "Start",
) -> None:
    screen = terminal([WRITE, "done"], **SLOW, SLOW_STEP="0.5")
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit_lines\r")
    screen.sees("learning")
    screen.keys("then stop\r")
    screen.sees(r"> then stop +\(next")
    screen.keys("\x03")
    screen.sees(r"nothing learned: interrupted by the user; the weights stand[\s\S]*\n> then stop\n")
    screen.keys("\x03")
    leave(screen)
    (started,), (failed,) = screen.records("session_started"), screen.records("update_failed")
    assert failed["weights"] == started["weights"]
    assert not screen.records("update_applied")
