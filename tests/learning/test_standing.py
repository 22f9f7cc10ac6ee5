"""What must stay is scored in a session's first update, and no bit depends on when that was."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.batch import Batch
from continualcode.plugins.models.local.learner import Learner

Build = Callable[..., Example]
OBJECTIVE, OPTIMISER = Objective(teacher="base", in_turn=2), Optimiser(lr=1e-2, whiten=0.03)


@pytest.fixture
def adapter(new_adapter: Callable[..., Adapter]) -> Adapter:
    return new_adapter(acts_on="completion")


@pytest.fixture
def rows(example: Build) -> list[Example]:
    """A correction, four anchors and a probe; of the anchors the last is left out."""
    stays: dict[str, Any] = {"correction": "", "sampled_logprobs": ()}
    prompts = [(20 + n, 8 + n, 4) for n in range(5)]
    parts = ("anchor", "anchor", "anchor", "anchor", "probe")
    kept = [
        example(**stays, part=part, prompt_ids=ids, teacher_ids=ids, weight=float(n != 3))
        for n, (part, ids) in enumerate(zip(parts, prompts, strict=True))
    ]
    return [example(part="demonstration", sampled_logprobs=()), *kept]


def update(learner: Learner, rows: list[Example]) -> Batch:
    """Three steps."""
    batch = learner.prepare(rows, OBJECTIVE, OPTIMISER)
    for _ in range(3):
        learner.step(batch, stop_below=0.0)
    return batch


def later(rows: list[Example], out: int) -> list[Example]:
    """The rows of an update after another sample, which leaves another anchor out."""
    return [
        msgspec.structs.replace(row, sample="s2", weight=float(n != out)) if not row.correction else row
        for n, row in enumerate(rows)
    ]


def test_a_later_update_finds_them_scored(learner: Learner, rows: list[Example]) -> None:
    first, second = update(learner, rows), update(learner, later(rows, out=1))
    assert second.rows[-1].teacher is first.rows[-1].teacher
    assert second.rows[0].teacher is not first.rows[0].teacher
    assert [bool(row.free) for row in first.rows] == [True, True, True, True, False, True]
    assert [bool(row.free) for row in second.rows] == [True, False, True, True, True, True]


def test_the_same_bits_come_out_where_nothing_was(
    adapter: Adapter, new_learner: Callable[[Adapter], Learner], rows: list[Example]
) -> None:
    learner = new_learner(adapter)
    update(learner, rows)
    between = learner.snapshot()
    update(learner, later(rows, out=1))
    wanted = learner.weights(), learner.optimiser_state()
    other = new_learner(adapter)
    other.restore(between)
    update(other, later(rows, out=1))
    assert (other.weights(), other.optimiser_state()) == wanted


def test_other_rows_are_scored_anew(learner: Learner, rows: list[Example]) -> None:
    first = update(learner, rows)
    changed = [*rows[:-1], msgspec.structs.replace(rows[-1], completion_ids=(12, 13))]
    second = update(learner, changed)
    assert len(second.rows[-1].free) == 2
    assert second.rows[1].teacher is not first.rows[1].teacher


def test_rows_that_cannot_be_scored_leave_nothing_behind(learner: Learner, rows: list[Example]) -> None:
    bad = [*rows[:-1], msgspec.structs.replace(rows[-1], grammar="7|8|9|10|12")]
    with pytest.raises(UpdateError, match="the grammar does not allow token 11"):
        learner.prepare(bad, OBJECTIVE, OPTIMISER)
    assert all(row.free for row in learner.prepare(rows, OBJECTIVE, OPTIMISER).rows if row.example.weight)


def test_rows_of_samples_drawn_at_0_and_at_1_are_the_same(learner: Learner, rows: list[Example]) -> None:
    """A second try is drawn at 1; both are scored at 1."""
    cold, warm = ([msgspec.structs.replace(row, temperature=t) for row in rows] for t in (0.0, 1.0))
    assert update(learner, warm).rows[-1].teacher is update(learner, cold).rows[-1].teacher
