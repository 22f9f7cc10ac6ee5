"""What each row of an update counts for: one token of it in the loss, and in what is reported."""

import math
from collections.abc import Sequence
from typing import TypeVar

from continualcode.core.data import Example, Objective
from continualcode.plugins.models.figures import ANCHORING, CORRECTING, LOOKED_AT, Row
from continualcode.plugins.models.shares import group_advantages, shares

R = TypeVar("R", bound=Row)


def in_loss(examples: Sequence[Example], counts: Sequence[int], objective: Objective) -> list[float]:
    """What one of the `counts` free tokens of each row counts for in the loss.

    Corrections are averaged among themselves. So are anchors, which then count as much as their weights say
    together, and attempts, `reward_weight` times: how many there are changes nothing for a correction.
    """
    corrections, anchors = _weights(examples, CORRECTING), _weights(examples, ANCHORING)
    beside = math.fsum(anchors) if any(corrections) else 1.0
    rewarded = _weights(examples, ("attempt",))
    groups = ((corrections, 1.0), (anchors, beside), (rewarded, objective.reward_weight))
    found = ([s * by for s in shares(counts, w, objective.aggregation)] for w, by in groups)
    return [math.fsum(each) for each in zip(*found, strict=True)]


def taking_part(
    rows: Sequence[R], objective: Objective, steps: int, measuring: bool
) -> list[tuple[R, float]]:
    """The rows of the step after `steps`, each with how often it counts (`taken`).

    Of a mere look (`measuring`) those of corrections, and probes; where all go in every step, all.
    """
    if measuring:
        every = not objective.in_turn
        return [(row, 1.0) for row in rows if row.example.part in LOOKED_AT or (every and row.share)]
    times = taken([row.example for row in rows], objective, steps, [row.share for row in rows])
    return [(row, by) for row, by in zip(rows, times, strict=True) if by]


def taken(
    examples: Sequence[Example], objective: Objective, steps: int, learned: Sequence[float]
) -> list[float]:
    """How often the loss counts each row in the step after `steps`: 0 where it is not its turn.

    Rows that go in turn stand for all of their kind, so they count as often as there are more than take part.
    A step takes every nth: those beside each other are alike.
    learned: the rows' shares; one that has none takes no part.
    """
    times = [1.0 if share else 0.0 for share in learned]
    for part in ("rehearsed", "anchor", "held"):
        queue = [n for n, e in enumerate(examples) if e.part == part and learned[n]]
        if not objective.in_turn or len(queue) <= objective.in_turn:
            continue
        apart = math.ceil(len(queue) / objective.in_turn)
        now = queue[steps % apart :: apart]
        for n in queue:
            times[n] = len(queue) / len(now) if n in now else 0.0
    return times


def in_report(examples: Sequence[Example], counts: Sequence[int], objective: Objective) -> list[float]:
    """What it counts for in the mean divergence, which is that of the rows about corrections."""
    weights = _weights(examples, CORRECTING)
    return shares(counts, weights, objective.aggregation)


def advantages(examples: Sequence[Example]) -> list[float]:
    """Of each attempt, among those of its correction; 0 for other rows."""
    tried = [n for n, example in enumerate(examples) if example.part == "attempt"]
    rewards, groups = [examples[n].reward for n in tried], [examples[n].correction for n in tried]
    found = [0.0] * len(examples)
    for n, advantage in zip(tried, group_advantages(rewards, groups), strict=True):
        found[n] = advantage
    return found


def _weights(examples: Sequence[Example], parts: Sequence[str]) -> list[float]:
    return [example.weight if example.part in parts else 0.0 for example in examples]
