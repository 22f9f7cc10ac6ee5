"""A new user and the real default model at a terminal: nothing leads to a dead end or to a stack trace."""

import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Start, Terminal

PROMPT = r"(?m)^>$"
QUESTION = r"y allow"
QUICK = [
    part
    for setting in (
        "trainer.siblings=0",
        "trainer.anchors=0",
        "trainer.max_steps=3",
        "trainer.gate=false",  # so few steps need not be enough for it
        "sampling.max_tokens=80",
        "budget.turns=3",
    )
    for part in ("--set", setting)
]
"""An update of seconds instead of one or two minutes; what it learns is no matter here."""


def killed(screen: "Terminal") -> None:
    """As a crash ends it."""
    assert screen.child.pid is not None
    os.kill(screen.child.pid, signal.SIGKILL)
    screen.child.close()


def asked(screen: "Terminal", words: str) -> None:
    """Give the model a task; it gets to its first question."""
    screen.sees(PROMPT)
    screen.keys(f"{words}\r")
    screen.sees(QUESTION, 120)


def denied(screen: "Terminal", words: str) -> None:
    """Deny the call that is asked about, with a correction."""
    time.sleep(1)  # nobody answers a question that they have not read
    screen.keys("n")
    screen.sees("What should it do instead")
    screen.keys(f"{words}\r")


def stopped(screen: "Terminal") -> None:
    """Back to the prompt, from wherever the turn is."""
    end = time.monotonic() + 180
    while not re.search(PROMPT, screen.text):
        assert time.monotonic() < end, screen.text
        screen.keys("\x03")
        time.sleep(2)


def resumed(terminal: "Start", log: str, shown: str) -> "Terminal":
    """The session goes on in another process, and shows where it was."""
    return terminal([], arguments=["--resume", log, *QUICK], model="", prompt=shown)


@pytest.mark.slow
def test_set_up_a_task_a_correction_undo_and_two_crashes(terminal: "Start") -> None:
    first = terminal([], arguments=QUICK, model="", prompt=r"Number, name or folder")
    assert "Which model shall work with you?" in first.text
    first.keys("\r")
    first.sees(r"qwen2\.5-coder-0\.5b it is")
    asked(first, "Line 2 of a.txt must say 2. Change it.")
    before = (first.project / "a.txt").read_text()
    denied(first, "Use edit_lines with start_line 2 and end_line 2.")
    first.sees(r"divergence \d+\.\d\d → \d+\.\d\d nats", 180)
    first.sees("likely to the model")
    stopped(first)
    first.keys("/undo\r")
    first.sees("Undone: the turn")
    assert (first.project / "a.txt").read_text() == before
    asked(first, "Show me a.txt.")
    killed(first)  # in the middle of a turn, at a question

    second = resumed(terminal, str(first.log), r"resumed\s+after")
    second.sees("Say how to go on")
    asked(second, "Line 3 of a.txt must say 3. Change it.")
    denied(second, "Use edit_lines with start_line 3 and end_line 3.")
    second.sees("learning|reading")
    time.sleep(3)
    killed(second)  # in the middle of an update

    third = resumed(terminal, str(first.log), r"resumed\s+after")
    third.sees(r"divergence \d+\.\d\d → \d+\.\d\d nats", 300)  # what the crash left is learned now
    third.sees(PROMPT, 60)
    third.keys("/metrics\r")
    third.sees("samples")
    for screen in (first, second, third):
        assert "Traceback" not in screen.text
    third.sees(PROMPT)
    third.keys("/quit\r")
    assert third.ends() == 0
    assert [event["t"] for event in third.records("rewound")] == ["rewound"]
    assert third.records("session_resumed")
