"""Which tokens a row is compared on: what its grammars allowed at each position of its completion."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from continualcode.core.data import Example
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.figures import used, who
from continualcode.plugins.models.local.constraint import unpacked


class Constraint(Protocol):
    """What decoding allowed, derived again from the grammar that was logged."""

    def masks(self, grammar: str, completion_ids: tuple[int, ...]) -> Tensor:
        """Packed bits, int32 [T, ⌈V/32⌉]: bit v of row t is set where token v was allowed at position t.

        Raises UpdateError at the first token of the completion that was not.
        """
        ...


class Choices(NamedTuple):
    """The free positions [F] of a completion, and what each side may choose there.

    teacher, student: bool [F, V]; None: everything.
    """

    free: tuple[int, ...]
    teacher: Tensor | None
    student: Tensor | None


class Masks:
    """Masks of a vocabulary's width, on a device."""

    def __init__(self, constraint: Constraint, vocabulary: int, device: torch.device) -> None:
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._device = device

    def choices(self, example: Example) -> Choices:
        """Where an example's completion is compared, and among which tokens."""
        count = len(example.completion_ids)
        if not used(example):
            return Choices((), None, None)
        teacher = self._along(example, example.grammar)
        if teacher is None:
            return Choices(tuple(range(count)), None, None)
        student: Tensor | None = teacher
        if example.student_grammar is not None:
            wider = self._along(example, example.student_grammar)
            student = None if wider is None else wider | teacher
        decided = student if example.forced else teacher
        free = [n for n in range(count) if decided is None or int(decided[n].sum()) > 1]
        both = (None if allowed is None else allowed[free].to(self._device) for allowed in (teacher, student))
        return Choices(tuple(free), *both)

    def _along(self, example: Example, grammar: str | None) -> Tensor | None:
        """What a grammar allows along the completion: bool [T, V]; None: there is no grammar."""
        if grammar is None:
            return None
        try:
            return unpacked(self._constraint.masks(grammar, example.completion_ids), self._vocabulary)
        except UpdateError as error:
            raise UpdateError(f"{who(example)}: {error}") from None
