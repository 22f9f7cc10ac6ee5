"""What holds of `failing_test` in any session: above all, that information is never punished.

The sessions are made of records, as hypothesis makes many: runs, changes, answers, prompts in any order.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core.data import Arguments, Call, FileChange, PromptTokens, SamplingParams, ToolSpec
from continualcode.core.events import (
    CorrectionGiven,
    DecisionMade,
    PromptSubmitted,
    SampleTaken,
    ToolProposed,
    ToolRan,
    ToolsOffered,
)
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record, pack_f32, pack_u32
from continualcode.plugins.feedback.failing_test import FailingTest

CODE, TESTS = "calc.py", "test_calc.py"
NAMES = ("test_one", "test_two", "test_new")
OFFER = ToolsOffered(
    id="o",
    tools=(
        ToolSpec(name="reply", description="", parameters={}, ends_turn=True),
        ToolSpec(name="bash", description="", parameters={}),
        ToolSpec(name="write", description="", parameters={}),
    ),
    grammar=None,
)


class Ask(NamedTuple):
    """The user's prompt."""

    text: str


class RunTests(NamedTuple):
    """pytest, with these tests failing and so many passing."""

    failing: tuple[str, ...]
    passing: int


class Change(NamedTuple):
    """A file written by the model, with this text in it."""

    path: str
    text: str


class Reply(NamedTuple):
    """The turn ends."""


Story: TypeAlias = Sequence[Ask | RunTests | Change | Reply]

asks = st.builds(Ask, st.sampled_from(["Fix test_calc.py.", "Make test_one pass.", "Tidy up."]))
test_runs = st.builds(
    RunTests, st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple), st.integers(0, 3)
)
changes = st.builds(Change, st.sampled_from([CODE, TESTS]), st.sampled_from(["x = 1", "def test_new(): ..."]))
stories = st.lists(asks | test_runs | changes | st.just(Reply()), max_size=14)


class Teller:
    """Makes records of a story, and asks the kind after each result, as the engine does."""

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.kind = FailingTest(on=True)
        self.corrections: list[CorrectionGiven] = []
        self._seq = 0
        self._append(OFFER)

    def tell(self, story: Story) -> list[CorrectionGiven]:
        for part in story:
            match part:
                case Ask(text):
                    self._append(PromptSubmitted(text=text))
                case Change(path, text):
                    change = FileChange(path=path, before="before", after=f"after {self._seq}")
                    self._call("write", {"path": path, "content": text}, "Written.", (change,))
                case Reply():
                    self._call("reply", {"text": "Done."}, "Done.")
                case RunTests(failing, passing):
                    lines = [f"FAILED {TESTS}::{name} - assert 1 == 2" for name in failing]
                    counts = ([f"{len(failing)} failed"] if failing else []) + [f"{passing} passed"]
                    output = "\n".join([*lines, f"{', '.join(counts)} in 0.01s"])
                    self._call("bash", {"command": "pytest -q"}, output)
        return self.corrections

    def _call(
        self, tool: str, arguments: Arguments, output: str, changes: tuple[FileChange, ...] = ()
    ) -> None:
        sample = SampleTaken(
            weights="w",
            offer="o",
            prompt=PromptTokens(tail=pack_u32([1])),
            params=SamplingParams(),
            token_ids=pack_u32([2]),
            logprobs=pack_f32([-1.0]),
            text="…",
            stop="end",
        )
        taken = self._append(sample)
        call = self._append(ToolProposed(sample=taken, call=Call(tool=tool, arguments=arguments), how="ok"))
        self._append(DecisionMade(call_id=call, verdict="allow", by="user"))
        self._append(ToolRan(call_id=call, output=output, success=True, changes=changes))

    def _append(self, record: Record) -> str:
        self._seq += 1
        written = msgspec.structs.replace(record, id=record.id or f"e{self._seq}", seq=self._seq)
        self.transcript.apply(written)
        if isinstance(written, ToolRan) and (found := self.kind.notice(written, self.transcript)):
            self.corrections.append(found)
            self._append(found)
        return written.id


def told(story: Story) -> list[CorrectionGiven]:
    return Teller().tell(story)


def test_a_story_can_be_told_in_which_something_is_corrected() -> None:
    story = [Ask("Tidy up."), RunTests((), 2), Change(CODE, "x = 1"), RunTests(("test_one",), 1)]
    assert len(told(story)) == 1


@settings(deadline=None)
@given(stories)
def test_who_changed_nothing_is_never_corrected(story: Story) -> None:
    assert told([part for part in story if not isinstance(part, Change)]) == []


@settings(deadline=None)
@given(stories)
def test_tests_that_never_passed_correct_nothing_unless_the_user_named_them(
    story: Story,
) -> None:
    failing = [
        RunTests(part.failing or ("test_one",), 0) if isinstance(part, RunTests) else part for part in story
    ]
    assert told([Ask("Tidy up.") if isinstance(part, Ask) else part for part in failing]) == []


@settings(deadline=None)
@given(stories)
def test_changing_tests_alone_is_never_corrected_unless_the_user_named_them(
    story: Story,
) -> None:
    tests = [Change(TESTS, part.text) if isinstance(part, Change) else part for part in story]
    assert told([Ask("Tidy up.") if isinstance(part, Ask) else part for part in tests]) == []


@settings(deadline=None)
@given(stories)
def test_a_run_in_which_as_many_pass_as_before_breaks_nothing(
    story: Story,
) -> None:
    same = [RunTests(part.failing, 2) if isinstance(part, RunTests) else part for part in story]
    assert told([Ask("Tidy up.") if isinstance(part, Ask) else part for part in same]) == []


@settings(deadline=None)
@given(stories)
def test_a_test_that_the_model_has_written_since_breaks_nothing(story: Story) -> None:
    new = [Change(part.path, "def test_new(): ...") if isinstance(part, Change) else part for part in story]
    fails = [
        RunTests(part.failing and ("test_new",), part.passing) if isinstance(part, RunTests) else part
        for part in new
    ]
    assert told([Ask("Tidy up.") if isinstance(part, Ask) else part for part in fails]) == []


@settings(deadline=None)
@given(stories)
def test_only_changes_are_corrected_and_each_once(story: Story) -> None:
    teller = Teller()
    corrected = [c.call_id for c in teller.tell(story)]
    assert len(corrected) == len(set(corrected))
    assert all(teller.transcript.call(call_id).call.tool == "write" for call_id in corrected)


@settings(deadline=None)
@given(stories)
def test_a_last_run_in_which_all_pass_adds_no_correction(
    story: Story,
) -> None:
    assert len(told([*story, RunTests((), 3), Reply()])) == len(told(story))
