"""The teachers: whose weights score the corrected context."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.local import teachers
from continualcode.plugins.models.local.adapter import Adapter, Factors
from continualcode.plugins.models.local.batch import Batch
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.teachers import Ema, compressed, pairs, trust_region


def products(factors: Factors) -> dict[str, Tensor]:
    return {a: factors[b].double() @ factors[a].double() for a, b in pairs(factors)}


def random_factors(seed: int) -> Factors:
    """Factors of rank 4 of two layers, 30 → 40 and 40 → 35."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x.lora_A": (4, 30), "x.lora_B": (40, 4), "y.lora_A": (4, 40), "y.lora_B": (35, 4)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def untrained() -> Factors:
    """The same with B = 0."""
    return {name: t if "lora_A" in name else torch.zeros_like(t) for name, t in random_factors(99).items()}


def trained(learner: Learner, example: Example, objective: Objective, steps: int = 2) -> Batch:
    batch = learner.prepare([example], objective, Optimiser(lr=1e-2))
    for _ in range(steps):
        assert learner.step(batch, stop_below=0.0).stepped
    return batch


def teacher_of(learner: Learner, example: Example, **objective: object) -> Tensor:
    batch = learner.prepare([example], Objective(**objective), Optimiser())  # type: ignore[arg-type]  # as given
    return batch.rows[0].teacher


# -- The moving average ------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 20])
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_ema_after_n_steps_at_constant_weights(steps: int, rate: float) -> None:
    """ΔW of the teacher is (1 − (1−τ)^n) of the student's; 20 steps pass the limit of the rank many times."""
    student, ema = random_factors(1), Ema(untrained())
    for _ in range(steps):
        ema = ema.stepped(student, rate)
    for name, product in products(student).items():
        expected = (1 - (1 - rate) ** steps) * product
        assert torch.allclose(products(ema.factors)[name], expected, rtol=1e-4, atol=1e-5)
    assert ema.error < 1e-6


def test_ema_is_of_the_product_not_of_the_factors() -> None:
    """From a zero-initialised adapter the first step is τ of the student; averaging factors makes it τ²."""
    start, student = untrained(), random_factors(1)
    taught = products(Ema(start).stepped(student, 0.1).factors)
    by_factors = products({name: 0.9 * start[name] + 0.1 * student[name] for name in start})
    for name, product in products(student).items():
        assert torch.allclose(taught[name], 0.1 * product, atol=1e-5)
        assert not torch.allclose(by_factors[name], 0.1 * product, atol=1e-2)


def test_ema_of_moving_weights_is_exact_until_the_rank_is_cut() -> None:
    ema, by_hand = Ema(untrained()), products(untrained())
    for seed in range(teachers.MAX_GROWTH - 1):
        student = random_factors(seed)
        ema = ema.stepped(student, 0.3)
        by_hand = {name: 0.7 * by_hand[name] + 0.3 * product for name, product in products(student).items()}
    assert ema.error == 0.0
    assert all(torch.allclose(products(ema.factors)[name], by_hand[name], atol=1e-4) for name in by_hand)


def test_the_rank_stays_bounded_and_what_was_cut_is_told() -> None:
    ema = Ema(untrained())
    for seed in range(12):
        ema = ema.stepped(random_factors(seed), 0.3)
    assert max(ema.factors[a].shape[0] for a, _ in pairs(ema.factors)) <= teachers.MAX_GROWTH * 4
    assert 0.0 < ema.error < 1.0


def test_compressing_loses_exactly_what_it_says() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(12, 30, generator=generator), torch.randn(20, 12, generator=generator)
    low_a, low_b, lost = compressed(a, b, 5)
    assert low_a.shape == (5, 30) and low_b.shape == (20, 5)
    assert float(((b @ a - low_b @ low_a).square().sum() / (b @ a).square().sum()).sqrt()) == pytest.approx(
        lost, rel=1e-4
    )


def test_compressing_within_the_rank_loses_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 30, generator=generator), torch.randn(20, 3, generator=generator)
    low_a, low_b, lost = compressed(a.repeat(4, 1), b.repeat(1, 4), 3)
    assert lost < 1e-12
    assert torch.allclose(low_b @ low_a, 4 * b @ a, atol=1e-4)


def test_an_ema_teacher_lags_behind_the_student(learner: Learner, example: Callable[..., Example]) -> None:
    """Before its first step it is the student; at rate 0 it stays where the student began."""
    one, objective = example(), Objective(teacher="ema", teacher_rate=0.0)
    start = teacher_of(learner, one, teacher="live")
    trained(learner, one, objective)
    assert torch.allclose(teacher_of(learner, one, teacher="ema", teacher_rate=0.0), start, atol=1e-6)
    assert not torch.allclose(teacher_of(learner, one, teacher="live"), start, atol=1e-3)


def test_an_ema_teacher_at_rate_1_is_the_student(learner: Learner, example: Callable[..., Example]) -> None:
    one, objective = example(), Objective(teacher="ema", teacher_rate=1.0)
    trained(learner, one, objective)
    live = teacher_of(learner, one, teacher="live")
    assert torch.allclose(teacher_of(learner, one, teacher="ema", teacher_rate=1.0), live, atol=1e-5)


def test_the_average_is_part_of_snapshot_restore_and_digest(
    learner: Learner, example: Callable[..., Example]
) -> None:
    one, objective = example(), Objective(teacher="ema", teacher_rate=0.5)
    trained(learner, one, objective)
    snapshot, state = learner.snapshot(), learner.optimiser_state()
    scored = teacher_of(learner, one, teacher="ema")
    trained(learner, one, objective)
    assert learner.optimiser_state() != state
    learner.restore(snapshot)
    assert learner.optimiser_state() == state
    assert torch.equal(teacher_of(learner, one, teacher="ema"), scored)


# -- The others --------------------------------------------------------------------------------------


def test_the_live_teacher_is_the_weights_as_they_are_at_prepare(
    learner: Learner, example: Callable[..., Example]
) -> None:
    one = example()
    batch = trained(learner, one, Objective())
    assert not torch.allclose(teacher_of(learner, one), batch.rows[0].teacher, atol=1e-3)


def test_the_base_teacher_does_not_move(learner: Learner, example: Callable[..., Example]) -> None:
    one = example()
    before = teacher_of(learner, one, teacher="base")
    trained(learner, one, Objective(teacher="base"))
    assert torch.equal(teacher_of(learner, one, teacher="base"), before)


def test_a_frozen_teacher_is_kept_under_its_digest(learner: Learner, example: Callable[..., Example]) -> None:
    one = example()
    trained(learner, one, Objective())
    name = learner.weights()
    kept = teacher_of(learner, one, teacher="frozen", frozen_teacher=name)
    trained(learner, one, Objective(teacher="frozen", frozen_teacher=name))
    assert learner.weights() != name
    assert torch.equal(teacher_of(learner, one, teacher="frozen", frozen_teacher=name), kept)


def test_the_untrained_weights_can_always_be_the_frozen_teacher(
    adapter: Adapter, learner: Learner, example: Callable[..., Example]
) -> None:
    one, name = example(), learner.weights()
    trained(learner, one, Objective())
    frozen = teacher_of(learner, one, teacher="frozen", frozen_teacher=name)
    assert torch.equal(frozen, teacher_of(learner, one, teacher="base"))


@pytest.mark.parametrize("name", [None, "0" * 64])
def test_unknown_frozen_weights_are_refused(
    learner: Learner, example: Callable[..., Example], name: str | None
) -> None:
    with pytest.raises(UpdateError, match="frozen teacher .*no such weights were kept"):
        teacher_of(learner, example(), teacher="frozen", frozen_teacher=name)


def test_a_trust_region_is_the_geometric_mixture() -> None:
    base, live = torch.randn(3, 5), torch.randn(3, 5)
    mixed = torch.softmax(trust_region(base, live, 0.3), -1)
    by_hand = torch.softmax(base, -1) ** 0.3 * torch.softmax(live, -1) ** 0.7
    assert torch.allclose(mixed, by_hand / by_hand.sum(-1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize(("rate", "same_as"), [(1.0, "base"), (0.0, "live")])
def test_the_ends_of_a_trust_region(
    learner: Learner, example: Callable[..., Example], rate: float, same_as: str
) -> None:
    one = example()
    trained(learner, one, Objective())
    mixed = teacher_of(learner, one, teacher="trust_region", teacher_rate=rate)
    assert torch.allclose(mixed, teacher_of(learner, one, teacher=same_as), atol=1e-6)


@pytest.mark.parametrize("kind", ["live", "base", "ema", "trust_region"])
def test_teachers_take_no_gradient_and_leave_the_weights_alone(
    adapter: Adapter, learner: Learner, example: Callable[..., Example], kind: str
) -> None:
    before = learner.weights()
    assert not teacher_of(learner, example(), teacher=kind).requires_grad
    assert learner.weights() == before
    assert all(p.grad is None and p.requires_grad for p in adapter.parameters())


# -- No weights at all -------------------------------------------------------------------------------


def test_a_completion_as_its_own_teacher_is_supervised_fine_tuning(
    learner: Learner, example: Callable[..., Example]
) -> None:
    """KL to certainty is −log S(y), of each token; a mean over tokens is the cross-entropy of SFT."""
    one = example(part="demonstration", sampled_logprobs=())
    batch = learner.prepare([one], Objective(teacher="completion"), Optimiser())
    report = learner.step(batch, stop_below=float("inf"))
    on_policy = example()  # whose `sampled_logprobs` are the student's own
    assert report.divergences[0] == pytest.approx([-lp for lp in on_policy.sampled_logprobs], abs=1e-4)
    assert report.loss == pytest.approx(-sum(on_policy.sampled_logprobs) / 5, abs=1e-4)
