"""Means over cases, with intervals: what the figures of a handful of prompts can and cannot say."""

import random
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from continualcode.core.data import Data
from continualcode.core.evaluation.measure import CaseFigures


class Estimate(Data, frozen=True):
    """A mean with a 95% interval and how many cases and draws it comes from."""

    mean: float
    low: float
    high: float
    n: int
    draws: int = 0


def estimate(
    figures: Sequence[CaseFigures], which: Callable[[CaseFigures], tuple[float, Mapping[str, Sequence[bool]]]]
) -> Estimate:
    """The mean over cases of a probability, with a 95% bootstrap interval over cases and, within, draws.

    `which` gives a case's probability and its draws by tool. Percentiles of 1,000 resamples, fixed seed.
    """
    values = [which(one) for one in figures]
    if not values:
        return Estimate(mean=0.0, low=0.0, high=1.0, n=0)
    pool = random.Random(0)
    means: list[float] = []
    for _ in range(1000):
        total = 0.0
        for number in pool.choices(range(len(values)), k=len(values)):
            probability, draws = values[number]
            for tool, row in draws.items():
                if len(row) > 1:
                    redrawn = fmean(pool.choices(row, k=len(row)))
                    probability += figures[number].tools[tool] * (redrawn - fmean(row))
            total += probability
        means.append(min(1.0, max(0.0, total / len(values))))
    means.sort()
    return Estimate(
        mean=fmean(value for value, _ in values),
        low=means[24],
        high=means[974],
        n=len(values),
        draws=sum(len(row) for _, draws in values for row in draws.values() if len(row) > 1),
    )


def average(values: Sequence[float]) -> Estimate:
    """The mean of exact figures in [0, 1], one a case, with a 95% bootstrap interval over cases."""
    if not values:
        return Estimate(mean=0.0, low=0.0, high=1.0, n=0)
    pool = random.Random(0)
    means = sorted(fmean(pool.choices(values, k=len(values))) for _ in range(1000))
    return Estimate(mean=fmean(values), low=means[24], high=means[974], n=len(values))


def share(outcomes: Sequence[bool]) -> Estimate:
    """A share with its Wilson score interval at 95%."""
    n = len(outcomes)
    if not n:
        return Estimate(mean=0.0, low=0.0, high=1.0, n=0)
    z, p = 1.959964, sum(outcomes) / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / (1 + z * z / n)
    return Estimate(mean=p, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n)


def overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How much two distributions over tools share: Σ min, 1 where they are the same."""
    return sum(min(p, other.get(tool, 0.0)) for tool, p in one.items()) + min(
        1.0 - sum(one.values()), 1.0 - sum(other.values())
    )
