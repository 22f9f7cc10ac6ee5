"""The learner on a tiny transformer: what a look says, what a step does, and what changes nothing."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser, StepReport
from continualcode.plugins.models.local import objectives as o
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.packing import Laid, Packed
from continualcode.plugins.models.local.rows import Seen, compared

Build = Callable[..., Example]

LOOK = math.inf
GRAMMAR = "7|8 12 40|9|10 2|11 3 33"  # two of the five positions leave no choice


def looked(learner: Learner, *examples: Example, **objective: Any) -> StepReport:
    batch = learner.prepare(examples, Objective(**objective), Optimiser())
    return learner.step(batch, stop_below=LOOK)


def gradient(adapter: Adapter, learner: Learner, *examples: Example, **objective: Any) -> Tensor:
    """What a step accumulates, read off an SGD-like trick: the first AdamW moment is 0.1 of the gradient."""
    adapter.reset()
    batch = learner.prepare(examples, Objective(**objective), Optimiser(grad_clip=math.inf))
    assert learner.step(batch, stop_below=0.0).stepped
    moments = [t.flatten() for name, t in learner.snapshot().moments.items() if name.endswith("exp_avg")]
    return torch.cat(moments) / 0.1


def by_hand(adapter: Adapter, example: Example, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Student's and teacher's log-probabilities [T, V] from two plain forward passes."""

    def score(prompt: tuple[int, ...]) -> Tensor:
        with torch.no_grad():
            logits = adapter.model(input_ids=torch.tensor([[*prompt, *example.completion_ids]])).logits[0]
        return o.log_probs(logits[len(prompt) - 1 : -1], example.temperature, allowed)

    return score(example.prompt_ids), score(example.teacher_ids)


def numbers(values: Tensor) -> list[float]:
    return [float(value) for value in values]


def length(vector: Tensor) -> float:
    return float(vector.square().sum().sqrt())


# -- Looking -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd", "sampled"])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_look_says_what_two_plain_forward_passes_say(
    adapter: Adapter, learner: Learner, example: Build, divergence: Any, temperature: float
) -> None:
    one, objective = example(temperature=temperature), Objective(divergence=divergence)
    student, teacher = by_hand(adapter, one)
    report = looked(learner, one, divergence=divergence)
    expected = o.divergence(student, teacher, objective)
    assert report.divergences[0] == pytest.approx(numbers(expected), abs=1e-5)
    assert report.divergence == pytest.approx(float(expected.mean()), abs=1e-5)
    tokens = torch.tensor(one.completion_ids)[:, None]
    advantages = (teacher - student).gather(1, tokens)[:, 0]
    assert report.advantages[0] == pytest.approx(numbers(advantages), abs=1e-5)


def test_a_look_steps_nowhere(adapter: Adapter, learner: Learner, example: Build) -> None:
    before = (learner.weights(), learner.optimiser_state())
    report = looked(learner, example())
    assert not report.stepped and report.grad_norm == 0.0
    assert (learner.weights(), learner.optimiser_state()) == before


def test_a_k_of_the_whole_vocabulary_is_the_full_divergence(learner: Learner, example: Build) -> None:
    full, top = looked(learner, example()), looked(learner, example(), top_k=50)
    assert top.divergence == pytest.approx(full.divergence, abs=1e-5)


def test_a_small_k_says_less_than_the_full_divergence(learner: Learner, example: Build) -> None:
    assert 0.0 < looked(learner, example(), top_k=2).divergence < looked(learner, example()).divergence


def test_top_k_may_exceed_what_the_grammar_allows(learner: Learner, example: Build) -> None:
    full, top = (looked(learner, example(grammar=GRAMMAR), top_k=k) for k in (None, 20))
    assert top.divergence == pytest.approx(full.divergence, abs=1e-5)


# -- Grammars ----------------------------------------------------------------------------------------


def test_both_sides_are_renormalised_over_what_the_grammar_allows(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    one = example(grammar=GRAMMAR)
    allowed = torch.zeros(5, 50, dtype=torch.bool)
    for row, ids in zip(allowed, GRAMMAR.split("|"), strict=True):
        row[[int(i) for i in ids.split()]] = True
    student, teacher = by_hand(adapter, one, allowed)
    assert looked(learner, one).divergences[0] == pytest.approx(numbers(o.kl(teacher, student)), abs=1e-5)


def test_forced_positions_are_zero_and_dilute_nothing(learner: Learner, example: Build) -> None:
    report = looked(learner, example(grammar=GRAMMAR))
    row = report.divergences[0]
    assert row[0] == row[2] == report.advantages[0][0] == report.advantages[0][2] == 0.0
    assert report.divergence == pytest.approx(sum(row) / 3)


def test_a_batch_without_choices_has_zero_loss_and_takes_no_step(learner: Learner, example: Build) -> None:
    before = learner.weights()
    batch = learner.prepare([example(grammar="7|8|9|10|11")], Objective(), Optimiser())
    report = learner.step(batch, stop_below=0.0)
    assert (report.loss, report.divergence, report.stepped) == (0.0, 0.0, False)
    assert learner.weights() == before


@pytest.mark.parametrize("aggregation", ["token_mean", "example_mean"])
def test_a_row_without_choices_changes_nothing(
    adapter: Adapter, learner: Learner, example: Build, aggregation: str
) -> None:
    one, forced = example(), example(sample="s2", grammar="7|8|9|10|11")
    alone = gradient(adapter, learner, one, aggregation=aggregation)
    assert torch.equal(gradient(adapter, learner, one, forced, aggregation=aggregation), alone)


# -- Batches -----------------------------------------------------------------------------------------


def test_the_gradient_of_a_batch_is_the_token_mean_of_its_rows(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    long, short = example(), example(completion_ids=(20, 21), sample="s2")
    both = gradient(adapter, learner, long, short)
    parts = gradient(adapter, learner, long) * 5 / 7 + gradient(adapter, learner, short) * 2 / 7
    assert torch.allclose(both, parts, rtol=1e-4, atol=1e-7)


def test_a_row_of_no_weight_is_seen_but_not_learned_from(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    one, muted = example(), example(completion_ids=(20, 21), sample="s2", weight=0.0)
    alone = gradient(adapter, learner, one)
    assert torch.allclose(gradient(adapter, learner, one, muted), alone, rtol=1e-4, atol=1e-7)
    assert len(looked(learner, one, muted).divergences) == 2


def test_the_accumulated_gradient_is_autograds_own(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    one = example()
    taken = gradient(adapter, learner, one)
    adapter.reset()
    _, teacher = by_hand(adapter, one)
    logits = adapter.model(input_ids=torch.tensor([[*one.prompt_ids, *one.completion_ids]])).logits[0]
    loss = o.kl(teacher, torch.log_softmax(logits[len(one.prompt_ids) - 1 : -1], -1)).mean()
    own = torch.cat([g.flatten() for g in torch.autograd.grad(loss, adapter.parameters())])
    assert torch.allclose(taken, own, rtol=1e-3, atol=1e-6)


def test_the_importance_ratio_scales_the_loss(adapter: Adapter, learner: Learner, example: Build) -> None:
    one = example()
    half = example(sampled_logprobs=tuple(lp - math.log(1.5) for lp in one.sampled_logprobs))
    assert looked(learner, half).loss == pytest.approx(1.5 * looked(learner, one).loss, rel=1e-4)
    far = example(sampled_logprobs=tuple(lp - 9.0 for lp in one.sampled_logprobs))
    assert looked(learner, far).loss == pytest.approx(2.0 * looked(learner, one).loss, rel=1e-4)


# -- The invariant -----------------------------------------------------------------------------------


def test_the_same_prompt_has_no_advantage_and_nothing_to_learn(learner: Learner, example: Build) -> None:
    one = example(teacher_ids=(1, 2, 3, 4))
    batch = learner.prepare([one], Objective(), Optimiser())
    report = learner.step(batch, stop_below=0.0)
    assert max(map(abs, report.advantages[0])) < 1e-6
    assert report.loss == 0.0 and not report.stepped


class Shifted(Adapter):
    """An adapter that answers one position late: for every prompt, or the first one asked for only."""

    def __init__(self, adapter: Adapter, times: float) -> None:
        vars(self).update(vars(adapter))
        self._times = times

    def logits(self, packed: Packed, at: Sequence[int]) -> Tensor:
        self._times -= 1
        late, last = (1 if self._times >= 0 else 0), len(packed.tokens) - 1
        return super().logits(packed, [min(place + late, last) for place in at])

    def laid(self, packed: Packed, paths: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Laid:
        late = 1 if math.isinf(self._times) else 0
        moved = [
            [min(at + late, path[-1]) for at in nodes] for path, nodes in zip(paths, wanted, strict=True)
        ]
        return super().laid(packed, paths, moved)


def test_a_teacher_one_position_off_fails_the_invariant(
    adapter: Adapter, new_learner: Callable[[Adapter], Learner], example: Build
) -> None:
    """The test of the test above: a shifted teacher is far from an advantage of zero."""
    report = looked(new_learner(Shifted(adapter, times=1)), example(teacher_ids=(1, 2, 3, 4)))
    assert max(map(abs, report.advantages[0])) > 0.1


def test_both_sides_one_position_off_disagree_with_what_was_sampled(
    adapter: Adapter, learner: Learner, new_learner: Callable[[Adapter], Learner], example: Build
) -> None:
    """A shift that both share cancels in the advantages, but gives on-policy tokens a ratio that is not 1."""
    one, shifted = example(), new_learner(Shifted(adapter, math.inf))
    right, wrong = (looked(who, one, ratio_clip=1e9) for who in (learner, shifted))
    assert right.loss == pytest.approx(right.divergence, rel=1e-4)
    assert wrong.loss != pytest.approx(wrong.divergence, rel=0.1)


# -- Stepping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("top_k", [None, 8])
def test_steps_bring_the_student_nearer_to_the_teacher(
    learner: Learner, example: Build, divergence: Any, top_k: int | None
) -> None:
    batch = learner.prepare([example()], Objective(divergence=divergence, top_k=top_k), Optimiser(lr=1e-2))
    looks = [learner.step(batch, stop_below=0.0) for _ in range(12)]
    assert all(look.stepped and look.grad_norm > 0 for look in looks)
    assert looks[-1].divergence < 0.3 * looks[0].divergence


def test_a_sampled_step_makes_a_token_that_the_teacher_prefers_likelier(
    learner: Learner, example: Build
) -> None:
    batch = learner.prepare([example()], Objective(divergence="sampled"), Optimiser(lr=1e-3))
    first = learner.step(batch, stop_below=0.0)
    second = learner.step(batch, stop_below=LOOK)
    before, after = (sum(a * a for a in r.advantages[0]) for r in (first, second))
    assert after < before


def test_at_or_below_the_bound_nothing_changes(learner: Learner, example: Build) -> None:
    batch = learner.prepare([example(), example(sample="s2")], Objective(), Optimiser())
    bound = learner.step(batch, stop_below=LOOK).divergence
    before = (learner.weights(), learner.optimiser_state())
    assert not learner.step(batch, stop_below=bound).stepped
    assert (learner.weights(), learner.optimiser_state()) == before
    assert learner.step(batch, stop_below=bound * 0.999).stepped


def test_a_new_correction_next_to_learned_ones_is_not_left_half_learned(
    learner: Learner, example: Build
) -> None:
    """The mean is below the bound, the one that is new is not."""
    new, learned = example(), example(teacher_ids=(1, 2, 3, 4))
    batch = learner.prepare([new, learned, learned], Objective(), Optimiser(lr=1e-9))
    mean = learner.step(batch, stop_below=LOOK).divergence
    assert learner.step(batch, stop_below=2 * mean).stepped
    assert not learner.step(batch, stop_below=3.1 * mean).stepped


def test_what_the_anchors_have_moved_is_left_to_learn_too(learner: Learner, example: Build) -> None:
    moved = learner.prepare([example()], Objective(), Optimiser(lr=1e-2))
    while learner.step(moved, stop_below=1e-3).stepped:
        pass
    anchor = example(part="anchor", teacher_ids=(1, 2, 3, 4), sampled_logprobs=(), weight=2.0)
    batch = learner.prepare([example(), anchor], Objective(aggregation="example_sum"), Optimiser(lr=1e-9))
    look = learner.step(batch, stop_below=LOOK)
    assert look.drift > 0.01
    left = look.divergence + 2.0 * look.drift
    assert learner.step(batch, stop_below=0.99 * left).stepped
    assert not learner.step(batch, stop_below=1.01 * left).stepped


def test_a_fresh_optimiser_forgets_its_moments(adapter: Adapter, learner: Learner, example: Build) -> None:
    one = example()

    def states(fresh: bool) -> list[str]:
        learner.reset()
        found: list[str] = []
        for _ in range(2):
            adapter.reset()
            batch = learner.prepare([one], Objective(), Optimiser(fresh=fresh))
            learner.step(batch, stop_below=0.0)
            found.append(learner.optimiser_state())
        return found

    first, second = states(fresh=True)
    assert first == second
    first, second = states(fresh=False)
    assert first != second


def test_a_fresh_optimiser_keeps_its_moments_within_an_update(learner: Learner, example: Build) -> None:
    batch = learner.prepare([example()], Objective(), Optimiser())
    for _ in range(3):
        learner.step(batch, stop_below=0.0)
    assert float(learner.snapshot().moments["0 step"]) == 3.0


def test_the_gradient_is_clipped_to_its_norm(adapter: Adapter, learner: Learner, example: Build) -> None:
    one = example()
    free = gradient(adapter, learner, one)
    adapter.reset()
    batch = learner.prepare([one], Objective(), Optimiser(grad_clip=1e-3))
    report = learner.step(batch, stop_below=0.0)
    moments = [t.flatten() for n, t in learner.snapshot().moments.items() if n.endswith("exp_avg")]
    assert report.grad_norm == pytest.approx(length(free), rel=1e-4)
    assert length(torch.cat(moments) / 0.1) == pytest.approx(1e-3, rel=1e-2)


def test_an_adamw_step_is_the_one_of_the_paper(adapter: Adapter, learner: Learner, example: Build) -> None:
    """m/(√v + ε) after bias correction is ±1 at first, so each entry moves by lr and decays by lr·λ."""
    before = adapter.snapshot()
    batch = learner.prepare([example()], Objective(), Optimiser(lr=1e-3, weight_decay=0.1, eps=1e-30))
    learner.step(batch, stop_below=0.0)
    for name, tensor in adapter.snapshot().items():
        moved = tensor - before[name] * (1 - 1e-3 * 0.1)
        still = moved.abs() < 1e-9  # A does not move at first: its gradient is a product with B = 0
        assert ((moved.abs() - 1e-3).abs()[~still] < 1e-6).all()
        assert still.all() == ("lora_A" in name)


# -- Back and again ----------------------------------------------------------------------------------


def test_restore_is_exact_and_the_next_step_the_same(learner: Learner, example: Build) -> None:
    one, optimiser = example(), Optimiser(lr=1e-2, fresh=False)
    batch = learner.prepare([one], Objective(), optimiser)
    learner.step(batch, stop_below=0.0)
    snapshot, digests = learner.snapshot(), (learner.weights(), learner.optimiser_state())
    after: list[tuple[str, str]] = []
    for _ in range(2):
        learner.restore(snapshot)
        assert (learner.weights(), learner.optimiser_state()) == digests
        learner.step(learner.prepare([one], Objective(), optimiser), stop_below=0.0)
        after.append((learner.weights(), learner.optimiser_state()))
    assert after[0] == after[1] != digests


def test_a_snapshot_is_not_moved_by_later_steps(learner: Learner, example: Build) -> None:
    batch = learner.prepare([example()], Objective(), Optimiser(lr=1e-2))
    learner.step(batch, stop_below=0.0)
    snapshot = learner.snapshot()
    copies = {name: t.clone() for name, t in {**snapshot.weights, **snapshot.moments}.items()}
    learner.step(batch, stop_below=0.0)
    assert all(torch.equal(copies[name], t) for name, t in {**snapshot.weights, **snapshot.moments}.items())


def test_reset_forgets_everything(learner: Learner, example: Build) -> None:
    before = (learner.weights(), learner.optimiser_state())
    batch = learner.prepare([example()], Objective(teacher="ema"), Optimiser())
    learner.step(batch, stop_below=0.0)
    assert (learner.weights(), learner.optimiser_state()) != before
    learner.reset()
    assert (learner.weights(), learner.optimiser_state()) == before


def test_two_runs_end_in_the_same_bits(learner: Learner, example: Build) -> None:
    rows = [example(), example(sample="s2", grammar=GRAMMAR)]

    def run() -> tuple[str, str]:
        learner.reset()
        batch = learner.prepare(rows, Objective(teacher="ema"), Optimiser(lr=1e-2))
        for _ in range(4):
            learner.step(batch, stop_below=0.0)
        return learner.weights(), learner.optimiser_state()

    assert run() == run()


@pytest.mark.parametrize("objective", [Objective(), Objective(top_k=3), Objective(divergence="sampled")])
def test_rows_compared_together_are_compared_as_alone(
    learner: Learner, example: Build, objective: Objective
) -> None:
    """As on a GPU, with a row of each kind, and one in which nothing was free."""
    grammar = "7|8 9|9 10|10|11 12"
    shown = {"part": "demonstration", "sampled_logprobs": ()}
    rows = [
        example(),
        example(sample="s2", completion_ids=(7, 9, 10), temperature=0.5),
        example(sample="s3", grammar=grammar),
        example(sample="s4", grammar="7|8|9|10|11"),
        example(sample="s5", completion_ids=(12, 13), **shown),
        example(sample="s6", completion_ids=(14,), **shown),
        example(sample="s7", grammar=grammar, **shown),
    ]
    inside: Any = learner
    batch = learner.prepare(rows, objective, Optimiser())
    found: list[list[Seen]] = []
    slopes: list[list[Tensor]] = []
    for together in (False, True):
        found.append(compared(batch.rows, scored := inside._scorer.logits(batch.rows), objective, together))
        total = torch.stack([one.losses.sum() for one in found[-1] if one.row.free]).sum()
        slopes.append(list(torch.autograd.grad(total, [one for one in scored if one is not None])))
    for alone, together in zip(*found, strict=True):
        assert alone.row is together.row
        for one, other in zip(alone[1:], together[1:], strict=True):
            assert torch.allclose(one.float(), other.float(), atol=1e-6)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(*slopes, strict=True))
