"""Corrections given again: to another model, and where the weights are others by then."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.core.curriculum import Choice, Course
from continualcode.core.data import Call, Message, ParsedTurn, Sample, StepReport, ToolSpec
from continualcode.core.errors import CapabilityMissing, UsageError
from continualcode.core.events import (
    CorrectionGiven,
    MistakeNotMade,
    SampleTaken,
    UpdateApplied,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Trainer
from continualcode.core.replay import Replayer, plan_of
from continualcode.core.retelling import Reteller, Retold
from continualcode.core.retraining import Changes
from continualcode.core.testing import ScriptedPolicy, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import Record, read

RecordLog = Callable[..., Path]
TrainerOf = Callable[[str, Any], Trainer]
CourseAt = Callable[[Path], Course]

WORDS = ("Use edit.", "Not here.", "Read it first.", "Shorter.")


def writes(n: int) -> list[Call | str]:
    """The calls that the recorded sessions made."""
    return [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(n)]


class Foreign(ScriptedPolicy):
    """Another base model, of a family that writes calls in its own way: `name! {…}`."""

    def __init__(self, turns: Sequence[Call | str] = ()) -> None:
        super().__init__(turns)
        self.model = msgspec.structs.replace(self.model, name="foreign", base="f" * 64, template="own")
        self.rendered: list[str] = []

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        ids = super().render(messages, tools)
        self.rendered.append(bytes(ids).decode())
        return ids

    def format_call(self, call: Call) -> str:
        return f"{call.tool}! {json.dumps(call.arguments)}"

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        tool, mark, arguments = sample.text.partition("! ")
        if not mark:
            return ParsedTurn(text=sample.text, call=None, how="text")
        return ParsedTurn(text="", call=Call(tool=tool, arguments=json.loads(arguments)), how="ok")


class Retell:
    """Gives the corrections of logs to a policy, in a session in `folder`. log: of the last one."""

    def __init__(self, folder: Path, trainer_of: TrainerOf) -> None:
        self._folder = folder
        self._trainer_of = trainer_of
        self._count = 0
        self.log = folder

    def __call__(
        self, courses: Sequence[Course], policy: ScriptedPolicy, *, resume: bool = False, **choice: Any
    ) -> Retold:
        if not resume:
            self._count += 1
            self.log = self._folder / f"new-{self._count}.jsonl"
        session = open_scripted(self._folder / "p", policy=policy, log=self.log, resume=resume)
        try:
            changes = Changes(choice=Choice(**choice))
            return Reteller(courses, session, self._trainer_of, changes).run()
        finally:
            session.close("retold")

    def records(self, kind: type[Record]) -> list[Any]:
        """Those of the last log."""
        return [record for record in read(self.log, event_registry()) if isinstance(record, kind)]

    def verified(self, policy: ScriptedPolicy) -> bool:
        """Whether the last log replays."""
        return Replayer(policy, self._trainer_of).run(read(self.log, event_registry())).ok


@pytest.fixture
def retell(tmp_path: Path, trainer_of: TrainerOf) -> Retell:
    return Retell(tmp_path / "retold", trainer_of)


@pytest.fixture
def whole(record: RecordLog, course_at: CourseAt) -> Course:
    return course_at(record(WORDS, gated=False, trainer={"rehearsal": 0.5}))


def test_with_nothing_changed_the_weights_come_out_as_logged(whole: Course, retell: Retell) -> None:
    """And nothing is drawn: a policy that has nothing to say will do."""
    found = retell([whole], ScriptedPolicy())
    assert found.weights == whole.transcript.weights
    assert [(one.outcome, one.attempts, one.same_call) for one in found.corrections] == [
        ("learned", 0, True)
    ] * len(WORDS)
    assert retell.verified(ScriptedPolicy())


def test_a_model_that_has_nothing_to_learn_is_not_said_to_have_learned(
    record: RecordLog, course_at: CourseAt, retell: Retell
) -> None:
    log = record(WORDS, gated=False, trainer={"divergence_floor": 2.0})
    found = retell([course_at(log)], ScriptedPolicy())
    assert [(one.outcome, one.steps, one.why[:9]) for one in found.corrections] == [
        ("agreed", 0, "1.00 nats")
    ] * len(WORDS)


def test_another_model_is_corrected_with_the_same_words_on_turns_of_its_own(
    whole: Course, retell: Retell
) -> None:
    policy = Foreign(writes(4))
    found = retell([whole], policy)
    assert [one.outcome for one in found.corrections] == ["learned"] * 4
    logged = sorted(whole.transcript.corrections.values(), key=lambda c: c.seq)
    given = retell.records(CorrectionGiven)
    assert [(c.kind, c.feedback, c.by, c.origin) for c in given] == [
        (c.kind, c.feedback, c.by, c.id) for c in logged
    ]
    assert [s.text for s in retell.records(SampleTaken)] == [policy.format_call(c) for c in policy.turns[:4]]  # type: ignore[arg-type]  # all of them are calls
    assert retell.verified(Foreign())


def test_earlier_calls_are_shown_to_another_model_as_it_writes_them(whole: Course, retell: Retell) -> None:
    policy = Foreign(writes(4))
    retell([whole], policy)
    last = next(text for text in reversed(policy.rendered) if "Read it first." in text)
    assert 'assistant: write! {"path": "0.txt"' in last
    assert '{"name": "write"' not in last


def test_a_model_that_does_not_make_the_mistake_is_not_corrected(whole: Course, retell: Retell) -> None:
    found = retell([whole], policy := Foreign(["Done.", "Done."]))
    assert [one.outcome for one in found.corrections] == ["not_made"] * 4
    assert "P = 0.00" in found.corrections[0].why
    assert not retell.records(UpdateApplied)
    assert found.weights == Foreign().weights() == policy.weights()
    moot = retell.records(MistakeNotMade)
    assert [(m.tool, m.attempts) for m in moot] == [("write", 1)] * 4, "too improbable to draw again"


def test_a_mistake_that_is_made_now_and_then_is_drawn(
    record: RecordLog, course_at: CourseAt, retell: Retell
) -> None:
    one = course_at(record(WORDS[:1], gated=False))

    class Seldom(Foreign):
        def tool_probabilities(
            self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
        ) -> dict[str, float]:
            return {"write": 0.3}

    found = retell([one], Seldom(["Done.", "Done.", *writes(1)]))
    assert [(c.outcome, c.attempts) for c in found.corrections] == [("learned", 3)]
    drawn = [s.params for s in retell.records(SampleTaken)]
    assert [p.temperature for p in drawn] == [0.0, 1.0, 1.0]
    assert len({p.seed for p in drawn}) == 3


def test_what_was_wanted_is_no_mistake(record: RecordLog, course_at: CourseAt, retell: Retell) -> None:
    """A call of the rejected tool that is the user's own edit of it."""
    course = course_at(record(WORDS[:1], gated=False))
    (correction,) = course.attempts[0].own
    wanted = writes(2)[1]
    edited = msgspec.structs.replace(correction, kind="edit", solution=wanted)
    attempt = course.attempts[0]._replace(own=(edited,))
    found = retell([course._replace(attempts=(attempt,))], Foreign([wanted, "Done."]))
    assert found.corrections[0].outcome == "not_made"


def test_without_a_correction_later_turns_are_drawn_by_the_weights_at_hand(
    whole: Course, retell: Retell
) -> None:
    out = whole.attempts[1].own[0]
    found = retell([whole], ScriptedPolicy(writes(4)[2:]), without=(str(out.seq),))
    assert [(one.outcome, one.attempts) for one in found.corrections] == [
        ("learned", 0),
        ("left_out", 0),
        ("learned", 1),
        ("learned", 1),
    ]
    samples, applied = retell.records(SampleTaken), retell.records(UpdateApplied)
    assert [s.weights for s in samples[1:]] == [u.weights for u in applied[:-1]], "each on-policy"
    assert out.id not in {c.origin for c in retell.records(CorrectionGiven)}
    assert retell.verified(ScriptedPolicy())


class Killed(Foreign):
    """Dies at step `at` of all its steps."""

    def __init__(self, turns: Sequence[Call | str], at: int) -> None:
        super().__init__(turns)
        self._left = at

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        self._left -= 1
        if self._left < 0:
            raise SystemExit
        return super().step(batch, stop_below=stop_below)


@pytest.mark.parametrize("at", [0, 1, 3, 7])
def test_one_that_was_killed_goes_on_and_gives_nothing_twice(whole: Course, retell: Retell, at: int) -> None:
    unbroken = retell([whole], Foreign(writes(4)))
    with pytest.raises(SystemExit):
        retell([whole], Killed(writes(4), at))
    drawn = len(retell.records(SampleTaken))
    found = retell([whole], Foreign(writes(4)[drawn:]), resume=True)
    assert [one.outcome for one in found.corrections] == ["learned"] * 4
    assert (found.weights, found.optimiser) == (unbroken.weights, unbroken.optimiser)
    assert len({c.origin for c in retell.records(CorrectionGiven)}) == 4
    assert len(retell.records(CorrectionGiven)) == len(retell.records(UpdateApplied)) == 4
    assert retell.verified(Foreign())


def test_going_on_with_something_else_is_refused(whole: Course, retell: Retell) -> None:
    retell([whole], Foreign(writes(4)))
    with pytest.raises(UsageError, match="go on with the same"):
        retell([whole], Foreign(), resume=True, without=("kind:deny",))


def test_logs_of_several_people_become_one_and_weigh_what_is_said(
    record: RecordLog, course_at: CourseAt, retell: Retell
) -> None:
    anna = course_at(record(WORDS[:2], gated=False, name="anna"))
    ben = course_at(record(WORDS[2:], gated=False, name="ben"))
    found = retell([ben, anna], Foreign(writes(2) + writes(2)), weights={"log:ben": 0.5})
    assert [(one.log, one.outcome) for one in found.corrections] == [
        (name, "learned") for name in ("anna", "anna", "ben", "ben")
    ]
    transcript = fold(read(retell.log, event_registry()), Plugins(installed=False).feedback())
    weights = [
        {row.weight for row in plan_of(transcript.updates[u], transcript).examples if row.correction in own}
        for u, own in zip(transcript.standing, ([c.id] for c in retell.records(CorrectionGiven)), strict=True)
    ]
    assert weights == [{0.5}, {0.5}, {0.25}, {0.25}]


def test_a_conversation_that_does_not_fit_is_said(whole: Course, retell: Retell) -> None:
    class Small(Foreign):
        def sample(self, *_: Any, **__: Any) -> Sample:
            raise UsageError("the conversation has outgrown the model's context")

    found = retell([whole], Small())
    assert {(one.outcome, one.why) for one in found.corrections} == {
        ("failed", "the conversation has outgrown the model's context")
    }


def test_a_policy_that_can_do_less_is_trained_as_it_can_be(whole: Course, retell: Retell) -> None:
    """What nobody chose for the logged session is chosen for what this policy can do."""
    policy = Foreign(writes(4))
    policy.capabilities -= {"full_distribution", "demonstrations", "guided_teacher"}
    found = retell([whole], policy)
    assert [one.outcome for one in found.corrections] == ["learned"] * 4
    (settings,) = {msgspec.json.encode(u.settings) for u in retell.records(UpdateStarted)}
    told = json.loads(settings)
    assert (told["rows"], told["top_k"], told["anchors"], told["rehearsal"]) == ("sample", 20, 0.0, 0.5)


def test_what_the_policy_cannot_do_at_all_is_refused_by_name(whole: Course, retell: Retell) -> None:
    policy = Foreign(writes(4))
    policy.capabilities -= {"teacher:base"}
    with pytest.raises(CapabilityMissing, match="teacher:base"):
        retell([whole], policy)
