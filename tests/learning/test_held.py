"""Where a correction is about a call's arguments, how the tool is called elsewhere is held."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example, Objective, Optimiser
from continualcode.core.events import UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import read
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.trainers.held import HELD, LONGEST
from continualcode.plugins.trainers.rehearsal import rehearsed
from continualcode.plugins.trainers.siblings import about
from continualcode.plugins.trainers.situations import KINDS

Build = Callable[..., Example]
WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})


class Discerning(ScriptedPolicy):
    """Finds all of the first kind alike, and nothing else."""

    def nearness(self, prompt: object, others: list[object]) -> list[float]:
        """1 for the first ones, then 0."""
        return [float(number < len(KINDS[0])) for number in range(len(others))]


def taught(folder: Path, words: str, **trainer: float) -> Session:
    """A session in which a call of `write` was denied with `words`, and learned from."""
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", **trainer})
    ui = ScriptedUI(["make a.py"], [Answer(verdict="deny", reason=words)])
    session = open_scripted(folder, ui=ui, policy=Discerning([WRITE]), config=config)
    engine.run(session)
    return session


def rows(session: Session) -> tuple[Example, ...]:
    """Of the session's first update."""
    started = [r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted)]
    return plan_of(started[0], session.transcript).examples


def test_calls_of_the_tool_in_question_are_held_next_to_what_the_correction_is_about(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Files go into src/."))
    held = [row for row in found if row.part == "held"]
    assert len(held) == HELD and sum(row.weight for row in held) == pytest.approx(3.0)
    learned = {row.prompt_ids for row in found if row.part in ("demonstration", "sibling", "near")}
    assert not learned & {row.prompt_ids for row in held}
    assert all(row.prompt_ids == row.teacher_ids and row.guidance == 1.0 for row in held)


def test_up_to_where_the_demonstration_parts_from_what_was_rejected(tmp_path: Path) -> None:
    session = taught(tmp_path / "w", "Files go into src/.")
    found = rows(session)
    rejected = session.transcript.sampled(found[0].sample).completion_ids
    shown = found[0].completion_ids
    for row in found:
        if row.part == "held":
            count = len(row.completion_ids)
            assert row.completion_ids == shown[:count] and row.grammar == found[0].grammar
            assert shown[: count - 1] == rejected[: count - 1]
            assert count == LONGEST or shown[count - 1 : count] != rejected[count - 1 : count]


def test_none_are_where_another_tool_is_asked_for_or_nothing_is_held(tmp_path: Path) -> None:
    assert not any(row.part == "held" for row in rows(taught(tmp_path / "a", "Use bash.")))
    assert not any(row.part == "held" for row in rows(taught(tmp_path / "b", "Not there.", anchors=0.0)))


def test_they_are_no_ones_lesson(tmp_path: Path) -> None:
    """Nothing of them is rehearsed, and later corrections' anchors may hold on to their prompts."""
    found = rows(taught(tmp_path / "w", "Files go into src/."))
    held = {row.prompt_ids for row in found if row.part == "held"}
    beside = {row.prompt_ids for row in found if row.part == "beside"}
    assert held - beside and not (held - beside) & about(found, now=True)
    assert not held & {row.prompt_ids for row in rehearsed([], [found], 1.0)}


def test_they_pull_as_anchors_do(learner: Learner, example: Build) -> None:
    """A held row's student is pulled back to the base model, and what it has moved is in the drift."""
    lesson = example(part="demonstration", sampled_logprobs=())
    held = example(part="held", prompt_ids=(9, 8, 4), teacher_ids=(9, 8, 4), sampled_logprobs=(), weight=3.0)
    objective, optimiser = Objective(teacher="base"), Optimiser(lr=1e-2)
    moved: list[float] = []
    for weight in (1e-6, 3.0):
        learner.reset()
        batch = learner.prepare([lesson, msgspec.structs.replace(held, weight=weight)], objective, optimiser)
        for _ in range(6):
            learner.step(batch, stop_below=0.0)
        moved.append(learner.step(batch, stop_below=float("inf")).drift)
    assert 0.0 < moved[1] < moved[0]
