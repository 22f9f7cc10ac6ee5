"""A correction that asks for what an earlier one denied is noticed, and nothing else is."""

import doctest
from collections.abc import Callable

import pytest

from continualcode.core.data import Call
from continualcode.core.events import ContradictionNoticed
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.feedback import contradictions

Play = Callable[..., Session]

FILES = {"a.py": "x = 1\n", "b.py": "y = 1\n", "c.md": "# C\n"}
YES = Answer(verdict="allow")
ANSWER = Call(tool="reply", arguments={"text": "Done."})
USE_LINES = "Use edit_lines; don't overwrite the file with write."
USE_WRITE = "Don't fiddle with edit_lines: use write."


def read(path: str) -> Call:
    return Call(tool="read", arguments={"path": path})


def write(path: str) -> Call:
    return Call(tool="write", arguments={"path": path, "content": "z = 1\n"})


def lines(path: str) -> Call:
    return Call(tool="edit_lines", arguments={"path": path, "start_line": 1, "end_line": 1, "content": "z\n"})


def bash(command: str) -> Call:
    return Call(tool="bash", arguments={"command": command})


def no(words: str) -> Answer:
    return Answer(verdict="deny", reason=words)


def edited(command: str) -> Answer:
    return Answer(verdict="allow", arguments={"command": command})


def noticed(session: Session) -> list[tuple[str, str]]:
    """Of each contradiction, the words of both corrections, the new one's first."""
    assert isinstance(session.ui, ScriptedUI)
    corrections = session.transcript.corrections
    records = [e for e in session.ui.events if isinstance(e, ContradictionNoticed)]
    assert len([m for m in session.ui.messages if "goes against" in m]) == len(records)
    return [(corrections[r.correction].feedback, corrections[r.earlier].feedback) for r in records]


def test_tools_the_other_way_round(play: Play) -> None:
    turns = [read("a.py"), write("a.py"), read("b.py"), lines("b.py")]
    session = play(turns, files=FILES, answers=[YES, no(USE_LINES), YES, no(USE_WRITE)])
    assert noticed(session) == [(USE_WRITE, USE_LINES)]


AGAIN = [read("a.py"), write("a.py"), lines("a.py"), ANSWER, read("a.py"), lines("a.py"), write("a.py")]


def test_where_the_words_name_no_tool_the_approved_call_says_what_is_wanted(play: Play) -> None:
    answers = [YES, no(USE_LINES), YES, YES, no("Not like that."), YES]
    session = play(AGAIN, files=FILES, answers=answers, inputs=["Do it.", "And again."])
    assert noticed(session) == [("Not like that.", USE_LINES)]


@pytest.mark.parametrize("recorded", [True, False])
def test_of_the_earlier_one_it_does_if_it_was_recorded(play: Play, recorded: bool) -> None:
    answers = [YES, no("Not like that."), YES, YES, no(USE_WRITE), YES]
    on = {"approved_retry": recorded}
    session = play(AGAIN, files=FILES, answers=answers, inputs=["Do it.", "And again."], feedback=on)
    assert noticed(session) == [(USE_WRITE, "Not like that.")] * recorded


def test_edits_the_other_way_round(play: Play) -> None:
    turns = [bash("pip install a"), bash("uv pip install b")]
    session = play(turns, answers=[edited("uv pip install a"), edited("pip install b")])
    (found,) = noticed(session)
    assert "uv pip install b" in found[0] and "uv pip install a" in found[1]


@pytest.mark.parametrize(
    "answers",
    [
        [edited("uv pip install a"), edited("uv pip install -q b")],
        [edited("uv pip install a"), no("Not now.")],
        [no("Not now."), edited("pip install b")],
    ],
    ids=["another change", "a denial that wants nothing", "nothing wanted before"],
)
def test_corrections_of_the_same_tool_that_can_both_be_followed(play: Play, answers: list[Answer]) -> None:
    assert noticed(play([bash("pip install a"), bash("uv pip install b")], answers=answers)) == []


def test_a_call_of_the_wanted_tool_that_is_denied_for_its_arguments(play: Play) -> None:
    turns = [read("a.py"), write("a.py"), lines("a.py")]
    session = play(turns, files=FILES, answers=[YES, no(USE_LINES), no("The wrong lines.")])
    assert noticed(session) == []


def test_another_kind_of_file_is_another_situation(play: Play) -> None:
    turns = [read("a.py"), write("a.py"), read("c.md"), lines("c.md")]
    session = play(turns, files=FILES, answers=[YES, no(USE_LINES), YES, no(USE_WRITE)])
    assert noticed(session) == []


def test_so_is_a_file_that_there_is_not_yet(play: Play) -> None:
    turns = [read("a.py"), write("a.py"), lines("new.py")]
    session = play(turns, files=FILES, answers=[YES, no(USE_LINES), no(USE_WRITE)])
    assert noticed(session) == []


def test_what_was_unlearned_is_not_gone_against(play: Play) -> None:
    turns = [read("a.py"), write("a.py"), ANSWER, lines("a.py")]
    answers = [YES, no(USE_LINES), no(USE_WRITE)]
    inputs = ["Do it.", "/undo update", "Again."]
    assert noticed(play(turns, files=FILES, answers=answers, inputs=inputs)) == []


def test_the_last_of_several_is_named(play: Play) -> None:
    again = f"{USE_LINES} Again."
    turns = [read("a.py"), write("a.py"), write("a.py"), lines("a.py")]
    session = play(turns, files=FILES, answers=[YES, no(USE_LINES), no(again), no(USE_WRITE)])
    assert noticed(session) == [(USE_WRITE, again)]


def test_the_examples() -> None:
    assert doctest.testmod(contradictions).failed == 0
