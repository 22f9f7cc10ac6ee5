"""Which tokens a row is compared on: what its grammars allowed at each position of its completion."""

from typing import Protocol

import torch
from torch import Tensor

from continualcode.core.data import Example
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.figures import who
from continualcode.plugins.models.local.constraint import unpacked


class Constraint(Protocol):
    """What decoding allowed, derived again from the grammar that was logged."""

    def masks(self, grammar: str, completion_ids: tuple[int, ...]) -> Tensor:
        """Packed bits, int32 [T, ⌈V/32⌉]: bit v of row t is set where token v was allowed at position t.

        Raises UpdateError at the first token of the completion that was not.
        """
        ...


class Masks:
    """Masks of a vocabulary's width, on a device."""

    def __init__(self, constraint: Constraint, vocabulary: int, device: torch.device) -> None:
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._device = device

    def choices(self, example: Example) -> tuple[tuple[int, ...], Tensor | None]:
        """The free positions, and what was allowed at each of them: bool [F, V], None: everything."""
        allowed = self._along(example, example.grammar)
        if allowed is None:
            return tuple(range(len(example.completion_ids))), None
        open_to = allowed
        if example.forced and (wider := self._along(example, example.student_grammar)) is not None:
            open_to = allowed | wider
        free = tuple(place for place, choices in enumerate(open_to.sum(-1)) if int(choices) > 1)
        return free, allowed[list(free)].to(self._device)

    def students(self, example: Example, free: tuple[int, ...], allowed: Tensor | None) -> Tensor | None:
        """What the student chooses from there, where that is more than the teacher does: bool [F, V]."""
        if example.student_grammar is None or allowed is None:
            return allowed
        wider = self._along(example, example.student_grammar)
        return None if wider is None else wider[list(free)].to(self._device) | allowed

    def _along(self, example: Example, grammar: str | None) -> Tensor | None:
        """What a grammar allows along the completion: bool [T, V]; None: there is no grammar."""
        if grammar is None:
            return None
        try:
            return unpacked(self._constraint.masks(grammar, example.completion_ids), self._vocabulary)
        except UpdateError as error:
            raise UpdateError(f"{who(example)}: {error}") from None
