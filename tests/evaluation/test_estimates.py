"""Means and their intervals."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.evaluation.estimates import estimate, overlap, share
from continualcode.core.evaluation.measure import CaseFigures


def case(probability: float, draws: tuple[bool, ...] = ()) -> CaseFigures:
    return CaseFigures(
        group="", prompt="", tools={"a": 1.0}, violates=probability, obeys=0.0, violating={"a": draws}
    )


def of(*figures: CaseFigures) -> Any:
    return estimate(figures, lambda one: (one.violates, one.violating))


def test_the_mean_is_over_cases_and_the_interval_holds_it() -> None:
    found = of(case(0.2), case(0.4), case(0.9))
    assert found.mean == pytest.approx(0.5) and found.n == 3
    assert 0.2 <= found.low < found.mean < found.high <= 0.9


def test_equal_cases_leave_no_doubt_unless_they_were_drawn() -> None:
    exact = of(case(0.5), case(0.5))
    assert (exact.low, exact.high, exact.draws) == (0.5, 0.5, 0)
    drawn = of(case(0.5, (True, False, True, False)), case(0.5, (True, False, False, True)))
    assert drawn.low < 0.5 < drawn.high and drawn.draws == 8


def test_nothing_says_nothing() -> None:
    assert (of().low, of().high, of().n) == (0.0, 1.0, 0)
    assert (share([]).low, share([]).high) == (0.0, 1.0)


def test_it_is_the_same_twice() -> None:
    figures = [case(0.1), case(0.5, (True, False)), case(0.7)]
    assert of(*figures) == of(*figures)


def test_a_share_has_wilsons_interval() -> None:
    found = share([True] * 19 + [False])
    assert (found.mean, found.low, found.high) == pytest.approx((0.95, 0.764, 0.991), abs=1e-3)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_shares_interval_holds_it(outcomes: list[bool]) -> None:
    found = share(outcomes)
    assert 0.0 <= found.low <= found.mean + 1e-9 and found.mean <= found.high + 1e-9 <= 1.0 + 2e-9


def test_distributions_share_everything_or_nothing_or_a_part() -> None:
    assert overlap({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 1.0
    assert overlap({"a": 1.0}, {"b": 1.0}) == 0.0
    assert overlap({"a": 0.6}, {"a": 0.2}) == pytest.approx(0.6), "what is no tool is shared too"
