"""What a look at an update adds up to: the same arithmetic for every policy, of rows by what they are for.

Only free positions carry loss: a grammar, or an opening, left a choice there. At the others figures are 0.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

from continualcode.core.data import IDLE, Example, Objective, Optimiser

DECISION = 0.2
"""Nats between student and teacher at which a position is one where the student is to decide otherwise."""

CORRECTING = ("sample", "demonstration", "retry", "sibling", "rehearsed")
"""The kinds of rows that are about corrections, and have a teacher that was told."""

SHOWN = ("demonstration", "retry", "sibling", "rehearsed")
"""The kinds whose completion is the teacher's own."""

ANCHORING = ("anchor", "held")
"""The kinds that are held to what the base model does."""

STAYING = (*ANCHORING, "probe")
"""The kinds that shall be as they are."""

LOOKED_AT = (*CORRECTING, "held", "probe")
"""The kinds that a mere look is about."""


class Row(Protocol):
    """One example as a policy keeps it.

    free: positions of the completion that carry loss. share: what one of them counts for in the loss; told:
    in the divergence that is reported.
    """

    @property
    def example(self) -> Example: ...
    @property
    def free(self) -> tuple[int, ...]: ...
    @property
    def share(self) -> float: ...
    @property
    def told(self) -> float: ...


class Look(Protocol):
    """The student on one row, as numbers, one a completion token: loss, and divergence from the teacher."""

    # A row of any policy's own kind, which a property of another type would not be.
    @property
    def row(self) -> Any: ...
    @property
    def losses(self) -> tuple[float, ...]: ...
    @property
    def divergences(self) -> tuple[float, ...]: ...


def loss(looks: Sequence[Look]) -> float:
    """The batch's loss: every token counts by its row's share."""
    return math.fsum(math.fsum(seen.losses) * seen.row.share for seen in looks)


def divergence(looks: Sequence[Look]) -> float:
    """The mean divergence of the rows about corrections, averaged as the loss is."""
    return math.fsum(math.fsum(seen.divergences) * seen.row.told for seen in looks if corrects(seen.row))


def left(looks: Sequence[Look], aggregation: str) -> float:
    """What is left to learn, in nats: of the correction that is furthest off, and of what anchors have moved.

    Of those as the loss counts it: some of them, whose turn it is, for all.
    Not the mean: next to others that are learned already, a new correction would be left half learned.
    """
    furthest = max((_of_row(seen, aggregation) for seen in looks if corrects(seen.row)), default=0.0)
    anchored = (seen for seen in looks if seen.row.example.part in ANCHORING)
    return furthest + math.fsum(math.fsum(seen.divergences) * seen.row.share for seen in anchored)


def _of_row(seen: Look, aggregation: str) -> float:
    """A row's divergence as its aggregation counts it: of the completion, or the mean of its free tokens."""
    if not seen.row.share:
        return 0.0
    tokens = 1 if aggregation == "example_sum" else len(seen.row.free)
    return math.fsum(seen.divergences) / tokens


def drift(looks: Sequence[Look]) -> float:
    """The mean divergence of what shall stay from the base model, in nats a row; 0 if there are none."""
    moved = [
        math.fsum(seen.divergences) for seen in looks if seen.row.example.part in STAYING and seen.row.free
    ]
    return math.fsum(moved) / len(moved) if moved else 0.0


def emphasis(seen: Look, objective: Objective) -> tuple[float, ...]:
    """What each free position counts for, by how far student and teacher are apart there at first."""
    places: tuple[int, ...] = seen.row.free
    if not objective.decisions or seen.row.example.part not in SHOWN:
        return (1.0,) * len(places)
    passed = accumulate(int(seen.divergences[place] >= DECISION) for place in places)
    return tuple(1.0 / max(1, count) for count in passed)


def learning_rate(optimiser: Optimiser, taken: int) -> float:
    """Of the step after the `taken` ones of this update."""
    falling = max(0.1, 1.0 - 0.9 * taken / optimiser.over) if optimiser.over else 1.0
    return optimiser.lr * falling


def corrects(row: Row) -> bool:
    """Whether it is about a correction, not about what shall stay."""
    return row.example.part in CORRECTING


def used(example: Example) -> bool:
    """Whether anything is computed for a row: it is learned on, or looked at."""
    return example.part not in IDLE and example.weight > 0.0


def who(example: Example) -> str:
    """How an error names an example."""
    return f"correction {example.correction}, sample {example.sample}"
