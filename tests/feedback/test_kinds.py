"""The built-in kinds of correction: what each notices in the log, and what it tells the teacher."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core.data import Arguments, Call, Objective, Optimiser, PromptTokens, SamplingParams, Slots
from continualcode.core.events import (
    CorrectionGiven,
    DecisionMade,
    NoteGiven,
    PromptSubmitted,
    SampleTaken,
    ToolProposed,
    ToolRan,
    ToolsOffered,
    UpdateStarted,
)
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import FeedbackType
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record, pack_f32, pack_u32
from continualcode.plugins.feedback import register_feedback
from continualcode.plugins.feedback.edit import difference

KINDS: dict[str, FeedbackType] = {kind.kind: kind for kind in register_feedback({})}
WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x = 1\n"})
WORDS = "Use edit_lines."


def proposed(call: Call = WRITE) -> Transcript:
    """A transcript in which the model has proposed `call`: call p1 of sample s1."""
    transcript = Transcript(KINDS)
    for record in (
        ToolsOffered(id="o1", tools=(), grammar=None),
        PromptSubmitted(id="u1", text="Fix it."),
        SampleTaken(
            id="s1",
            weights="w",
            offer="o1",
            prompt=PromptTokens(tail=pack_u32([1, 2])),
            params=SamplingParams(),
            token_ids=pack_u32([3]),
            logprobs=pack_f32([-0.5]),
            text="…",
            stop="end",
        ),
        ToolProposed(id="p1", sample="s1", call=call, how="ok"),
    ):
        transcript.apply(record)
    return transcript


def notices(transcript: Transcript, record: Record) -> list[CorrectionGiven]:
    """Apply `record` as the session does, then ask every kind."""
    transcript.apply(record)
    found = (kind.notice(record, transcript) for kind in KINDS.values())
    return [correction for correction in found if correction is not None]


def decision(**changes: Any) -> DecisionMade:
    fields: dict[str, Any] = {"id": "d1", "call_id": "p1", "verdict": "deny", "by": "user", "reason": WORDS}
    return DecisionMade(**{**fields, **changes})


def ran(feedback: str | None = None) -> ToolRan:
    return ToolRan(id="r1", call_id="p1", output="E assert 4 == 5", success=False, feedback=feedback)


def test_the_plugin_registers_its_kinds() -> None:
    assert {"deny", "edit", "tool_failure"} <= Plugins(installed=False).feedback().keys()


# -- deny --------------------------------------------------------------------------------------------


def test_a_denial_trains_on_the_denied_sample_with_the_users_words() -> None:
    transcript = proposed()
    assert notices(transcript, decision()) == [
        CorrectionGiven(kind="deny", sample="s1", call_id="p1", feedback=WORDS, by="user")
    ]


def test_the_teacher_is_told_the_words_and_nothing_else() -> None:
    transcript = proposed()
    (correction,) = notices(transcript, decision())
    assert transcript.slots(correction) == Slots(feedback=WORDS)


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "allow", "reason": None},
        {"reason": None},
        {"reason": ""},
        {"train": False},
        {"by": "plugin:guard"},
        {"by": "session"},
    ],
    ids=["allowed", "no words", "empty words", "told not to train", "a plugin's veto", "the session"],
)
def test_what_teaches_nothing(changes: dict[str, Any]) -> None:
    assert notices(proposed(), decision(**changes)) == []


def test_a_rules_denial_teaches_and_says_whose_it_was() -> None:
    (correction,) = notices(proposed(), decision(by="rule:x"))
    assert correction.by == "rule:x"


# -- notes -------------------------------------------------------------------------------------------


def test_notes_since_the_last_update_join_the_next_correction_once() -> None:
    transcript = proposed()
    for text in ("We use spaces.", "Tests are in tests/.", "We use spaces.", WORDS):
        assert notices(transcript, NoteGiven(id="n", text=text)) == []
    (correction,) = notices(transcript, decision())
    assert correction.feedback == f"{WORDS}\n\nWe use spaces.\n\nTests are in tests/."


def test_notes_before_the_last_update_do_not() -> None:
    transcript = proposed()
    transcript.apply(NoteGiven(id="n", text="We use spaces."))
    transcript.apply(
        UpdateStarted(
            id="up",
            trainer="sdpo",
            settings={},
            objective=Objective(),
            optimiser=Optimiser(),
            examples=(),
            weights="w",
        )
    )
    (correction,) = notices(transcript, decision())
    assert correction.feedback == WORDS


# -- edit --------------------------------------------------------------------------------------------


def test_an_edit_trains_on_what_was_proposed_and_shows_what_was_wanted() -> None:
    transcript = proposed()
    wanted = {"path": "b.py", "content": "x = 1\n"}
    record = decision(verdict="allow", reason=None, arguments=wanted)
    said = 'I changed your call before it ran:\npath: "a.py" → "b.py"'
    (correction,) = notices(transcript, record)
    assert correction == CorrectionGiven(
        kind="edit",
        sample="s1",
        call_id="p1",
        feedback=said,
        solution=Call(tool="write", arguments=wanted),
        by="user",
    )
    assert transcript.slots(correction) == Slots(feedback=said)


def test_an_edits_reason_comes_first() -> None:
    record = decision(verdict="allow", reason="Other file.", arguments={**WRITE.arguments, "path": "b.py"})
    (correction,) = notices(proposed(), record)
    assert correction.feedback == 'Other file.\n\nI changed your call before it ran:\npath: "a.py" → "b.py"'


def test_edited_arguments_that_change_nothing_teach_nothing() -> None:
    assert notices(proposed(), decision(verdict="allow", arguments=dict(WRITE.arguments))) == []


def test_a_difference_to_the_letter() -> None:
    before = {"path": "a.py", "start_line": 3, "content": "a\nb\nc\nd\n", "limit": 1, "flag": True}
    after = {"path": "a.py", "start_line": 5, "content": "a\nb\nC\nd\n", "flag": 1, "mode": "é{}"}
    assert (
        difference(before, after)
        == """\
start_line: 3 → 5
content:
@@ -1,4 +1,4 @@
 a
 b
-c
+C
 d
limit: 1 → (left out)
flag: true → 1
mode: (not given) → "é{}\""""
    )


def test_a_difference_in_line_ends_alone_is_told() -> None:
    assert difference({"content": "a\nb\n"}, {"content": "a\nb"}) == "content:\n(only the line ends changed)"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)
)
arguments = st.dictionaries(st.sampled_from("abc"), values, max_size=3)


@settings(deadline=None)
@given(arguments, arguments)
def test_a_difference_is_empty_exactly_if_nothing_changed(before: Arguments, after: Arguments) -> None:
    same = msgspec.json.encode(before, order="sorted") == msgspec.json.encode(after, order="sorted")
    assert (difference(before, after) == "") == same


# -- tool failure ------------------------------------------------------------------------------------


def test_a_failing_tool_is_no_mistake_by_itself() -> None:
    transcript = proposed()
    assert notices(transcript, decision(verdict="allow", reason=None)) == []
    assert notices(transcript, ran()) == []


def test_a_call_denied_after_it_ran_trains_with_the_words_and_the_real_output() -> None:
    transcript = proposed()
    notices(transcript, decision(verdict="allow", reason=None))
    notices(transcript, ran(feedback="exit code 1"))
    (correction,) = notices(transcript, decision(reason="Run one test."))
    assert correction == CorrectionGiven(
        kind="tool_failure",
        sample="s1",
        call_id="p1",
        feedback="Run one test.",
        environment="E assert 4 == 5\nexit code 1",
        by="user",
    )
    assert transcript.slots(correction) == Slots(
        feedback="Run one test.", environment="E assert 4 == 5\nexit code 1"
    )
