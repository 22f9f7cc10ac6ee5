"""Which weights the teacher has. It never has a second copy of the base model, and takes no gradient.

    live          the student's weights as they are when the update is prepared
    base          the adapter off
    frozen        a snapshot kept since the weights had the digest `Objective.frozen_teacher`
    ema           the exponential moving average of the student over optimiser steps, rate τ
    trust_region  softmax of rate · base logits + (1 − rate) · live logits

Averages are of ΔW = scaling · B A. Averaging the factors A and B separately, as is often done, is not the
same: with a zero-initialised B its first step is τ² of the student, not τ (B̄Ā has cross terms). The
average of products is again a product, of the factors side by side:

    (1−τ) B̄Ā + τ BA = [(1−τ) B̄, τ B] · [Ā; A]

Its rank grows by the adapter's rank a step. Past `MAX_GROWTH` times that rank it is cut back to half of that
by the best approximation there is (QR of both factors, SVD of what is between them); what is lost is
kept in `Ema.error`, the largest ‖lost‖ / ‖ΔW‖ (Frobenius) of any layer so far. It is 0 until the first cut.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from continualcode.core.data import Objective
from continualcode.core.errors import UpdateError, nearest
from continualcode.plugins.models.local.adapter import Adapter, Factors, digest

MAX_GROWTH = 4
"""How many times the adapter's rank an average may have before it is cut to half of that."""


@dataclass(frozen=True)
class Ema:
    """The average of ΔW over optimiser steps, as factors; a value: `stepped` returns the next one."""

    factors: Factors
    error: float = 0.0

    @torch.no_grad()
    def stepped(self, student: Mapping[str, Tensor], rate: float) -> "Ema":
        """The average after one more step, `rate` (τ) of it the student's factors as they are now."""
        grown: Factors = {}
        error = self.error
        for name_a, name_b in pairs(student):
            down, up = student[name_a].detach(), student[name_b].detach()
            a = torch.cat([self.factors[name_a], down])
            b = torch.cat([self.factors[name_b] * (1.0 - rate), up * rate], dim=1)
            rank = down.shape[0]
            if a.shape[0] > MAX_GROWTH * rank:
                a, b, lost = compressed(a, b, MAX_GROWTH * rank // 2)
                error = max(error, lost)
            grown[name_a], grown[name_b] = a, b
        return Ema(grown, error)


class Teachers:
    """The teachers of one adapter. ema: the average, once there is one."""

    def __init__(self, adapter: Adapter) -> None:
        self.ema: Ema | None = None
        self._adapter = adapter
        self._frozen: dict[str, Factors] = {}

    def logits(self, objective: Objective, scored: Callable[[], list[Tensor]]) -> list[Tensor]:
        """What `scored`, which runs the model as it is, gives by the weights of the objective's teacher."""
        match objective.teacher:
            case "base":
                with self._adapter.disabled():
                    return scored()
            case "frozen":
                with self._adapter.holding(self._kept(objective.frozen_teacher)):
                    return scored()
            case "ema" if self.ema is not None:
                with self._adapter.holding(self.ema.factors):
                    return scored()
            case "trust_region":
                with self._adapter.disabled():
                    base = scored()
                rate = objective.teacher_rate
                return [trust_region(b, own, rate) for b, own in zip(base, scored(), strict=True)]
            case _:  # live, and the average before its first step
                return scored()

    def _kept(self, wanted: str | None) -> Factors:
        """The weights called `wanted`: the present ones, which are kept from here on, or kept ones."""
        if wanted is not None and wanted not in self._frozen:
            initial = self._adapter.initial()
            for name, factors in (
                (self._adapter.digest(), self._adapter.snapshot()),
                (digest(initial), initial),
            ):
                if name == wanted:
                    self._frozen[wanted] = factors
        if wanted is None or wanted not in self._frozen:
            hint = nearest(str(wanted), self._frozen)
            raise UpdateError(f"frozen teacher {wanted!r}: no such weights were kept; {hint}")
        return self._frozen[wanted]


def pairs(factors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """The names of A and B of each layer, in order."""
    return [(name, name.replace("lora_A", "lora_B")) for name in sorted(factors) if "lora_A" in name]


def compressed(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The closest B A [out, in] of `rank` to that of a [r, in] and b [out, r], and ‖lost‖ / ‖B A‖.

    In float64: cutting must not be the reason for a loss. Rank never exceeds what the shapes allow.
    """
    linalg: Any = torch.linalg  # its functions have no types
    q_b, r_b = linalg.qr(b.double())
    q_a, r_a = linalg.qr(a.double().T)
    u, s, v = linalg.svd(r_b @ r_a.T, full_matrices=False)
    whole = float(s.norm())
    lost = float(s[rank:].norm()) / whole if whole else 0.0
    root = s[:rank].sqrt()
    low_b = (q_b @ u[:, :rank]) * root
    low_a = (q_a @ v[:rank].T).T * root[:, None]
    # In order in memory, as they come back from a file: how they lie decides the last bits of a product.
    return low_a.to(a.dtype).contiguous(), low_b.to(b.dtype).contiguous(), lost


def trust_region(base: Tensor, live: Tensor, rate: float) -> Tensor:
    """Logits [T, V] of the geometric mixture: `rate` of the base model's, the rest of the live one's."""
    return rate * base.float() + (1.0 - rate) * live.float()
