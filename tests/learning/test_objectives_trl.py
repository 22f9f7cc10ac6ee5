"""Our objectives against TRL, an independent implementation, where it is installed (it is no dependency)."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from continualcode.plugins.models.local import objectives as o

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # TRL says that it is experimental, its imports say much more
]


@pytest.fixture(scope="module")
def sdpo() -> Any:
    return pytest.importorskip("trl.experimental.sdpo.loss_utils", reason="TRL is not installed")


@pytest.fixture(scope="module")
def gkd() -> Any:
    module = pytest.importorskip("trl.experimental.gkd.gkd_trainer", reason="TRL is not installed")
    return module.GKDTrainer.generalized_jsd_loss


def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    student, teacher = (torch.randn(4, 11, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    return student.requires_grad_(), teacher


def gradient(losses: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(losses.sum(), logits, retain_graph=True)[0]


def assert_same(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    assert torch.allclose(ours, theirs, atol=1e-9)
    assert torch.allclose(gradient(ours, logits), gradient(theirs, logits), atol=1e-9)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_full_divergences_agree(sdpo: Any, alpha: float) -> None:
    student, teacher = pair()
    theirs = sdpo.compute_full_logit_self_distillation_loss(student, teacher, distillation_alpha=alpha)
    assert_same(o.jsd(o.log_probs(student, 1.0), o.log_probs(teacher, 1.0), alpha), theirs, student)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_gkd_with_a_temperature_agrees(gkd: Any, alpha: float) -> None:
    student, teacher = pair()
    theirs = gkd(student, teacher, beta=alpha, temperature=0.7, reduction="none").sum(-1)
    assert_same(o.jsd(o.log_probs(student, 0.7), o.log_probs(teacher, 0.7), alpha), theirs, student)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_top_k_with_a_tail_agrees(sdpo: Any, alpha: float, k: int) -> None:
    student, teacher = pair()
    theirs = sdpo.compute_topk_self_distillation_loss(
        student, teacher, distillation_topk=k, distillation_alpha=alpha, distillation_add_tail=True
    )
    top = student.topk(k).indices
    ours = [o.with_tail(o.log_probs(side, 1.0).gather(1, top)) for side in (student, teacher)]
    assert_same(o.jsd(ours[0], ours[1], alpha), theirs, student)


def test_the_sampled_token_with_its_ratio_agrees(sdpo: Any) -> None:
    student, teacher = pair()
    tokens, then = (
        torch.tensor([[1], [0], [10], [4]]),
        torch.tensor([-0.1, -2.0, -30.0, -1.0], dtype=torch.float64),
    )
    theirs = sdpo.compute_sampled_token_self_distillation_loss(
        student[None], teacher[None], tokens.T, distillation_alpha=1.0
    )[0]
    now = o.log_probs(student, 1.0).gather(1, tokens)[:, 0]
    theirs = sdpo.apply_importance_sampling_clipping(theirs, now, then, 2.0)
    ours = o.sampled_token(now, o.log_probs(teacher, 1.0).gather(1, tokens)[:, 0])
    assert_same(ours * o.importance_ratio(now, then, 2.0), theirs, student)


@pytest.mark.parametrize(("loss_type", "aggregation"), [("dapo", "token_mean"), ("grpo", "example_mean")])
def test_the_reward_mixed_in_is_grpos(loss_type: str, aggregation: str) -> None:
    """TRL's own method, on attempts of unequal length, off policy so that the clip takes part."""
    module = pytest.importorskip("trl.experimental.sdpo.sdpo_trainer", reason="TRL is not installed")
    generator = torch.Generator().manual_seed(6)
    logits = (torch.randn(3, 5, 11, generator=generator, dtype=torch.float64) * 2).requires_grad_()
    tokens = torch.randint(0, 11, (3, 5), generator=generator)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    rewards = [1.0, 0.0, 0.0]
    scored = torch.log_softmax(logits, -1)
    now = scored.gather(2, tokens[:, :, None])[:, :, 0]
    then = now.detach() + torch.randn(3, 5, generator=generator, dtype=torch.float64) * 0.3

    given = torch.tensor(rewards, dtype=torch.float64)
    trainer = SimpleNamespace(
        importance_sampling_level="token",
        epsilon_low=0.2,
        epsilon_high=0.2,
        loss_type=loss_type,
        model=SimpleNamespace(training=True),
        accelerator=SimpleNamespace(gather=torch.Tensor.detach),
        _metrics={"train": {"self_distillation/policy_loss": []}},
    )
    inputs = {
        "completion_ids": tokens,
        "completion_mask": mask,
        "old_per_token_logps": then,
        "advantages": (given - given.mean()) / (given.std() + 1e-4),
    }
    theirs = module.SDPOTrainer._compute_policy_loss(trainer, inputs, logits)

    advantages = o.group_advantages(rewards, ["one"] * 3)
    counts = [int(n) for n in mask.sum(-1)]
    shares = o.shares(counts, [1.0] * 3, aggregation)
    rows = zip(now, then, advantages, counts, shares, strict=True)
    ours = torch.stack(
        [o.policy_gradient(n[:count], t[:count], a, 0.2).sum() * share for n, t, a, count, share in rows]
    ).sum()
    assert_same(ours, theirs, logits)
