"""AdamW over an adapter's factors, in whitened coordinates where there are any (`whitening`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from continualcode.core.data import Optimiser
from continualcode.plugins.models.figures import learning_rate
from continualcode.plugins.models.local.adapter import Factors


class Stepper:
    """Moments by parameter, in the order of `parameters`; none until the first step."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        self._parameters = parameters
        self._adamw: torch.optim.AdamW | None = None

    def step(self, settings: Optimiser, taken: int, whitening: Sequence[Tensor | None]) -> float:
        """Clip the gradients and take one step, after the `taken` ones of this update; the unclipped norm.

        May leave weights that are not finite, or raise RuntimeError halfway: the caller goes back then.
        """
        white = [
            (p, w, p.detach().clone())
            for p, w in zip(self._parameters, whitening, strict=False)
            if w is not None
        ]
        for parameter, by, _ in white:
            if parameter.grad is not None:
                parameter.grad = parameter.grad @ by
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
            for parameter, by, before in white:
                parameter.copy_(before + (parameter - before) @ by)
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
