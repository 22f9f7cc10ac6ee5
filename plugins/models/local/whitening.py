"""Steps that move least what must stay: the factors B, trained where what anchors send into them is white.

What a layer gets has a few directions that all prompts share; a step along them changes every answer at
once, and anchors then pull all of it back. A layer computes B (A x). With M = E[(A x)(A x)ᵀ] over the tokens
of the anchors and W = (M + δ·tr(M)/r·I)^(-1/2), B is trained as B = B' W: the gradient of B' is that of B
times W, and a step ΔB' moves B by ΔB' W. Along what anchors share W is small; along what sets a correction
apart from them it is large. This is the input factor of K-FAC (Martens and Grosse 2015), of the anchors
alone, in an adapter's few dimensions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import Adapter


@torch.no_grad()
def maps(adapter: Adapter, damping: float, forward: Callable[[], object]) -> list[Tensor | None]:
    """W [rank, rank] for each factor B, None for each A, in the order of `Adapter.parameters`.

    forward: runs the model over the anchors, as it is now.
    """
    with adapter.watching() as sent:
        forward()
    return [
        _inverse_root(sent[name.replace("lora_B", "lora_A")], damping) if "lora_B" in name else None
        for name in adapter.names()
    ]


def _inverse_root(inputs: Tensor, damping: float) -> Tensor:
    """(M + damping · mean eigenvalue)^(-1/2) of inputs [N, rank], in float32 or better; on the CPU."""
    rows = inputs.to("cpu", torch.float64)
    linalg: Any = torch.linalg  # untyped
    values, vectors = linalg.eigh(rows.T @ rows / len(rows))
    values = values.clamp(min=0.0) + max(damping * float(values.mean()), 1e-12)
    root: Tensor = (vectors * values.rsqrt()) @ vectors.T
    return root.to(inputs.device, torch.promote_types(inputs.dtype, torch.float32))


def products(lefts: Sequence[Tensor], rights: Sequence[Tensor]) -> list[Tensor]:
    """Each matrix of `lefts` times that of `rights`; on a GPU those of a shape in one launch."""
    if not lefts or not lefts[0].is_cuda:
        return [left @ right for left, right in zip(lefts, rights, strict=True)]
    alike: dict[torch.Size, list[int]] = {}
    for number, left in enumerate(lefts):
        alike.setdefault(left.shape, []).append(number)
    found: dict[int, Tensor] = {}
    for numbers in alike.values():
        left, right = (torch.stack([of[n] for n in numbers]) for of in (lefts, rights))
        found |= zip(numbers, left @ right, strict=True)
    return [found[number] for number in range(len(lefts))]
