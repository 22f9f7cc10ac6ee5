"""Means over cases, with intervals: what the figures of a handful of prompts can and cannot say."""

from collections.abc import Mapping, Sequence

from continualcode.core.data import Data

Z = 1.959964
"""Standard deviations on either side of a 95% interval."""


class Estimate(Data, frozen=True):
    """A mean with a 95% interval and how many cases and draws it comes from."""

    mean: float
    low: float
    high: float
    n: int
    draws: int = 0


def estimate(values: Sequence[float], draws: int = 0) -> Estimate:
    """The mean of figures in [0, 1], one a case, with Wilson's score interval (1927) for so many cases.

    It is for other prompts of the kind. Wilson's is for shares; no figures in [0, 1] of that mean vary more,
    whether they are exact or of some draws, so for them it is wide enough, if anything too wide. A
    resampling of four prompts that agree by chance would say that there is no doubt.
    """
    n = len(values)
    if not n:
        return Estimate(mean=0.0, low=0.0, high=1.0, n=0)
    p = sum(values) / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * (max(0.0, p * (1 - p)) / n + Z * Z / (4 * n * n)) ** 0.5 / (1 + Z * Z / n)
    return Estimate(mean=p, low=max(0.0, centre - half), high=min(1.0, centre + half), n=n, draws=draws)


def overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How much two distributions over tools share: Σ min, 1 where they are the same."""
    return sum(min(p, other.get(tool, 0.0)) for tool, p in one.items()) + min(
        1.0 - sum(one.values()), 1.0 - sum(other.values())
    )
