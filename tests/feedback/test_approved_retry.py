"""Which call answers a correction, and what is learned from it."""

from collections.abc import Callable

import pytest

from continualcode.core.data import Call, Slots
from continualcode.core.events import CorrectionGiven
from continualcode.core.review import Answer
from continualcode.core.session import Session

Play = Callable[..., Session]
Given = Callable[[Session], list[CorrectionGiven]]

FILES = {"a.py": "x = 1\ny = 2\n"}
ON = {"approved_retry": True}
READ = Call(tool="read", arguments={"path": "a.py"})
WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x = 3\n"})
LINES = Call(
    tool="edit_lines", arguments={"path": "a.py", "start_line": 1, "end_line": 1, "content": "x = 3\n"}
)
CAT = Call(tool="bash", arguments={"command": "cat a.py"})
ANSWER = Call(tool="reply", arguments={"text": "Done."})
YES = Answer(verdict="allow")
WORDS = "Use edit_lines; don't overwrite the file."
NO = Answer(verdict="deny", reason=WORDS)


def retries(session: Session) -> list[tuple[Call, Call | None]]:
    """What was denied, and what was approved instead."""
    seen = session.transcript
    found = [c for c in seen.corrections.values() if c.kind == "approved_retry"]
    assert all(seen.sampled(c.retry).call is not None for c in found)
    return [(seen.call(c.call_id).call, c.solution) for c in found]


def test_the_approved_call_becomes_the_demonstration_for_the_denied_one(play: Play, given: Given) -> None:
    session = play([READ, WRITE, LINES, ANSWER], files=FILES, answers=[YES, NO, YES], feedback=ON)
    denied, again = given(session)
    assert (denied.kind, again.kind) == ("deny", "approved_retry")
    assert (again.sample, again.call_id, again.solution) == (denied.sample, denied.call_id, LINES)
    assert session.transcript.sampled(again.retry).call == LINES


def test_the_teacher_is_told_the_call_and_no_words(play: Play, given: Given) -> None:
    session = play([READ, WRITE, LINES, ANSWER], files=FILES, answers=[YES, NO, YES], feedback=ON)
    _, again = given(session)
    assert session.transcript.slots(again) == Slots()
    started = list(session.transcript.updates.values())[-1]
    (row,) = [e for e in started.examples if e.correction == again.id][:1]
    told = bytes(session.transcript.expand(row.teacher)).decode()
    assert "This is what I want instead" in told
    assert session.policy.format_call(LINES) in told
    assert WORDS not in told


def test_it_is_off_unless_it_is_turned_on(play: Play) -> None:
    assert retries(play([READ, WRITE, LINES], files=FILES, answers=[YES, NO, YES])) == []


def test_reading_on_the_way_is_not_the_answer(play: Play) -> None:
    session = play([READ, WRITE, READ, LINES], files=FILES, answers=[YES, NO, YES, YES], feedback=ON)
    assert retries(session) == [(WRITE, LINES)]


def test_nor_is_a_read_that_nobody_was_asked_about(play: Play) -> None:
    turns, answers = [READ, WRITE, READ, LINES], [NO, YES]
    session = play(turns, files=FILES, answers=answers, feedback=ON, approvals="reads")
    assert retries(session) == [(WRITE, LINES)]


def test_a_read_that_the_words_ask_for_is_the_answer(play: Play) -> None:
    said = Answer(verdict="deny", reason="Use read, not cat.")
    session = play([CAT, READ, WRITE], files=FILES, answers=[said, YES, YES], feedback=ON)
    assert retries(session) == [(CAT, READ)]


def test_a_read_instead_of_another_read_is_the_answer(play: Play) -> None:
    other = Call(tool="glob", arguments={"pattern": "**"})
    said = Answer(verdict="deny", reason="You know where it is.")
    session = play([other, READ], files=FILES, answers=[said, YES], feedback=ON)
    assert retries(session) == [(other, READ)]


def test_an_edited_retry_is_shown_as_it_ran(play: Play) -> None:
    wanted = {**LINES.arguments, "content": "x = 4\n"}
    answers = [YES, NO, Answer(verdict="allow", arguments=wanted)]
    session = play([READ, WRITE, LINES], files=FILES, answers=answers, feedback=ON)
    assert retries(session) == [(WRITE, Call(tool="edit_lines", arguments=wanted))]


def test_a_retry_that_did_not_do_its_work_shows_nothing(play: Play) -> None:
    beyond = Call(tool="edit_lines", arguments={**LINES.arguments, "start_line": 90, "end_line": 90})
    session = play([READ, WRITE, beyond, LINES], files=FILES, answers=[YES, NO, YES, YES], feedback=ON)
    assert retries(session) == [(WRITE, LINES)]


def test_the_same_call_again_is_no_answer(play: Play) -> None:
    session = play([READ, WRITE, WRITE], files=FILES, answers=[YES, NO, YES], feedback=ON)
    assert retries(session) == []


def test_only_the_first_answer_counts(play: Play) -> None:
    later = Call(tool="edit_lines", arguments={**LINES.arguments, "start_line": 2, "end_line": 2})
    session = play([READ, WRITE, LINES, later], files=FILES, answers=[YES, NO, YES, YES], feedback=ON)
    assert retries(session) == [(WRITE, LINES)]


def test_a_call_of_the_next_turn_answers_nothing(play: Play) -> None:
    turns = [READ, WRITE, ANSWER, LINES]
    session = play(
        turns, files=FILES, answers=[YES, NO, YES], feedback=ON, inputs=["Fix it.", "Now something else."]
    )
    assert retries(session) == []


@pytest.mark.parametrize(
    "denial",
    [Answer(verdict="deny"), Answer(verdict="deny", reason=WORDS, train=False)],
    ids=["no words", "not to be learned from"],
)
def test_what_taught_nothing_needs_no_answer(play: Play, denial: Answer) -> None:
    session = play([READ, WRITE, LINES], files=FILES, answers=[YES, denial, YES], feedback=ON)
    assert retries(session) == []


def test_an_approval_that_is_not_to_be_learned_from_shows_nothing(play: Play) -> None:
    skip = Answer(verdict="allow", train=False)
    session = play([READ, WRITE, LINES], files=FILES, answers=[YES, NO, skip], feedback=ON)
    assert retries(session) == []
