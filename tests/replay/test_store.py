"""What was trained once is not trained again: resuming, snapshots, and what may be let go of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.curriculum import Choice, Course
from continualcode.core.data import StepReport
from continualcode.core.protocols import Trainer
from continualcode.core.retraining import Changes, Retrained, retrained
from continualcode.core.store import EVERY, WeightStore, rebuild_seconds
from continualcode.core.testing import ScriptedPolicy

Record = Callable[..., Path]
TrainerOf = Callable[[str, Any], Trainer]
CourseAt = Callable[[Path], Course]

WORDS = tuple(f"Number {i}." for i in range(8))


@pytest.fixture
def store(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path / "weights")


@pytest.fixture
def whole(record: Record, course_at: CourseAt) -> Course:
    return course_at(record(WORDS, trainer={"rehearsal": 0.5, "anchors": 0.0, "fresh": False}))


class Killed(ScriptedPolicy):
    """Dies in the middle of an update: at step `at`, counted over all updates."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().step(batch, stop_below=stop_below)


def again(course: Course, trainer_of: TrainerOf, store: WeightStore, *without: str) -> Retrained:
    changes = Changes(choice=Choice(without=without))
    return retrained([course], trainer_of, ScriptedPolicy(), changes, store=store, resume=True)


@pytest.mark.parametrize("at", [0, 1, 7, 16])
def test_a_killed_replay_goes_on_and_trains_nothing_twice(
    record: Record, course_at: CourseAt, trainer_of: TrainerOf, store: WeightStore, at: int
) -> None:
    whole = course_at(record(WORDS, gated=False))
    with pytest.raises(KeyboardInterrupt):
        retrained([whole], trainer_of, Killed(at), store=store)
    done = len(store.every())
    found = again(whole, trainer_of, store)
    assert found.weights == whole.transcript.weights
    assert found.trained == len(WORDS) - done
    assert [use.outcome for use in found.updates] == ["as_logged"] * len(WORDS)


def test_leaving_out_begins_at_the_last_update_that_it_does_not_touch(
    record: Record, course_at: CourseAt, trainer_of: TrainerOf, store: WeightStore
) -> None:
    whole = course_at(record(WORDS, gated=False))
    retrained([whole], trainer_of, ScriptedPolicy(), store=store)
    out = str(whole.attempts[EVERY + 1].own[0].seq)
    found = again(whole, trainer_of, store, out)
    afresh = retrained([whole], trainer_of, ScriptedPolicy(), Changes(choice=Choice(without=(out,))))
    assert (found.weights, found.optimiser) == (afresh.weights, afresh.optimiser)
    # The update after the kept state is trained again, as is what comes after the one left out.
    assert found.trained == 1 + len(WORDS) - EVERY - 2


def test_without_resume_everything_is_trained(
    whole: Course, trainer_of: TrainerOf, store: WeightStore
) -> None:
    retrained([whole], trainer_of, ScriptedPolicy(), store=store)
    assert retrained([whole], trainer_of, ScriptedPolicy(), store=store).trained == len(WORDS)


def test_of_the_states_each_fifth_and_the_last_are_kept(
    record: Record, course_at: CourseAt, trainer_of: TrainerOf, store: WeightStore
) -> None:
    retrained([course_at(record(WORDS, gated=False))], trainer_of, ScriptedPolicy(), store=store)
    assert [one.depth for one in store.every() if store.has(one)] == [EVERY, len(WORDS)]


def test_what_can_be_rebuilt_is_counted_from_the_nearest_state_that_stays(
    record: Record, course_at: CourseAt, trainer_of: TrainerOf, store: WeightStore
) -> None:
    retrained([course_at(record(WORDS, gated=False))], trainer_of, ScriptedPolicy(), store=store)
    every = store.every()
    last = every[-1]
    assert rebuild_seconds(last, store) == pytest.approx(sum(one.seconds for one in every[EVERY:]))
    store.drop(every[EVERY - 1])
    assert rebuild_seconds(last, store) == pytest.approx(sum(one.seconds for one in every))
    (store.folder / "known" / f"{every[0].key}.json").unlink()
    assert rebuild_seconds(last, store) == float("inf")


def test_another_log_with_the_same_corrections_shares_what_was_trained(
    record: Record, course_at: CourseAt, trainer_of: TrainerOf, store: WeightStore
) -> None:
    """Keys are of what plans say, not of ids."""
    one, other = (course_at(record(WORDS, gated=False)) for _ in range(2))
    retrained([one], trainer_of, ScriptedPolicy(), store=store)
    assert again(other, trainer_of, store).trained == 0
