"""What an update is carried out on: a batch of rows, and the state to come back to."""

from dataclasses import dataclass, field

from torch import Tensor

from continualcode.core.data import Objective, Optimiser
from continualcode.plugins.models.local.adapter import Factors
from continualcode.plugins.models.local.rows import Row
from continualcode.plugins.models.local.teachers import Ema


@dataclass
class Batch:
    """What `prepare` returns and `step` takes.

    steps: how many were taken on it. emphasis: what each free position of a row counts for, from when the row
    first had its turn. whitening: see `whitening.maps`; empty: none.
    """

    rows: tuple[Row, ...]
    objective: Objective
    optimiser: Optimiser
    steps: int = 0
    emphasis: dict[int, tuple[float, ...]] = field(default_factory=dict)
    whitening: list[Tensor | None] = field(default_factory=list)


@dataclass(frozen=True)
class Snapshot:
    """Weights, AdamW's moments by parameter, and the averaged teacher, at one moment."""

    weights: Factors
    moments: Factors
    ema: Ema | None
