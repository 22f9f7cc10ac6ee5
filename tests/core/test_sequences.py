"""Prompts by reference stand for what they were shortened from; a hundred of one sample cost one way back."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core import sequences
from continualcode.core.data import SamplingParams
from continualcode.core.events import SampleTaken
from continualcode.core.sequences import Sequences, shortened
from continualcode.eventlog import pack_f32, pack_u32

IDS = st.lists(st.integers(0, 3), max_size=6).map(tuple)
SAMPLES = st.lists(st.tuples(IDS, IDS, st.integers(0, 9)), min_size=1, max_size=12)
"""Of each its prompt, its completion, and which earlier one the prompt is said by."""


def samples(said: Sequence[tuple[tuple[int, ...], tuple[int, ...], int]]) -> dict[str, SampleTaken]:
    """The samples by id, each prompt by what it shares with an earlier sequence."""
    found: dict[str, SampleTaken] = {}
    for number, (prompt, completion, back) in enumerate(said):
        earlier = number - 1 - back % number if number else None
        head = said[earlier][0] + said[earlier][1] if earlier is not None else ()
        found[str(number)] = SampleTaken(
            weights="w",
            offer="o",
            prompt=shortened(prompt, None if earlier is None else str(earlier), head),
            params=SamplingParams(),
            token_ids=pack_u32(completion),
            logprobs=pack_f32([0.0] * len(completion)),
            text="",
            stop="end",
        )
    return found


@given(SAMPLES, st.lists(st.integers(0, 11), max_size=30), st.integers(1, 4))
def test_they_are_what_they_were_whatever_was_asked_for_before(
    said: list[tuple[tuple[int, ...], tuple[int, ...], int]], asked: list[int], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sequences, "KEPT", kept)
        of_log = samples(said)
        found = Sequences(of_log.__getitem__)
        for number in (each % len(said) for each in asked):
            prompt, completion, _ = said[number]
            assert found.expanded(of_log[str(number)].prompt) == prompt
            assert found.of(str(number)) == prompt + completion


def test_rows_of_one_sample_go_back_once() -> None:
    """A plan has a hundred of them, and each went back to the session's beginning."""
    of_log = samples([((1,) * 50 + (number,), (2,), 0) for number in range(40)])
    looked: list[str] = []

    def look(sample: str) -> SampleTaken:
        looked.append(sample)
        return of_log[sample]

    found, last = Sequences(look), Sequences(of_log.__getitem__).of("39")
    for number in range(100):
        assert found.expanded(shortened((*last, number), "39", last)) == (*last, number)
    assert len(looked) == 40
