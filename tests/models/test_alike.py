"""Likeness of requests: what counts of a state, and what several wordings add up to."""

import pytest
import torch

from continualcode.core.data import Message
from continualcode.plugins.models.local.alike import Whitened
from continualcode.plugins.models.local.policy import LocalPolicy


def test_a_direction_in_which_all_states_differ_most_counts_for_less() -> None:
    """As how a request is worded does, beside what it asks for."""
    drawn = torch.randn(1, 40, 6, generator=torch.Generator().manual_seed(0))
    far = drawn * torch.tensor([4.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = Whitened(far).directions(far)
    share = found.square().mean((0, 1)).max()
    plain = torch.nn.functional.normalize(far - far.mean(1, keepdim=True), dim=-1).square().mean((0, 1))
    assert share < 0.75 * plain[0]


def test_states_that_are_all_the_same_have_no_direction() -> None:
    same = torch.ones(3, 4, 5)
    assert torch.equal(Whitened(same).directions(same), torch.zeros(3, 4, 4))


def test_the_likeness_to_several_wordings_is_that_to_what_they_have_in_common(policy: LocalPolicy) -> None:

    def ids(text: str) -> tuple[int, ...]:
        return policy.render([Message(role="user", text=text)], ())

    others = [ids(text) for text in ("Run the tests.", "Read a file.", "Fix that.", "Hello!", "Search it.")]
    one, two = (policy.nearness([ids(text)], others) for text in ("Run it.", "Start it."))
    both = policy.nearness([ids("Run it."), ids("Start it.")], others)
    again = policy.nearness([ids("Start it."), ids("Run it.")], others)
    assert both == pytest.approx(again) and both != pytest.approx(one)
    assert all(-1.0 <= alike <= 1.0 for alike in (*one, *two, *both))
    assert policy.nearness([others[0]], others)[0] == pytest.approx(1.0, abs=1e-4)
