"""The arithmetic of the objectives: golden numbers, invariants, gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from continualcode.core.data import Objective
from continualcode.plugins.models.local import objectives as o

F64 = torch.float64


def logs(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=F64).log()


def random_logits(seed: int, positions: int = 3, tokens: int = 7) -> Tensor:
    return torch.randn(positions, tokens, dtype=F64, generator=torch.Generator().manual_seed(seed)) * 2


def both(change: Callable[[Tensor], Tensor], sides: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The same done to the student's side and to the teacher's."""
    return change(sides[0]), change(sides[1])


TWO = logs(0.8, 0.2), logs(0.5, 0.5)
FOUR = logs(0.5, 0.3, 0.15, 0.05), logs(0.2, 0.6, 0.05, 0.15)
DIVERGENCES = {"forward": 0.0, "JSD.3": 0.3, "JSD.5": 0.5, "reverse": 1.0}

seeds = st.integers(0, 2**31)
alphas = st.floats(0.0, 1.0)


# -- Golden numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.0, 0.223144), (1.0, 0.192745), (0.5, 0.050672), (0.3, 0.043926)]
)
def test_golden_numbers_of_two_tokens(alpha: float, expected: float) -> None:
    assert o.jsd(*TWO, alpha).item() == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("alpha", "full", "tail", "renormalised"),
    [
        (1.0, 0.360062, 0.250201, 0.312752),
        (0.0, 0.342491, 0.232630, 0.290788),
        (0.5, 0.084854, 0.058692, 0.073365),
    ],
)
def test_golden_numbers_of_the_top_two_of_four(
    alpha: float, full: float, tail: float, renormalised: float
) -> None:
    top = both(lambda side: side[:, :2], FOUR)
    assert o.jsd(*FOUR, alpha).item() == pytest.approx(full, abs=5e-7)
    assert o.jsd(*both(o.with_tail, top), alpha).item() == pytest.approx(tail, abs=5e-7)
    again = both(lambda side: torch.log_softmax(side, -1), top)
    assert o.jsd(*again, alpha).item() == pytest.approx(renormalised, abs=5e-7)


def test_a_tail_has_a_gradient_at_k_1_where_renormalising_has_none() -> None:
    logits = random_logits(1).requires_grad_()
    teacher = torch.log_softmax(random_logits(2), -1)[:, :1]
    top = o.log_probs(logits, 1.0)[:, :1]
    (with_tail,) = torch.autograd.grad(
        o.kl(o.with_tail(teacher), o.with_tail(top)).sum(), logits, retain_graph=True
    )
    (renormalised,) = torch.autograd.grad(
        o.kl(teacher - teacher, top - top.logsumexp(-1, True)).sum(), logits
    )
    assert with_tail.abs().max() > 1e-3
    assert renormalised.abs().max() == 0.0


# -- Laws --------------------------------------------------------------------------------------------


@given(seeds, seeds, alphas)
def test_divergences_are_not_negative(a: int, b: int, alpha: float) -> None:
    student, teacher = (o.log_probs(random_logits(s), 1.0) for s in (a, b))
    assert (o.jsd(student, teacher, alpha) >= -1e-12).all()


@given(seeds, alphas)
def test_equal_distributions_have_no_divergence(a: int, alpha: float) -> None:
    same = o.log_probs(random_logits(a), 1.0)
    assert o.jsd(same, same.clone(), alpha).abs().max() < 1e-12


@given(seeds, seeds, st.floats(1e-6, 1 - 1e-6))
def test_swapping_the_sides_and_alpha_changes_nothing(a: int, b: int, alpha: float) -> None:
    student, teacher = (o.log_probs(random_logits(s), 1.0) for s in (a, b))
    assert torch.allclose(o.jsd(student, teacher, alpha), o.jsd(teacher, student, 1 - alpha), atol=1e-10)


@given(seeds, seeds)
def test_the_even_jsd_is_at_most_ln_2(a: int, b: int) -> None:
    student, teacher = (o.log_probs(random_logits(s) * 30, 1.0) for s in (a, b))
    assert (o.jsd(student, teacher, 0.5) <= math.log(2) + 1e-12).all()


def test_the_ends_of_the_jsd_are_special_cases_not_limits() -> None:
    assert o.jsd(*TWO, 1e-9).item() < 1e-8 < o.jsd(*TWO, 0.0).item()
    assert o.jsd(*TWO, 1 - 1e-9).item() < 1e-8 < o.jsd(*TWO, 1.0).item()


@given(seeds, seeds, st.sampled_from(sorted(DIVERGENCES)), st.integers(1, 7))
def test_a_tail_never_says_more_than_everything_and_the_same_from_v_minus_1(
    a: int, b: int, name: str, k: int
) -> None:
    student, teacher = (o.log_probs(random_logits(s), 1.0) for s in (a, b))
    top = student.topk(k, dim=-1).indices
    bucketed = o.jsd(
        *both(lambda side: o.with_tail(side.gather(1, top)), (student, teacher)), DIVERGENCES[name]
    )
    full = o.jsd(student, teacher, DIVERGENCES[name])
    assert (bucketed <= full + 1e-6).all()
    if k >= 6:
        assert torch.allclose(bucketed, full, atol=1e-5)


@given(seeds, seeds, st.sampled_from(sorted(DIVERGENCES)))
def test_a_grammar_is_the_same_as_a_smaller_vocabulary(a: int, b: int, name: str) -> None:
    keep = torch.tensor([1, 3, 4])
    allowed = torch.zeros(3, 7, dtype=torch.bool)
    allowed[:, keep] = True
    logits = random_logits(a), random_logits(b)
    masked = both(lambda side: o.log_probs(side, 1.0, allowed), logits)
    small = both(lambda side: o.log_probs(side[:, keep], 1.0), logits)
    assert torch.allclose(o.jsd(*masked, DIVERGENCES[name]), o.jsd(*small, DIVERGENCES[name]), atol=1e-12)


# -- Gradients ---------------------------------------------------------------------------------------


def test_the_gradient_of_forward_kl_is_student_minus_teacher() -> None:
    logits, teacher = random_logits(1).requires_grad_(), o.log_probs(random_logits(2), 1.0)
    student = o.log_probs(logits, 1.0)
    (gradient,) = torch.autograd.grad(o.kl(teacher, student).sum(), logits)
    assert torch.allclose(gradient, student.exp() - teacher.exp(), atol=1e-12)


def test_the_gradient_of_reverse_kl_is_that_of_the_table() -> None:
    logits, teacher = random_logits(1).requires_grad_(), o.log_probs(random_logits(2), 1.0)
    student = o.log_probs(logits, 1.0)
    loss = o.kl(student, teacher)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    expected = student.exp() * ((student - teacher) - loss[:, None])
    assert torch.allclose(gradient, expected, atol=1e-12)


def test_the_gradient_of_the_sampled_token_is_the_policy_gradient_with_its_advantage() -> None:
    logits, tokens = random_logits(1).requires_grad_(), torch.tensor([[2], [0], [6]])
    student = o.log_probs(logits, 1.0).gather(1, tokens)[:, 0]
    teacher = o.log_probs(random_logits(2), 1.0).gather(1, tokens)[:, 0]
    (plain,) = torch.autograd.grad(student.sum(), logits, retain_graph=True)
    (gradient,) = torch.autograd.grad(o.sampled_token(student, teacher).sum(), logits)
    advantage = (teacher - student).detach()
    assert torch.allclose(gradient, -advantage[:, None] * plain, atol=1e-12)


@pytest.mark.parametrize("alpha", DIVERGENCES.values(), ids=DIVERGENCES)
@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_agree_with_finite_differences(alpha: float, k: int | None, masked: bool) -> None:
    allowed = torch.ones(3, 7, dtype=torch.bool)
    if masked:
        allowed[0, 2:] = False
        allowed[1, ::2] = False
    teacher = o.log_probs(random_logits(2), 0.7, allowed)
    top = o.log_probs(random_logits(1), 0.7, allowed).topk(2).indices

    def loss(logits: Tensor) -> Tensor:
        student = o.log_probs(logits, 0.7, allowed)
        if k is None:
            return o.jsd(student, teacher, alpha)
        return o.jsd(o.with_tail(student.gather(1, top)), o.with_tail(teacher.gather(1, top)), alpha)

    assert torch.autograd.gradcheck(loss, random_logits(1).requires_grad_())


@pytest.mark.parametrize("alpha", DIVERGENCES.values(), ids=DIVERGENCES)
def test_masked_tokens_never_make_nan(alpha: float) -> None:
    allowed = torch.tensor([[True, False, True], [False, True, False]])
    logits = torch.tensor([[1.0, 2.0, -3.0], [0.0, 5.0, 1.0]], requires_grad=True)
    teacher = o.log_probs(torch.tensor([[0.5, -2.0, 1.0], [3.0, 1.0, 0.0]]), 1.0, allowed)
    losses = o.jsd(o.log_probs(logits, 1.0, allowed), teacher, alpha)
    torch.autograd.backward(losses.sum())
    assert losses.isfinite().all()
    assert losses[1].abs() < 1e-7  # one token allowed
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert (logits.grad[~allowed] == 0.0).all() and (logits.grad[1] == 0.0).all()


@pytest.mark.parametrize("alpha", DIVERGENCES.values(), ids=DIVERGENCES)
def test_logits_of_40_against_0_are_finite(alpha: float) -> None:
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)
    teacher = o.log_probs(torch.tensor([[0.0, 0.0, 40.0]]), 1.0)
    loss = o.jsd(o.log_probs(logits, 1.0), teacher, alpha)
    torch.autograd.backward(loss.sum())
    assert loss.isfinite().all()
    assert logits.grad is not None and logits.grad.isfinite().all()


# -- Scoring -----------------------------------------------------------------------------------------


def test_bfloat16_is_widened_before_it_is_normalised() -> None:
    logits = random_logits(3, 2, 5000).to(torch.bfloat16)
    scored = o.log_probs(logits, 1.0)
    assert scored.dtype == torch.float32
    assert torch.allclose(scored, torch.log_softmax(logits.double(), -1).float(), atol=1e-5)


def test_temperature_divides_and_0_is_scored_at_1() -> None:
    logits = random_logits(3)
    assert torch.equal(o.log_probs(logits, 0.5), torch.log_softmax(logits / 0.5, -1))
    assert torch.equal(o.log_probs(logits, 0.0), o.log_probs(logits, 1.0))


def test_the_importance_ratio_is_1_on_policy_clipped_above_and_constant() -> None:
    now = torch.tensor([-1.0, -1.0, -1.0, 0.0], requires_grad=True)
    then = torch.tensor([-1.0, -1.5, -5.0, -500.0])
    ratio = o.importance_ratio(now, then, 2.0)
    assert [float(r) for r in ratio] == pytest.approx([1.0, math.exp(0.5), 2.0, 2.0])
    assert not ratio.requires_grad
    assert o.importance_ratio(torch.tensor([-900.0]), torch.tensor([0.0]), 2.0).item() == pytest.approx(
        math.exp(-20)
    )


def test_the_reported_divergence_of_the_sampled_token_is_a_kl() -> None:
    reported = o.divergence(*FOUR, Objective(divergence="sampled"))
    assert reported.item() == pytest.approx(0.342491, abs=5e-7)


# -- Aggregation -------------------------------------------------------------------------------------


def test_token_mean_counts_every_token_alike() -> None:
    assert o.shares([1, 3], [1.0, 1.0], "token_mean") == pytest.approx([1 / 4, 1 / 4])


def test_example_mean_counts_every_example_alike() -> None:
    assert o.shares([1, 3], [1.0, 1.0], "example_mean") == pytest.approx([1 / 2, 1 / 6])


def test_example_sum_counts_every_token_as_much_as_an_example_weighs() -> None:
    assert o.shares([1, 3], [1.0, 1.0], "example_sum") == pytest.approx([1 / 2, 1 / 2])
    assert o.shares([1, 3], [3.0, 1.0], "example_sum") == pytest.approx([3 / 4, 1 / 4])
    assert o.shares([0, 3], [1.0, 1.0], "example_sum") == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize("aggregation", ["token_mean", "example_mean"])
def test_an_example_without_a_loss_dilutes_nothing(aggregation: str) -> None:
    assert o.shares([0, 4], [1.0, 1.0], aggregation) == pytest.approx([0.0, 1 / 4])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.0, 10.0)), min_size=1, max_size=5),
    st.sampled_from(["token_mean", "example_mean"]),
)
def test_shares_sum_to_one_or_to_nothing(rows: list[tuple[int, float]], aggregation: str) -> None:
    counts, weights = [r[0] for r in rows], [r[1] for r in rows]
    total = sum(c * s for c, s in zip(counts, o.shares(counts, weights, aggregation), strict=True))
    # The smallest subnormal weights cannot be divided exactly; they are as good as none.
    assert total == pytest.approx(1.0) or all(c == 0 or w < 1e-300 for c, w in rows)


# -- A guided teacher --------------------------------------------------------------------------------


def test_a_guided_teacher_takes_what_the_words_changed_that_many_times() -> None:
    teacher, neutral = logs(0.6, 0.4), logs(0.5, 0.5)
    expected = torch.tensor([0.36, 0.16], dtype=F64) / 0.52  # T² / U, renormalised: U is even here
    assert torch.allclose(o.guided(teacher, neutral, 2.0)[0].exp(), expected)


def test_what_any_correction_brings_about_is_not_taken_for_what_this_one_says() -> None:
    """The first token is the teacher's choice, but more so without the words; the second is their doing."""
    teacher, neutral = logs(0.6, 0.4), logs(0.9, 0.1)
    guided = o.guided(teacher, neutral, 2.0)[0].exp()
    assert torch.allclose(guided, torch.tensor([0.4 / 2.0, 1.6 / 2.0], dtype=F64))


@given(seeds, seeds, st.floats(1.0, 8.0))
def test_a_guided_teacher_is_a_distribution_over_plausible_tokens(a: int, b: int, guidance: float) -> None:
    teacher, neutral = (o.log_probs(random_logits(s), 1.0) for s in (a, b))
    guided = o.guided(teacher, neutral, guidance).exp()
    assert torch.allclose(guided.sum(-1), torch.ones(len(guided), dtype=guided.dtype), atol=1e-5)
    if guidance != 1.0:
        implausible = teacher.exp() < (o.PLAUSIBLE - 1e-6) * teacher.exp().amax(-1, keepdim=True)
        assert not guided[implausible].any()


def test_without_guidance_it_is_the_teacher_itself() -> None:
    assert o.guided(TWO[0], TWO[1], 1.0) is TWO[0]


def test_equal_sides_say_nothing_to_follow() -> None:
    teacher = logs(0.5, 0.3, 0.2)
    assert torch.allclose(o.guided(teacher, teacher, 3.0), teacher)
