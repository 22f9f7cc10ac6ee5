"""Where a correction is about a call's arguments, how the tool is called elsewhere is held."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from continualcode.plugins.trainers.held import HELD
from continualcode.plugins.trainers.ranking import PORTIONS
from continualcode.plugins.trainers.rehearsal import rehearsed
from continualcode.plugins.trainers.siblings import about
from continualcode.plugins.trainers.situations import KINDS, SITUATIONS, taking

Build = Callable[..., Example]
WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})


class Discerning(ScriptedPolicy):
    """Finds all of the first kind alike, and nothing else."""

    def nearness(self, wordings: object, others: list[object]) -> list[float]:
        """1 for the first ones, then 0."""
        return [float(number < len(KINDS[0])) for number in range(len(others))]


SHOWN = {
    "Files go into src/.": Call(tool="write", arguments={"path": "src/a.py", "content": "x"}),
    "Write y.": Call(tool="write", arguments={"path": "a.py", "content": "y"}),
    "Use edit_lines.": Call(tool="edit_lines", arguments={"path": "a.py"}),
}
"""What the teacher does when it reads these words."""


class Watching(ScriptedUI):
    """Keeps how far what an update is about has been read."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.read: list[tuple[int, int]] = []

    def progress(self, label: str, done: int, total: int) -> None:
        """As the session reports it."""
        if label == "reading":
            self.read.append((done, total))


def taught(folder: Path, words: str, **trainer: float) -> Session:
    """A session in which a call of `write` was denied with `words`, and learned from."""
    config = Config(
        model={"name": "test:policy"}, trainer={"name": "sdpo", "demonstration_tokens": 64, **trainer}
    )
    ui = Watching(["make a.py"], [Answer(verdict="deny", reason=words)])
    policy = Discerning([WRITE])
    policy.shows = policy.format_call(SHOWN[words])
    session = open_scripted(folder, ui=ui, policy=policy, config=config)
    engine.run(session)
    return session


def rows(session: Session) -> tuple[Example, ...]:
    """Of the session's first update."""
    started = [r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted)]
    return plan_of(started[0], session.transcript).examples


def begins(found: tuple[Example, ...]) -> set[str]:
    """How the calls begin that are held."""
    return {bytes(row.completion_ids).decode() for row in found if row.part == "held"}


def test_calls_of_the_tool_in_question_are_held_as_far_as_an_arguments_first_token(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Files go into src/."))
    held = [row for row in found if row.part == "held"]
    assert sum(row.weight for row in held) == pytest.approx(1.0), "as much as the correction"
    assert begins(found) == {'{"name": "write", "arguments": {"path": "s'}
    assert all(row.prompt_ids == row.teacher_ids and row.guidance == 1.0 for row in held)


def test_and_the_next_ones_in_the_base_models_own_call_up_to_the_last(tmp_path: Path) -> None:
    """A file's content may be what is corrected. Where it begins as what was rejected, it is not held."""
    held = begins(rows(taught(tmp_path / "y", "Write y.", demonstration_tokens=96)))
    assert held == {'{"name": "write", "arguments": {"path": "a.py", "content": "y'}
    held = begins(rows(taught(tmp_path / "x", "Files go into src/.", demonstration_tokens=96)))
    assert held == {'{"name": "write", "arguments": {"path": "s'}


def test_on_the_nearest_requests_that_take_it_and_are_about_something_else(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "w", "Files go into src/."))
    held = [bytes(row.prompt_ids).decode() for row in found if row.part == "held"]
    usual = taking("write", SITUATIONS)
    assert len(held) == HELD
    assert all(any(one.text in prompt for one in usual) for prompt in held)
    assert not any(one.text in prompt for one in KINDS[0].requests for prompt in held), "what it may be about"


def test_siblings_are_shown_as_long_a_call_as_the_corrected_prompt(tmp_path: Path) -> None:
    found = rows(taught(tmp_path / "a", "Files go into src/.", demonstration_tokens=96))
    (lesson,) = [row for row in found if row.part == "demonstration"]
    long = [len(row.completion_ids) for row in found if row.part == "sibling"]
    assert long and set(long) == {len(lesson.completion_ids)}


def test_how_far_that_is_is_told_and_not_that_it_is_done_before_it_is(tmp_path: Path) -> None:
    """A terminal ends a line of progress there: every call that was held was a line of its own."""
    ui = taught(tmp_path / "a", "Files go into src/.").ui
    assert isinstance(ui, Watching)
    done = [done for done, _ in ui.read]
    assert done == sorted(set(done)) and len(done) > PORTIONS + HELD
    assert all(done < total for done, total in ui.read)


def test_none_are_where_another_tool_is_asked_for_or_nothing_is_held_on_to(tmp_path: Path) -> None:
    assert not begins(rows(taught(tmp_path / "a", "Use edit_lines.")))
    assert not begins(rows(taught(tmp_path / "b", "Files go into src/.", anchors=0.0)))


def test_of_a_tool_that_no_known_request_takes_all_are_as_good() -> None:
    assert taking("deploy", SITUATIONS) == list(SITUATIONS)
    assert {tool for kind in KINDS for tool in kind.tools} >= {"bash", "reply"}


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
