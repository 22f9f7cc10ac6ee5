"""What one token of each row of an update counts for; the same for every policy."""

import math
import statistics
from collections.abc import Sequence


def shares(counts: Sequence[int], weights: Sequence[float], aggregation: str) -> list[float]:
    """What one token of each example counts for in the batch's mean; Σ counts · shares = 1, or all are 0.

    `counts` are the tokens that carry a loss, by example. token_mean: every such token counts alike;
    example_mean: every example that has one counts alike. An example without one dilutes neither.
    `weights` multiply either. example_sum: the tokens of an example add up, and the sums are averaged, so
    Σ shares (of one token an example) = 1.
    """
    per_token = [
        0.0 if count == 0 else weight / count if aggregation == "example_mean" else weight
        for count, weight in zip(counts, weights, strict=True)
    ]
    total = math.fsum(
        share if aggregation == "example_sum" else count * share
        for count, share in zip(counts, per_token, strict=True)
    )
    return [share / total if total > 0.0 else 0.0 for share in per_token]


def group_advantages(rewards: Sequence[float], groups: Sequence[str]) -> list[float]:
    """How much better each attempt was than its group, in standard deviations (n − 1); 0 if alone."""
    members: dict[str, list[float]] = {}
    for reward, group in zip(rewards, groups, strict=True):
        members.setdefault(group, []).append(reward)
    found: list[float] = []
    for reward, group in zip(rewards, groups, strict=True):
        others = members[group]
        spread = statistics.stdev(others) if len(others) > 1 else 0.0
        found.append((reward - statistics.fmean(others)) / (spread + 1e-4))
    return found
