"""AdamW over an adapter's factors, in whitened coordinates where there are any (`whitening`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from continualcode.core.data import Optimiser
from continualcode.plugins.models.figures import learning_rate
from continualcode.plugins.models.local.adapter import Factors
from continualcode.plugins.models.local.whitening import products


class Stepper:
    """Moments by parameter, in the order of `parameters`; none until the first step."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._adamw: torch.optim.AdamW | None = None

    def step(self, settings: Optimiser, taken: int, whitening: Sequence[Tensor | None]) -> float:
        """Clip the gradients and take one step, after the `taken` ones of this update; the unclipped norm.

        May leave weights that are not finite, or raise RuntimeError halfway: the caller goes back then.
        """
        white = [(p, w) for p, w in zip(self._parameters, whitening, strict=False) if w is not None]
        before, maps = [p.detach().clone() for p, _ in white], [by for _, by in white]
        steep = [(p, g, by) for p, by in white if (g := p.grad) is not None]
        gradients = products([g for _, g, _ in steep], [by for *_, by in steep])
        for (parameter, *_), gradient in zip(steep, gradients, strict=True):
            parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, settings.grad_clip)
        if self._adamw is None or (settings.fresh and not taken):
            self._adamw = torch.optim.AdamW(self._parameters)
        self._adamw.param_groups[0].update(
            lr=learning_rate(settings, taken),
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
        )
        self._adamw.step()  # pyright: ignore[reportUnknownMemberType]  # torch leaves `closure` untyped
        with torch.no_grad():
            decay = 1.0 - learning_rate(settings, taken) * settings.weight_decay
            kept = [was * decay for was in before]  # what decays shrinks in every direction alike
            moved = [p - was for (p, _), was in zip(white, kept, strict=True)]
            for (parameter, _), was, by in zip(white, kept, products(moved, maps), strict=True):
                parameter.copy_(was + by)
        return float(norm)

    def moments(self) -> Factors:
        """AdamW's state, flat: `NUMBER FIELD`, the number that of the parameter."""
        if self._adamw is None:
            return {}
        return {
            f"{number} {field}": value
            for number, parameter in enumerate(self._parameters)
            for field, value in self._adamw.state[parameter].items()
        }

    def restore(self, moments: Factors) -> None:
        """Take what `moments` gave; empty: as before the first step."""
        self._adamw = torch.optim.AdamW(self._parameters) if moments else None
        for name, tensor in moments.items():
            number, field = name.split()
            assert self._adamw is not None  # there are moments
            self._adamw.state[self._parameters[int(number)]][field] = tensor.clone()
