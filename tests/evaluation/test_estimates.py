"""Means and their intervals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.evaluation.estimates import estimate, overlap


def test_the_mean_is_over_cases_and_the_interval_holds_it() -> None:
    found = estimate([0.2, 0.4, 0.9], draws=12)
    assert found.mean == pytest.approx(0.5) and (found.n, found.draws) == (3, 12)
    assert found.low < found.mean < found.high


def test_a_few_prompts_that_agree_leave_doubt_about_others() -> None:
    """All of four right: Wilson's lower bound is 0.51, of forty 0.91."""
    assert estimate([1.0] * 4).low == pytest.approx(0.510, abs=1e-3)
    assert estimate([1.0] * 40).low == pytest.approx(0.912, abs=1e-3)
    assert estimate([0.7]).high - estimate([0.7]).low > 0.5


def test_nothing_says_nothing() -> None:
    assert (estimate([]).low, estimate([]).high, estimate([]).n) == (0.0, 1.0, 0)


def test_a_share_has_wilsons_interval() -> None:
    found = estimate([1.0] * 19 + [0.0])
    assert (found.mean, found.low, found.high) == pytest.approx((0.95, 0.764, 0.991), abs=1e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_interval_holds_the_mean_and_narrows_with_more_prompts(values: list[float]) -> None:
    found, more = estimate(values), estimate(values * 4)
    assert -1e-9 <= found.low <= found.mean + 1e-9 and found.mean <= found.high + 1e-9 <= 1.0 + 2e-9
    assert more.high - more.low < found.high - found.low


def test_distributions_share_everything_or_nothing_or_a_part() -> None:
    assert overlap({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 1.0
    assert overlap({"a": 1.0}, {"b": 1.0}) == 0.0
    assert overlap({"a": 0.6}, {"a": 0.2}) == pytest.approx(0.6), "what is no tool is shared too"
