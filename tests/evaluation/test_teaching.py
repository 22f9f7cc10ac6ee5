"""A rule as the user of an ordinary session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from continualcode.core.data import Call
from continualcode.core.evaluation.cases import Cases
from continualcode.core.evaluation.measure import Ruler
from continualcode.core.evaluation.teach import ATTEMPTS, teach
from continualcode.core.events import (
    DecisionMade,
    SampleTaken,
    ToolRan,
    UpdateApplied,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, trainers_of
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy
from continualcode.eventlog import Record, read


def records(session: Session) -> list[Record]:
    return list(read(session.log.path, event_registry()))


def test_a_call_that_breaks_the_rule_is_denied_in_its_words_and_learned_from(
    session: Session, cases: Cases, policy: Any
) -> None:
    rule = cases.rule[0]
    lesson = teach(session, rule, rule.train[0])
    assert (lesson.outcome, lesson.attempts) == ("update_applied", 1) and lesson.steps > 0
    (decision,) = (r for r in records(session) if isinstance(r, DecisionMade))
    assert (decision.by, decision.reason) == ("script:edit-not-write", rule.correction)
    assert policy.weights() != policy.untaught


def test_then_the_mistake_is_gone_from_other_prompts(session: Session, cases: Cases) -> None:
    rule = cases.rule[0]
    before = Ruler(session).case(rule.held_out[0], rule)
    teach(session, rule, rule.train[0])
    after = Ruler(session).case(rule.held_out[0], rule)
    assert (before.violates, before.obeys) == (0.5, 0.4)
    assert (after.violates, after.obeys) == (0.0, 1.0)


def test_no_call_is_ever_run(session: Session, cases: Cases) -> None:
    for rule in cases.rule:
        teach(session, rule, rule.train[0])
    assert not [r for r in records(session) if isinstance(r, ToolRan)]
    assert (session.workspace.root / "test_calc.py").exists() is False, "the second case's files alone"


def test_a_mistake_that_the_first_call_does_not_make_is_drawn_for(session: Session, cases: Cases) -> None:
    """`pytest -q` at even seeds."""
    rule = cases.rule[1]
    lesson = teach(session, rule, rule.train[0])
    samples = [r for r in records(session) if isinstance(r, SampleTaken)]
    assert lesson.attempts == len(samples)
    assert [s.params.temperature for s in samples[1:]] == [1.0] * (len(samples) - 1)
    assert samples[0].params.temperature == session.config.sampling.temperature


def test_one_that_is_never_made_is_said_so(session: Session, cases: Cases, policy: Any) -> None:
    rule = cases.rule[0]
    policy.untaught = ""  # as if it had learned already: it always edits
    lesson = teach(session, rule, rule.train[0])
    assert (lesson.outcome, lesson.attempts, lesson.steps) == ("not_made", ATTEMPTS, 0)
    assert not session.transcript.outcomes


def test_the_log_of_lessons_replays(
    session: Session, cases: Cases, untaught: Callable[[], ScriptedPolicy]
) -> None:
    for rule in cases.rule:
        teach(session, rule, rule.train[0])
    weights = session.policy.weights()
    assert any(isinstance(r, UpdateApplied) for r in records(session))
    report = Replayer(untaught(), trainers_of(Plugins(installed=False))).run(records(session))
    assert report.ok and report.weights == weights


def test_earlier_calls_of_a_case_are_in_the_conversation(session: Session, cases: Cases) -> None:
    rule = cases.rule[0]
    teach(session, rule, rule.train[0])
    sampled = next(r for r in records(session) if isinstance(r, SampleTaken))
    messages = session.transcript.sampled(sampled.id).messages
    assert messages[-2].call == Call(tool="read", arguments={"path": "test_calc.py"})
    assert "1| assert 1 == 2" in messages[-1].text


def test_teaching_leaves_the_sessions_settings_as_they_were(
    session: Session, cases: Cases, tmp_path: Path
) -> None:
    configured = session.config
    for rule in cases.rule:
        teach(session, rule, rule.train[0])
    assert session.config is configured
