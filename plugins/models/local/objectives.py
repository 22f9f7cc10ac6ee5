"""What an update minimises: how far the student's next-token distributions are from the teacher's.

The algorithm is self-distillation policy optimisation, SDPO (Hübotter et al. 2026, arXiv 2601.20802). At
each token t of a sampled completion y, the student S_t = π(·|x, y<t) and the teacher T_t, the same network
with the correction in its context, give a distribution over the vocabulary. T is a constant. The loss is

    ℓ_t · min(exp(clamp(sg(log S(y_t) − log S_old(y_t)), ±20)), c)

where S_old is what y was sampled with (the ratio is 1 on-policy), c = `ratio_clip`, and ℓ_t is one of

    forward_kl   KL(T‖S)                                gradient w.r.t. the student's logits: S − T
    reverse_kl   KL(S‖T)                                S_j (log(S_j/T_j) − KL(S‖T))
    jsd          (1−α) KL(S‖M) + α KL(T‖M), M = (1−α)S + αT;   α = 0 is forward_kl, α = 1 is reverse_kl
                 (special cases as in GKD, Agarwal et al. 2023: the formula itself goes to 0 there)
    sampled      sg(log S(y_t) − log T(y_t)) · log S(y_t)      −A ∇log S(y_t), A = log T(y_t) − log S(y_t)

The sampled value is not a divergence, only its gradient means something; what is *reported* for it is
KL(T‖S). With `top_k` both distributions are reduced to k tokens with their true log-probabilities and one
bucket that holds the rest, never renormalised over the k (at k = 1 that would have no gradient at all).
Where a grammar constrained the sampling, both are renormalised over the tokens that it allowed first.

Beside it there may be a reward (GRPO, Shao et al. 2024): attempts on one task, each with a number, add

    −min(ρ A, clamp(ρ, 1−ε, 1+ε) A),  ρ = S(y_t) / S_old(y_t),  A = (r − mean r) / (std r + 1e-4) in the group

`reward_weight` times. Left out of the paper's recipe: its choice of the sampled token only. Nothing here
knows of models, prompts or optimisers.

Shapes: T positions, V tokens. Log-probabilities are natural logarithms; −inf marks a token that cannot
occur, is never turned into NaN, and takes no gradient.
"""

import math

import torch
from torch import Tensor

from continualcode.core.data import Objective
from continualcode.plugins.models.shares import group_advantages as group_advantages
from continualcode.plugins.models.shares import shares as shares


def log_probs(logits: Tensor, temperature: float, allowed: Tensor | None = None) -> Tensor:
    """Logits [T, V] as log-probabilities [T, V], in fp32 or better whatever came in.

    `temperature` is the one sampled with; 0 (the most probable token) is scored at 1. `allowed` [T, V] is
    True where the grammar let a token through: the rest is −inf and the allowed ones sum to one.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if temperature:
        wide = wide / temperature
    if allowed is not None:
        wide = wide.masked_fill(~allowed, -math.inf)
    return torch.log_softmax(wide, dim=-1)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) in nats [T], from log-probabilities [T, V]; what p cannot produce adds nothing."""
    impossible = p == -math.inf
    p = p.masked_fill(impossible, 0.0)
    q = q.masked_fill(impossible, 0.0)
    return (p.exp() * (p - q)).masked_fill(impossible, 0.0).sum(-1)


def jsd(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """The generalised Jensen-Shannon divergence [T] with the KLs as its ends: 0 is KL(T‖S), 1 is KL(S‖T)."""
    if alpha == 0.0:
        return kl(teacher, student)
    if alpha == 1.0:
        return kl(student, teacher)
    # logaddexp(−inf, −inf) has no gradient; any finite stand-in will do, as kl() looks at neither side there.
    impossible = (student == -math.inf) & (teacher == -math.inf)
    mixture = torch.logaddexp(
        student.masked_fill(impossible, 0.0) + math.log1p(-alpha),
        teacher.masked_fill(impossible, 0.0) + math.log(alpha),
    )
    return (1.0 - alpha) * kl(student, mixture) + alpha * kl(teacher, mixture)


def with_tail(top: Tensor) -> Tensor:
    """True log-probabilities of k tokens [T, k], and as one more the log of all that they leave [T, k+1]."""
    captured = top.logsumexp(-1, keepdim=True).clamp(max=-1e-7)  # rounding may say a little more than all
    return torch.cat([top, torch.log(-torch.expm1(captured))], dim=-1)


def sampled_token(student: Tensor, teacher: Tensor) -> Tensor:
    """The sampled-token objective [T] from the two log-probabilities of the sampled tokens [T]."""
    return (student - teacher).detach() * student


def importance_ratio(now: Tensor, then: Tensor, clip: float) -> Tensor:
    """How much likelier each token is now than when it was sampled [T], at most `clip`; a constant."""
    return (now.detach() - then).clamp(-20.0, 20.0).exp().clamp(max=clip)


def policy_gradient(now: Tensor, then: Tensor, advantage: float, clip: float) -> Tensor:
    """The clipped surrogate of PPO [T], as GRPO uses it, from log-probabilities of the sampled tokens [T]."""
    ratio = (now - then).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def divergence(student: Tensor, teacher: Tensor, objective: Objective) -> Tensor:
    """The divergence that is reported [T]: the objective's own, KL(T‖S) for the sampled token."""
    if objective.divergence == "reverse_kl":
        return kl(student, teacher)
    if objective.divergence == "jsd":
        return jsd(student, teacher, objective.alpha)
    return kl(teacher, student)


PLAUSIBLE = 0.1
"""A guided teacher says nothing that the teacher finds less than this many times as probable as its best."""


def guided(teacher: Tensor, neutral: Tensor, guidance: float) -> Tensor:
    """The guided teacher T^γ U^(1−γ) [T, V], from log-probabilities with the correction and a neutral one.

    What the correction's words changed is taken γ times (see `Example`), over the tokens that the teacher
    finds plausible (Li et al. 2023, contrastive decoding): far down, the ratio of two small numbers is noise.
    """
    if guidance == 1.0:
        return teacher
    plausible = teacher >= teacher.amax(-1, keepdim=True) + math.log(PLAUSIBLE)
    # At most 30 nats: what was impossible without the words is no more surprising than that.
    raised = guidance * teacher - (guidance - 1.0) * neutral.clamp(min=-30.0)
    return torch.log_softmax(raised.masked_fill(~plausible, -math.inf), dim=-1)
