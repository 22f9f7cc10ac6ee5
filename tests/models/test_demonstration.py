"""What a teacher would do instead, drawn by a real (random) model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from continualcode.core.data import Call, Message, Sample, ToolSpec
from continualcode.plugins.models.local import objectives
from continualcode.plugins.models.local.constraint import scores
from continualcode.plugins.models.local.packing import Packed
from continualcode.plugins.models.local.policy import LocalPolicy

ASKED = Message(role="user", text="Fix the test.")
TOLD = Message(role="user", text="Use edit_lines; don't overwrite the whole file.")
SAID = Message(role="user", text="No, that is wrong.")


def shown(policy: LocalPolicy, tools: tuple[ToolSpec, ...], **settings: Any) -> tuple[Any, ...]:
    """The teacher's prompt, the neutral one, the grammar, and the demonstration."""
    teacher, neutral = (policy.render([ASKED, words], tools) for words in (TOLD, SAID))
    given: dict[str, Any] = {"teacher": "base", "guidance": 2.0, "max_tokens": 60, **settings}
    grammar = policy.grammar(tools)
    return teacher, neutral, grammar, policy.demonstrate(teacher, neutral, grammar, **given)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_every_free_token_is_the_guided_teachers_best_by_a_forward_pass_from_scratch(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...], guidance: float
) -> None:
    teacher, neutral, grammar, sample = shown(policy, tools, guidance=guidance)
    inside: Any = policy
    masks = inside._constraint.masks(grammar, sample.token_ids)

    def scored(prompt: tuple[int, ...], place: int) -> torch.Tensor:
        with torch.no_grad():
            ids = [*prompt, *sample.token_ids[:place]]
            logits = inside._adapter.logits(Packed.of(ids), [len(ids) - 1])[0]
        return scores(logits, masks[place], 1.0)[None]

    for place, token in enumerate(sample.token_ids):
        both = scored(teacher, place), scored(neutral, place)
        expected = objectives.guided(*both, guidance)[0]
        assert float(expected[token]) == pytest.approx(float(expected.max()), abs=1e-4)
        assert sample.logprobs[place] == pytest.approx(float(expected[token]), abs=1e-3)


def test_it_is_a_call_that_the_grammar_allows(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    only = tuple(tool for tool in tools if tool.name == "read")
    *_, sample = shown(policy, only, max_tokens=200)
    assert isinstance(sample, Sample)
    if sample.stop == "end":
        parsed = policy.parse(sample, only)
        assert isinstance(parsed.call, Call) or parsed.text
    else:
        assert len(sample.token_ids) == 200


def test_it_is_the_same_to_the_bit_whatever_was_asked_before(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    first = shown(policy, tools)[3]
    shown(policy, tools[:2])
    shown(policy, tools, max_tokens=7)
    assert shown(policy, tools)[3] == first


def test_it_is_cut_at_the_number_of_tokens(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    whole, cut = shown(policy, tools)[3], shown(policy, tools, max_tokens=5)[3]
    assert cut.token_ids == whole.token_ids[:5] and cut.stop == "length"


def test_the_base_model_shows_the_same_whatever_was_learned_the_live_one_does_not(
    make_policy: Callable[..., LocalPolicy], tools: tuple[ToolSpec, ...]
) -> None:
    policy = make_policy()
    base, live = shown(policy, tools)[3], shown(policy, tools, teacher="live")[3]
    assert base.token_ids == live.token_ids  # their log-probabilities differ by the order of sums
    inside: Any = policy
    with torch.no_grad():
        for number, parameter in enumerate(inside._adapter.parameters()):
            parameter.add_(
                torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape) * (1 + number % 3)
            )
    inside._weights = None  # the digest was that of the weights before
    assert shown(policy, tools)[3] == base
    assert shown(policy, tools, teacher="live")[3] != base
