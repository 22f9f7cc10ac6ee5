"""What each row of an update counts for: one token of it in the loss, and in what is reported."""

from collections.abc import Sequence

from continualcode.core.data import Example, Objective
from continualcode.plugins.models.local import objectives


def in_loss(examples: Sequence[Example], counts: Sequence[int], objective: Objective) -> list[float]:
    """What one of the `counts` free tokens of each row counts for in the loss.

    Attempts are averaged among themselves, and then counted `reward_weight` times, so that how many there are
    does not change what a correction weighs.
    """
    distilled = _weights(examples, ("sample", "demonstration", "anchor"))
    rewarded = _weights(examples, ("attempt",))
    pairs = (objectives.shares(counts, weights, objective.aggregation) for weights in (distilled, rewarded))
    return [one + objective.reward_weight * other for one, other in zip(*pairs, strict=True)]


def in_report(examples: Sequence[Example], counts: Sequence[int], objective: Objective) -> list[float]:
    """What it counts for in the mean divergence, which is that of the rows about corrections."""
    weights = _weights(examples, ("sample", "demonstration"))
    return objectives.shares(counts, weights, objective.aggregation)


def advantages(examples: Sequence[Example]) -> list[float]:
    """Of each attempt, among those of its correction; 0 for other rows."""
    tried = [n for n, example in enumerate(examples) if example.part == "attempt"]
    rewards, groups = [examples[n].reward for n in tried], [examples[n].correction for n in tried]
    found = [0.0] * len(examples)
    for n, advantage in zip(tried, objectives.group_advantages(rewards, groups), strict=True):
        found[n] = advantage
    return found


def _weights(examples: Sequence[Example], parts: Sequence[str]) -> list[float]:
    return [example.weight if example.part in parts else 0.0 for example in examples]
