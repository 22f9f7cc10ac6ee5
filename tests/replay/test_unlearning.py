"""Leaving a correction out gives the weights of a log that never had it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continualcode.core import engine
from continualcode.core.curriculum import Choice, Course
from continualcode.core.errors import ReplayError, UsageError
from continualcode.core.events import UpdateApplied, UpdateRejected
from continualcode.core.protocols import Trainer
from continualcode.core.replay import plan_of
from continualcode.core.retraining import Changes, Retrained, retrained
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import merge
from continualcode.plugins.trainers.anchors import ANCHORS
from continualcode.plugins.trainers.probes import PROBES

Record = Callable[..., Path]
TrainerOf = Callable[[str, Any], Trainer]
CourseAt = Callable[[Path], Course]
NewPolicy = Callable[[], ScriptedPolicy]

WORDS = ("Use edit.", "Not here.", "Read it first.", "Shorter.", "In docs/.", "Ask me.")


def without(course: Course, trainer_of: TrainerOf, policy: ScriptedPolicy, *selectors: str) -> Retrained:
    return retrained([course], trainer_of, policy, Changes(choice=Choice(without=selectors)))


def state(course: Course, trainer_of: TrainerOf, policy: ScriptedPolicy) -> tuple[str, str]:
    found = retrained([course], trainer_of, policy)
    return found.weights, found.optimiser


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6),
    st.sets(st.integers(0, 5)),
    st.sampled_from([0.0, 0.34, 1.0]),
    st.booleans(),
)
def test_without_some_corrections_is_a_log_that_never_had_them(
    new_recorder: Callable[[], Record],
    trainer_of: TrainerOf,
    course_at: CourseAt,
    new_policy: NewPolicy,
    says: list[str],
    out: set[int],
    rehearsal: float,
    fresh: bool,
) -> None:
    """With rehearsal of none, some and all; with an optimiser that remembers; where the gate rejects some."""
    record = new_recorder()
    left_out = [i for i in sorted(out) if i < len(says)]
    trainer = {"rehearsal": rehearsal, "fresh": fresh, "anchors": 0.0}
    whole = course_at(record(says, trainer=trainer))
    never = course_at(record(says, trainer=trainer, skipped=left_out))
    seqs = sorted(c.seq for c in whole.transcript.corrections.values())
    found = without(whole, trainer_of, new_policy(), *(str(seqs[i]) for i in left_out))
    assert found.weights == never.transcript.weights
    assert (found.weights, found.optimiser) == state(never, trainer_of, new_policy())


@pytest.mark.parametrize("out", [0, 2, 5])
def test_the_same_with_anchors_and_probes(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt, out: int
) -> None:
    whole = course_at(record(WORDS, gated=False))
    never = course_at(record(WORDS, gated=False, skipped=[out]))
    seq = sorted(c.seq for c in whole.transcript.corrections.values())[out]
    found = without(whole, trainer_of, ScriptedPolicy(), str(seq))
    assert (found.weights, found.optimiser) == state(never, trainer_of, ScriptedPolicy())
    assert found.weights != whole.transcript.weights


def test_a_session_of_20_comes_out_as_logged_and_without_any_as_if_never_given(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    says = [f"Number {i}." for i in range(20)]
    trainer = {"rehearsal": 0.34, "anchors": 0.0}
    whole = course_at(record(says, gated=False, trainer=trainer))
    assert [use.outcome for use in retrained([whole], trainer_of, ScriptedPolicy()).updates] == [
        "as_logged"
    ] * 20
    for out in (0, 10, 19):
        never = course_at(record(says, gated=False, trainer=trainer, skipped=[out]))
        found = without(whole, trainer_of, ScriptedPolicy(), str(whole.attempts[out].own[0].seq))
        assert (found.weights, found.optimiser) == state(never, trainer_of, ScriptedPolicy())


def test_the_gate_judges_anew(
    new_recorder: Callable[[], Record], trainer_of: TrainerOf, course_at: CourseAt, new_policy: NewPolicy
) -> None:
    """The laws above would say little if no update were ever rejected."""
    course = course_at(new_recorder()((*WORDS, *reversed(WORDS))))
    assert {type(attempt.outcome) for attempt in course.attempts} == {UpdateApplied, UpdateRejected}


def test_with_nothing_left_out_every_update_is_as_logged(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt, new_policy: NewPolicy
) -> None:
    whole = course_at(record(WORDS))
    found = retrained([whole], trainer_of, new_policy())
    assert [use.outcome for use in found.updates] == ["as_logged"] * len(WORDS)
    assert found.weights == whole.transcript.weights
    assert not any(use.off_policy for use in found.updates)


def test_planning_again_what_was_logged_gives_the_logged_plan(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    """Rehearsed rows, their order and weights included."""
    plans: list[Any] = []
    rehearsing = 0
    for attempt in course_at(record(WORDS, trainer={"rehearsal": 0.5})).attempts:
        plan = plan_of(attempt.started, attempt.transcript)
        own = {c.id for c in attempt.own}
        assert trainer_of(plan.trainer, plan.settings).replan(plan, own, plans) == plan
        rehearsing += any(row.correction and row.correction not in own for row in plan.examples)
        if isinstance(attempt.outcome, UpdateApplied):
            plans.append(plan)
    assert rehearsing


def test_what_was_learned_later_is_flagged_as_drawn_from_other_weights(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    whole = course_at(record(WORDS[:3], gated=False))
    seqs = [a.started.seq for a in whole.attempts]
    found = without(whole, trainer_of, ScriptedPolicy(), str(seqs[1]))
    assert [(use.outcome, use.off_policy) for use in found.updates] == [
        ("as_logged", False),
        ("left_out", False),
        ("changed", True),
    ]


def test_a_dry_run_says_what_would_be_trained_on_and_why(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    whole = course_at(record(WORDS[:3], trainer={"rehearsal": 1.0}, gated=False))
    first = whole.attempts[0].own[0]
    found = retrained([whole], trainer_of, None, Changes(choice=Choice(without=(str(first.seq),))))
    assert [use.outcome for use in found.updates] == ["left_out", "planned", "planned"]
    assert found.updates[0].corrections[0].why == f"--without {first.seq}"
    assert found.updates[2].rows == {
        "demonstration": 1,
        "retry": 1,
        "rehearsed": 1,
        "anchor": len(ANCHORS),
        "probe": len(PROBES),
    }
    assert found.weights == ""


def test_corrections_are_selected_by_event_update_kind_and_who_gave_them(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    whole = course_at(record(WORDS[:2], gated=False))

    def taken(**choice: Any) -> list[bool]:
        found = retrained([whole], trainer_of, None, Changes(choice=Choice(**choice)))
        return [c.taken for use in found.updates for c in use.corrections]

    first, second = whole.attempts
    assert taken(without=(str(first.own[0].seq),)) == [False, True]
    assert taken(without=(str(second.outcome.seq),)) == [True, False]
    assert taken(only=(str(second.started.seq),)) == [False, True]
    assert taken(without=("kind:deny",)) == taken(without=("by:user",)) == [False, False]
    assert taken(only=("log:log",)) == [True, True]


def test_corrections_are_selected_by_a_tag_that_was_given_in_the_session(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    log = record(WORDS[:3], gated=False)
    first, *_ = (c for a in course_at(log).attempts for c in a.own)
    ui = ScriptedUI()
    session = open_scripted(log.parent / "project", ui=ui, log=log, resume=True)
    for line in ("/tag risky", f"/tag risky {first.seq}", "/tag style", "/tag risky 3", "/tag"):
        engine.command(session, line)
    session.close("quit")
    assert ui.messages[0].startswith("Tagged risky: event")
    assert "event 3 is no correction" in ui.messages[3] and "needs a name" in ui.messages[4]

    def taken(*without: str) -> list[bool]:
        changes = Changes(choice=Choice(without=without))
        found = retrained([course_at(log)], trainer_of, None, changes)
        return [c.taken for use in found.updates for c in use.corrections]

    assert taken("tag:risky") == [False, True, False]
    assert taken("tag:style") == [True, True, False]
    with pytest.raises(UsageError, match="risky, style"):
        taken("tag:stlye")


@pytest.mark.parametrize(
    ("selector", "said"),
    [("3", "those are the events"), ("by:anna", "allowed: user"), ("anna", "selects no corrections")],
)
def test_a_selector_that_means_nothing_is_refused(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt, selector: str, said: str
) -> None:
    whole = course_at(record(WORDS[:1], gated=False))
    with pytest.raises(UsageError, match=said):
        retrained([whole], trainer_of, None, Changes(choice=Choice(without=(selector,))))


def test_other_settings_of_the_trainer_make_other_weights_from_the_same_corrections(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    whole = course_at(record(WORDS[:3], gated=False))
    shorter = course_at(record(WORDS[:3], trainer={"max_steps": 1, "gate_learned": 1.0}, gated=False))
    changes = Changes(settings={"max_steps": 1, "gate_learned": 1.0})
    found = retrained([whole], trainer_of, ScriptedPolicy(), changes)
    assert [use.steps for use in found.updates] == [1, 1, 1]
    assert found.weights == shorter.transcript.weights


def test_an_update_that_was_undone_is_not_trained(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    log = record(WORDS[:2], gated=False)
    session = open_scripted(log.parent / "project", ui=ScriptedUI(), log=log, resume=True)
    engine.command(session, "/undo update")
    session.close("quit")
    whole = course_at(log)
    assert len(whole.attempts) == 1
    assert retrained([whole], trainer_of, ScriptedPolicy()).weights == whole.transcript.weights


def test_a_merged_log_is_refused(tmp_path: Path, record: Record, course_at: CourseAt) -> None:
    merged = tmp_path / "merged.jsonl"
    merge([record(WORDS[:1]), record(WORDS[:1])], merged)
    with pytest.raises(ReplayError, match="merged from several"):
        course_at(merged)


def test_two_logs_make_one_curriculum_in_the_order_of_time(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    one = course_at(record(WORDS[:2], name="anna", gated=False))
    two = course_at(record(WORDS[2:4], name="ben", gated=False))
    found = retrained([two, one], trainer_of, ScriptedPolicy())
    assert [use.log for use in found.updates] == ["anna", "anna", "ben", "ben"]
    assert found == retrained([one, two], trainer_of, ScriptedPolicy())
    alone = Changes(choice=Choice(without=("log:ben",)))
    assert retrained([two, one], trainer_of, ScriptedPolicy(), alone).weights == one.transcript.weights


def test_a_weight_changes_what_is_learned_and_nought_leaves_out(
    record: Record, trainer_of: TrainerOf, course_at: CourseAt
) -> None:
    one = course_at(record(WORDS[:2], name="anna", gated=False))
    two = course_at(record(WORDS[2:4], name="ben", gated=False))

    def weights(**factors: float) -> str:
        choice = Choice(weights={f"log:{name}": factor for name, factor in factors.items()})
        return retrained([one, two], trainer_of, ScriptedPolicy(), Changes(choice=choice)).weights

    assert len({weights(), weights(ben=0.5), weights(ben=0.0)}) == 3
    assert weights(ben=0.0) == one.transcript.weights
