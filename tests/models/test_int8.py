"""Sampling from a rounded copy of the base model: how near it is, and that nothing else is computed by it."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import torch

from continualcode.core.data import Example, Message, Objective, Optimiser, Sample, SamplingParams, ToolSpec
from continualcode.core.errors import ConfigError
from continualcode.plugins.models.local.int8 import Int8, refuse_int8
from continualcode.plugins.models.local.network import FEW, product
from continualcode.plugins.models.local.policy import LocalPolicy

MakePolicy = Callable[..., LocalPolicy]
ASKED = [Message(role="user", text="Fix the test.")]
TOLD = [*ASKED, Message(role="user", text="Use edit_lines.")]
PARAMS = SamplingParams(temperature=0.7, max_tokens=40, seed=1)


@pytest.fixture
def quick(make_policy: MakePolicy) -> LocalPolicy:
    return make_policy(sampling_weights="int8")


def drawn(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> Sample:
    return policy.sample(policy.render(ASKED, tools), policy.grammar(tools), PARAMS)


def nothing(done: int, of: int) -> None:
    """No one is told how far it is."""


def row(policy: LocalPolicy, tools: tuple[ToolSpec, ...], sample: Sample) -> Example:
    """A denied sample and its correction."""
    return Example(
        correction="c",
        sample="s",
        prompt_ids=policy.render(ASKED, tools),
        teacher_ids=policy.render(TOLD, tools),
        completion_ids=sample.token_ids,
        sampled_logprobs=sample.logprobs,
        temperature=PARAMS.temperature,
        grammar=policy.grammar(tools),
    )


@pytest.fixture(params=["x86", "qnnpack"])
def engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Kernels of torch: those of a PC, those of an ARM."""
    kernels: Any = torch.backends.quantized
    if request.param not in kernels.supported_engines:
        pytest.skip(f"this torch has no {request.param}")
    before, kernels.engine = kernels.engine, request.param
    yield
    kernels.engine = before


def test_a_few_tokens_go_through_the_rounded_matrix_and_many_through_the_whole_one(
    policy: LocalPolicy, engine: None, capfd: pytest.CaptureFixture[str]
) -> None:
    inside: Any = policy
    parts = inside._adapter._written.parts
    rounded, weight = Int8(parts, nothing), parts.layers[0].up.weight
    x = torch.randn(FEW.stop, weight.shape[1], generator=torch.Generator().manual_seed(0))
    few = rounded.product(x[:1], weight, None)
    off = (few - product(x[:1], weight, None)).square().sum() / few.square().sum()
    assert 0.0 < float(off) < 0.03**2
    assert capfd.readouterr().err == "", "torch does not talk to whoever uses it"
    assert torch.equal(rounded.product(x, weight, None), product(x, weight, None))


def test_the_same_seed_draws_the_same(quick: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    one, other = drawn(quick, tools), drawn(quick, tools)
    assert (one.token_ids, one.logprobs) == (other.token_ids, other.logprobs)


def test_what_is_learned_from_a_sample_does_not_depend_on_who_learns(
    quick: LocalPolicy, policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    """Scores, teachers and steps are those of whole weights: the same bits with the option and without."""
    sample = drawn(quick, tools)
    for each in (quick, policy):
        batch = each.prepare([row(each, tools, sample)], Objective(), Optimiser(lr=1e-3))
        each.step(batch, stop_below=0.0)
    assert quick.weights() == policy.weights()
    assert quick.optimiser_state() == policy.optimiser_state()


def test_the_importance_ratio_counts_how_it_was_drawn(
    quick: LocalPolicy, policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    """The loss of a token is its divergence times what whole weights give it over what int8 gave it."""
    whole, rounded = drawn(policy, tools), drawn(quick, tools)
    end = 1 + next(place for place, one in enumerate(whole.logprobs) if one)  # the first that had a choice
    assert whole.token_ids[:end] == rounded.token_ids[:end]
    ratio = math.exp(sum(whole.logprobs[:end]) - sum(rounded.logprobs[:end]))
    assert ratio != pytest.approx(1.0, abs=2e-4)
    first = msgspec.structs.replace(
        row(policy, tools, rounded),
        completion_ids=rounded.token_ids[:end],
        sampled_logprobs=rounded.logprobs[:end],
    )
    batch = policy.prepare([first], Objective(ratio_clip=1e9), Optimiser())
    report = policy.step(batch, stop_below=math.inf)
    assert report.loss / report.divergence == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("acts_on", ["all", "completion"])
def test_nothing_that_was_spoken_quickly_counts_as_read(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...], acts_on: str
) -> None:
    """The exact choice of tool in the next turn is to the bit that of a policy that never said anything."""
    quick = make_policy(sampling_weights="int8", acts_on=acts_on)
    plain = make_policy(acts_on=acts_on)
    sample = drawn(quick, tools)
    said = Message(role="assistant", text=sample.text)
    later = quick.render([*ASKED, said, Message(role="user", text="Go on.")], tools)
    grammar = quick.grammar(tools)
    assert quick.tool_probabilities(later, grammar, tools) == plain.tool_probabilities(later, grammar, tools)


def test_the_stack_says_so_and_only_then(quick: LocalPolicy, policy: LocalPolicy) -> None:
    assert quick.stack["sampling_weights"] == "int8"
    assert "sampling_weights" not in policy.stack


@pytest.mark.parametrize(
    ("device", "dtype", "written", "why"),
    [
        ("cuda", torch.float32, True, "the model is on cuda"),
        ("cpu", torch.bfloat16, True, "is in bfloat16: it is for float32"),
        ("cpu", torch.float32, False, "is for Llama, Qwen2 and Qwen3"),
    ],
)
def test_where_it_cannot_be_had_it_says_why(device: str, dtype: torch.dtype, written: bool, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        refuse_int8(torch.device(device), dtype, written)
