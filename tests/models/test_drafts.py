"""Tokens said ahead: the scores that would have been asked for one by one, in fewer passes."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from continualcode.core.data import SamplingParams
from continualcode.plugins.models.local.drafts import ALIKE, LONGEST, SHORT, PromptLookup
from continualcode.plugins.models.local.pieces import BASE
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Split

PROMPT = (30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 50, 30, 31, 32)


class Counted:
    """A prefix whose scores after a sequence are that sequence's length; it notes what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def logits(self, ids: Sequence[int], last: int = 1, cancelled: object = None) -> Tensor:
        self.asked.append((len(ids), last))
        return torch.arange(len(ids) - last + 1, len(ids) + 1, dtype=torch.float32)[:, None]


def ahead(prompt: Sequence[int], most: int = 100) -> tuple[PromptLookup, Counted]:
    counted = Counted()
    untyped: Any = counted
    return PromptLookup(untyped, prompt, most), counted


@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=30),
    st.lists(st.integers(0, 2), max_size=40),
    st.booleans(),
)
def test_the_scores_are_those_after_the_sequence_that_was_asked_about(
    prompt: list[int], said: list[int], by_twos: bool
) -> None:
    one, counted = ahead(prompt, len(said) + 1)
    for count in range(0, len(said) + 1, 2 if by_twos else 1):
        assert float(one.logits([*prompt, *said[:count]])) == len(prompt) + count
    assert all(length <= len(prompt) + len(said) for length, _ in counted.asked), "nothing beyond the room"


def test_what_is_said_again_takes_few_passes() -> None:
    one, counted = ahead(PROMPT)
    again = PROMPT[ALIKE:12]
    for count in range(len(again) + 1):
        one.logits([*PROMPT, *again[:count]])
    # Three tokens ahead; those were said, so as many as there may be, which are all that there are.
    assert counted.asked == [(len(PROMPT) + SHORT, SHORT + 1), (len(PROMPT) + SHORT + 8, LONGEST + 1)]


def test_drafts_that_were_wrong_make_longer_and_longer_pauses() -> None:
    said = [*PROMPT, *PROMPT]
    one, counted = ahead(said)

    def asked(new: int) -> int:
        """How many tokens' scores are asked for at once; then a token is said that never was there."""
        one.logits(said)
        said.extend((new, 30, 31, 32))
        return counted.asked[-1][1]

    draft = SHORT + 1
    assert [asked(new) for new in range(100, 106)] == [draft, 1, draft, 1, 1, draft]


def test_scores_are_those_of_a_pass_for_each_token(policy: LocalPolicy) -> None:
    inside: Any = policy
    prefix = inside._prefix
    said = (*PROMPT[3:9], 60, 61, *PROMPT[:5])
    prefix.start(PROMPT, Split(len(PROMPT) - 1, BASE, BASE))
    one = PromptLookup(prefix, PROMPT, len(said) + 1)
    together = [one.logits([*PROMPT, *said[:count]]).log_softmax(-1) for count in range(len(said))]
    prefix.start(PROMPT, Split(len(PROMPT) - 1, BASE, BASE))
    alone = [prefix.logits([*PROMPT, *said[:count]])[0].log_softmax(-1) for count in range(len(said))]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(together, alone, strict=True))


def test_the_same_seed_draws_the_same_whatever_was_asked_before(policy: LocalPolicy) -> None:
    params = SamplingParams(temperature=1.0, max_tokens=40, seed=5)
    first = policy.sample(PROMPT, None, params)
    policy.sample(PROMPT[::-1], None, params)
    assert policy.sample(PROMPT, None, params).token_ids == first.token_ids
