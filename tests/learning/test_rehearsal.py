"""Of what several corrections say about one prompt, the last counts."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Example
from continualcode.plugins.trainers.rehearsal import MOST, SIBLINGS, rehearsed

PROMPTS = st.integers(0, 5)


def row(correction: int, prompt: int, part: str, weight: float = 1.0) -> Example:
    """What correction number `correction` says about a prompt."""
    return Example(
        correction=f"c{correction}",
        sample=f"s{correction}",
        part=part,  # type: ignore[arg-type]  # literals, from a strategy
        prompt_ids=(prompt,),
        teacher_ids=(prompt, 100 + correction),
        completion_ids=(correction,),
        sampled_logprobs=(),
        temperature=0.0,
        grammar=None,
        weight=weight,
    )


@st.composite
def updates(draw: st.DrawFn) -> list[list[Example]]:
    """Updates of one correction each: a demonstration, some siblings, what is near."""
    drawn: list[list[Example]] = []
    for number in range(draw(st.integers(1, 6))):
        weight = draw(st.sampled_from([1.0, 1.0, 0.0]))
        rows = [row(number, draw(PROMPTS), "demonstration", weight)]
        if weight:
            rows += [row(number, one, "sibling") for one in draw(st.lists(PROMPTS, unique=True))]
        drawn.append(rows + [row(number, draw(PROMPTS), draw(st.sampled_from(["near", "beside"])), 0.0)])
    return drawn


def learned(rows: list[Example]) -> set[tuple[int, ...]]:
    return {one.prompt_ids for one in rows if one.weight and one.part in ("demonstration", "sibling")}


@given(updates())
def test_the_last_word_on_a_prompt_is_the_one_rehearsed(all_of_them: list[list[Example]]) -> None:
    *earlier, news = all_of_them
    again = rehearsed(news, earlier, 1.0)
    assert not learned(news) & {one.prompt_ids for one in again}
    for one in again:
        last = max(n for n, rows in enumerate(earlier) if one.prompt_ids in learned(rows))
        assert one.correction == f"c{last}"


@given(updates())
def test_what_nobody_contradicted_is_rehearsed(all_of_them: list[list[Example]]) -> None:
    """Every demonstration on which nothing more was said, and two siblings, oldest first."""
    *earlier, news = all_of_them
    again = rehearsed(news, earlier, 1.0)
    assert [one.correction for one in again] == sorted(one.correction for one in again)
    for number, rows in enumerate(earlier):
        later = set(chain.from_iterable(learned(each) for each in [*earlier[number + 1 :], news]))
        stands = [one for one in rows if one.weight and one.prompt_ids not in later]
        own = {one.prompt_ids for one in again if one.correction == f"c{number}"}
        siblings = [one for one in stands if one.part == "sibling"][:SIBLINGS]
        expected = [one for one in stands if one.part == "demonstration"] + siblings
        assert own == {one.prompt_ids for one in expected}
        assert all(one.part == "rehearsed" for one in again)


def test_a_share_is_of_corrections_however_many_rows_a_new_one_has() -> None:
    earlier = [[row(number, number, "demonstration")] for number in range(400)]
    for siblings in (0, 40):
        news = [row(500, 500, "demonstration"), *(row(500, 501 + n, "sibling") for n in range(siblings))]
        assert len(rehearsed(news, earlier, 0.02)) <= 20, "8 in the mean"


def test_an_update_rehearses_no_more_as_the_log_grows_but_others_each_time() -> None:
    earlier = [[row(number, number, "demonstration")] for number in range(10 * MOST)]
    first, second = (
        {one.correction for one in rehearsed([row(new, new, "demonstration")], earlier, 1.0)}
        for new in (1000, 1001)
    )
    assert MOST / 2 < len(first) < 2 * MOST > len(second) > MOST / 2
    assert len(first & second) < MOST / 2
    assert len(rehearsed([row(1000, 1000, "demonstration")], earlier[:MOST], 1.0)) == MOST
