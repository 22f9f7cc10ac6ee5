"""`/wrong`: the user says, after a call ran, that it should not have been made."""

from collections.abc import Callable

from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven, UpdateApplied, event_registry
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI
from continualcode.core.transcript import fold
from continualcode.eventlog import read

Play = Callable[..., Session]
Given = Callable[[Session], list[CorrectionGiven]]

LISTS = Call(tool="bash", arguments={"command": "echo all; echo too many >&2; exit 3"})
ANSWER = Call(tool="reply", arguments={"text": "Done."})
WORDS = "List one folder, not all."


def test_it_trains_on_the_last_call_with_the_words_and_what_the_tool_really_gave(
    play: Play, given: Given
) -> None:
    session = play([LISTS, ANSWER], inputs=["List it.", f"/wrong {WORDS}"])
    (correction,) = given(session)
    call = next(p for p in session.transcript.proposals.values() if p.call == LISTS)
    assert (correction.kind, correction.sample, correction.call_id) == ("tool_failure", call.sample, call.id)
    assert correction.feedback == WORDS
    assert correction.environment.splitlines()[:2] == ["all", "too many"]
    assert "exit code 3" in correction.environment


def test_it_is_learned_at_once(play: Play) -> None:
    session = play([LISTS, ANSWER], inputs=["List it.", f"/wrong {WORDS}"])
    assert session.transcript.pending() == ()
    assert [type(o) for o in session.transcript.outcomes.values()] == [UpdateApplied]


def test_the_model_is_told_of_it_in_the_next_turn(play: Play) -> None:
    session = play([LISTS, ANSWER, ANSWER], inputs=["List it.", f"/wrong {WORDS}", "Again."])
    last = list(session.transcript.samples)[-1]
    said = [m.text for m in session.transcript.sampled(last).messages if m.role == "user"]
    assert said == ["List it.", f"Your call of bash was wrong: {WORDS}", "Again."]


def test_an_answer_is_meant_only_by_its_name(play: Play, given: Given) -> None:
    session = play([LISTS, ANSWER], inputs=["List it.", "/wrong reply: Say which."])
    (correction,) = given(session)
    assert session.transcript.call(correction.call_id).call == ANSWER
    assert (correction.feedback, correction.environment) == ("Say which.", "Done.")


def test_a_tools_name_means_its_last_call(play: Play, given: Given) -> None:
    other = Call(tool="glob", arguments={"pattern": "*"})
    session = play([LISTS, other, ANSWER], inputs=["List it.", "/wrong bash: No."])
    (correction,) = given(session)
    assert session.transcript.call(correction.call_id).call == LISTS


def test_words_before_a_colon_that_are_no_tool_are_words(play: Play, given: Given) -> None:
    session = play([LISTS, ANSWER], inputs=["List it.", "/wrong think: then act"])
    assert [c.feedback for c in given(session)] == ["think: then act"]


def test_a_call_that_was_denied_has_not_run(play: Play, given: Given) -> None:
    ui = ScriptedUI(["List it.", "/wrong Never."], [Answer(verdict="deny", train=False)])
    session = play([LISTS, "All right."], ui=ui)
    assert given(session) == []
    assert "no call has run in this conversation" in ui.messages[-1]


def test_a_call_that_was_undone_has_not_run_either(play: Play, given: Given) -> None:
    ui = ScriptedUI(["List it.", "/undo", "/wrong Never."])
    session = play([LISTS, ANSWER], ui=ui)
    assert given(session) == []
    assert "no call has run in this conversation" in ui.messages[-1]


def test_no_words_no_correction(play: Play, given: Given) -> None:
    ui = ScriptedUI(["List it.", "/wrong", "/wrong bash: "])
    assert given(play([LISTS, ANSWER], ui=ui)) == []
    assert [m for m in ui.messages if "needs words" in m] == ui.messages[-2:]


def test_the_log_says_all_of_it(play: Play) -> None:
    session = play([LISTS, ANSWER], inputs=["List it.", f"/wrong {WORDS}"])
    again = fold(read(session.log.path, event_registry()), session.feedback)
    assert again.messages == session.transcript.messages
    assert again.corrections == session.transcript.corrections
    assert again.said == session.transcript.said
