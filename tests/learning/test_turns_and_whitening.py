"""Which rows a step takes, what their positions count for, and in which coordinates it steps."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.plugins.models.local import whitening
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.weighing import taken

Build = Callable[..., Example]

ANCHOR: dict[str, Any] = {
    "correction": "",
    "part": "anchor",
    "prompt_ids": (9, 8, 4),
    "teacher_ids": (9, 8, 4),
    "sampled_logprobs": (),
}
SHOWN: dict[str, Any] = {"part": "demonstration", "sampled_logprobs": ()}


def a_row(**changes: Any) -> Example:
    """One that is not computed."""
    fields: dict[str, Any] = {"correction": "c1", "sample": "s1", "prompt_ids": (9,), "teacher_ids": (9,)}
    fields |= {"completion_ids": (7,), "sampled_logprobs": (), "temperature": 1.0, "grammar": None}
    return Example(**(fields | changes))


# -- In turn -------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 90), most=st.integers(1, 20))
def test_anchors_take_part_in_turn_and_stand_for_all_of_them(rows: int, most: int) -> None:
    several = [a_row(), *(a_row(**ANCHOR) for _ in range(rows))]
    turns = math.ceil(rows / most)
    steps = [taken(several, Objective(in_turn=most), step, [1.0] * len(several)) for step in range(turns)]
    assert all(times[0] == 1.0 for times in steps), "a correction takes part in every step"
    assert all(sum(times[1:]) == pytest.approx(rows) for times in steps)
    assert all(sum(map(bool, times[1:])) <= most for times in steps)
    assert [sum(bool(times[n]) for times in steps) for n in range(1, rows + 1)] == [1] * rows


def test_a_step_takes_anchors_of_many_kinds() -> None:
    """Those of a kind are beside each other: a step on some kinds alone moves the others."""
    several = [a_row(**ANCHOR) for _ in range(64)]
    for step in range(4):
        times = taken(several, Objective(in_turn=16), step, [1.0] * 64)
        assert all(sum(map(bool, times[kind : kind + 4])) == 1 for kind in range(0, 64, 4))


def test_what_is_new_takes_part_in_every_step_what_is_rehearsed_in_turn() -> None:
    new, old = [a_row(part="sibling")] * 6, [a_row(part="rehearsed")] * 8
    for step in range(2):
        times = taken([*new, *old], Objective(in_turn=4), step, [1.0] * 14)
        assert times[:6] == [1.0] * 6
        assert sorted(times[6:]) == [0.0] * 4 + [2.0] * 4


@pytest.mark.parametrize("in_turn", [0, 2, 4])
def test_what_anchors_have_moved_is_as_much_whether_all_are_seen_or_some_in_turn(
    learner: Learner, example: Build, in_turn: int
) -> None:
    """Of four alike; else an update is over while they are still on the move."""
    rows = [example(), *(example(**ANCHOR, weight=0.5) for _ in range(4))]
    wanted = Objective(in_turn=in_turn, aggregation="example_sum")
    batch = learner.prepare(rows, wanted, Optimiser(lr=1e-2))
    learner.step(batch, stop_below=0.0)
    moved = learner.snapshot()
    report = learner.step(batch, stop_below=0.0)
    corrected, *anchors = (math.fsum(each) for each in report.divergences)
    assert max(anchors) > 1e-3
    left = corrected + 4 * 0.5 * max(anchors)
    for share in (1.001, 0.999):
        learner.restore(moved)
        assert learner.step(batch, stop_below=share * left).stepped == (share < 1.0)


@pytest.mark.parametrize("in_turn", [0, 2])
def test_a_steps_divergence_is_of_all_that_is_rehearsed_as_a_looks_is(
    learner: Learner, example: Build, in_turn: int
) -> None:
    """The gate compares the two: what was there at the first step, and what a last look finds."""
    rows = [example(), *(example(**SHOWN | {"part": "rehearsed"}) for _ in range(4))]
    wanted = Objective(in_turn=in_turn, aggregation="example_sum")
    batch = learner.prepare(rows, wanted, Optimiser())
    step, look = (learner.step(batch, stop_below=below) for below in (1e9, math.inf))
    assert step.divergence == pytest.approx(look.divergence, rel=1e-5)


def test_what_weighs_nothing_has_no_turn(example: Build) -> None:
    rows = [example(**ANCHOR) for _ in range(3)]
    assert taken(rows, Objective(in_turn=2), 0, [1.0, 0.0, 1.0]) == [1.0, 0.0, 1.0]


def test_rows_that_are_near_cost_nothing_and_have_no_figures(learner: Learner, example: Build) -> None:
    near = example(part="near", weight=0.0, sampled_logprobs=())
    batch = learner.prepare([example(), near], Objective(), Optimiser())
    report = learner.step(batch, stop_below=0.0)
    assert report.divergences[1] == () or set(report.divergences[1]) == {0.0}
    alone = learner.prepare([example()], Objective(), Optimiser())
    assert len(batch.rows[0].laid.packed.tokens) == len(alone.rows[0].laid.packed.tokens)


def test_a_forced_row_is_learned_where_the_student_alone_has_a_choice(
    learner: Learner, example: Build
) -> None:
    fields = {**SHOWN, "grammar": "7|8 9|9|10|11", "student_grammar": "5 7|8 9|9|10|11 12"}
    for forced, free in ((False, (1,)), (True, (0, 1, 4))):
        (row,) = learner.prepare([example(**fields, forced=forced)], Objective(), Optimiser()).rows
        assert row.free == free
    report = learner.step(
        learner.prepare([example(**fields, forced=True)], Objective(), Optimiser()), stop_below=0.0
    )
    assert report.advantages[0][0] > 0.0, "the teacher is certain of the token, the student is not"
    assert report.divergences[0][0] == pytest.approx(report.advantages[0][0], abs=1e-5)


# -- What counts ---------------------------------------------------------------------------------------


def test_the_first_decision_counts_most(learner: Learner, example: Build) -> None:
    one = example(**SHOWN)
    batch = learner.prepare([one], Objective(decisions=True), Optimiser())
    learner.step(batch, stop_below=0.0)
    (emphasis,) = batch.emphasis.values()
    assert emphasis[0] == 1.0 and emphasis[-1] < 1.0
    assert all(then <= now for now, then in pairwise(emphasis))


def test_an_anchor_within_the_slack_pulls_nothing(adapter: Adapter, learner: Learner, example: Build) -> None:
    rows = [example(**SHOWN), example(**ANCHOR)]
    learner.step(learner.prepare(rows, Objective(), Optimiser(lr=1e-2)), stop_below=0.0)
    before = learner.snapshot()
    after: list[torch.Tensor] = []
    for examples in (rows, rows[:1]):
        learner.restore(before)
        weights = Optimiser(lr=1e-3, grad_clip=1e-3)  # clipped, so that only directions count
        learner.step(learner.prepare(examples, Objective(slack=100.0), weights), stop_below=0.0)
        after.append(torch.cat([factor.flatten() for factor in learner.snapshot().weights.values()]))
    assert torch.allclose(after[0], after[1], atol=1e-6)


def test_a_sharper_teacher_is_surer_of_what_it_would_rather_do(learner: Learner, example: Build) -> None:
    plain, sharp = (
        learner.prepare([example(**SHOWN)], Objective(sharpness=by), Optimiser()).rows[0].teacher
        for by in (1.0, 2.0)
    )
    assert torch.equal(plain.argmax(-1), sharp.argmax(-1))
    assert bool((sharp.amax(-1) > plain.amax(-1)).all())


# -- Whitening -----------------------------------------------------------------------------------------


def test_what_anchors_send_into_b_is_white_in_the_new_coordinates(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    anchor = example(**ANCHOR)
    inputs: dict[str, Any] = {}
    model: Any = adapter.model

    def keeping(name: str) -> Any:
        def keep(_module: object, _given: object, out: torch.Tensor) -> None:
            inputs[name] = out[0].detach().double()

        return keep

    modules = {name: module for name, module in model.named_modules() if name.endswith(".lora_A.default")}
    hooks = [module.register_forward_hook(keeping(name)) for name, module in modules.items()]
    model(input_ids=torch.tensor([[*anchor.prompt_ids, *anchor.completion_ids[:-1]]]))
    for hook in hooks:
        hook.remove()
    found = learner.prepare([example(**ANCHOR)], Objective(), Optimiser(whiten=1e-9)).whitening
    for name, by in zip(adapter.names(), found, strict=True):
        if by is not None:
            sent = inputs[name.replace("lora_B.default.weight", "lora_A.default")] @ by.double()
            assert torch.allclose(sent.T @ sent / len(sent), torch.eye(4).double(), atol=1e-2)
    assert [by is None for by in found] == ["lora_A" in name for name in adapter.names()]


def test_the_same_correction_moves_an_anchor_less(learner: Learner, example: Build) -> None:
    rows = [example(**SHOWN), example(**ANCHOR)]
    drift: list[float] = []
    for whiten in (None, 0.03):
        learner.reset()
        optimiser = Optimiser(lr=3e-3, whiten=whiten)
        batch = learner.prepare([rows[0], example(**{**ANCHOR, "weight": 1e-9})], Objective(), optimiser)
        first = learner.step(batch, stop_below=0.0)
        report = first
        for _ in range(60):
            report = learner.step(batch, stop_below=first.divergence / 2)
            if not report.stepped:
                break
        drift.append(report.drift)
    assert drift[1] < drift[0]


def test_hooks_are_gone_when_the_maps_are_made(adapter: Adapter) -> None:
    with pytest.raises(RuntimeError, match="no"):
        whitening.maps(adapter, 0.1, lambda: (_ for _ in ()).throw(RuntimeError("no")))
    model: Any = adapter.model
    assert not any(module._forward_hooks for module in model.modules())


def test_a_learning_rate_that_falls_moves_less_later(learner: Learner, example: Build) -> None:
    moved: list[float] = []
    for over in (0, 4):
        learner.reset()
        batch = learner.prepare([example(**SHOWN)], Objective(), Optimiser(over=over))
        for _ in range(3):
            learner.step(batch, stop_below=0.0)
        before = learner.snapshot().weights
        learner.step(batch, stop_below=0.0)
        after = learner.snapshot().weights
        moved.append(sum(float((after[name] - before[name]).abs().sum()) for name in after))
    assert moved[1] < moved[0] / 2


def test_weights_decay_in_every_direction_alike_however_white(
    learner: Learner, adapter: Adapter, example: Build
) -> None:
    rows = [example(**SHOWN), example(**ANCHOR)]
    moved: list[list[torch.Tensor]] = []
    for decay in (0.0, 0.5):
        learner.reset()
        learner.step(learner.prepare(rows, Objective(), Optimiser(lr=1e-2)), stop_below=0.0)
        before = [factor.clone() for factor in adapter.parameters()]
        batch = learner.prepare(rows, Objective(), Optimiser(lr=1e-2, whiten=0.03, weight_decay=decay))
        learner.step(batch, stop_below=0.0)
        shrunk = [factor * (1.0 - 1e-2 * decay) for factor in before]
        moved.append([p.detach() - was for p, was in zip(adapter.parameters(), shrunk, strict=True)])
    for with_none, with_some in zip(*moved, strict=True):
        assert torch.allclose(with_none, with_some, atol=1e-6)
