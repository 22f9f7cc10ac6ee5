"""Drawing tokens: the logprobs are those of the distribution drawn from, whatever was kept or forced."""

import math
import threading
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core.data import Call, Message, Sample, SamplingParams, ToolSpec
from continualcode.core.errors import UsageError
from continualcode.plugins.models.local.constraint import scores, unpacked
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import common
from continualcode.plugins.models.local.sampler import Stream

MakePolicy = Callable[..., LocalPolicy]
USER = Message(role="user", text="Fix the test in test_calc.py, please. 日本語 🙂")


def parts(policy: LocalPolicy) -> Any:
    """The policy, to look inside."""
    return policy


def drawn(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...], **params: Any
) -> tuple[tuple[int, ...], str | None, Sample]:
    """A prompt, its grammar, and a completion of it."""
    ids, grammar = policy.render([USER], tools), policy.grammar(tools)
    defaults: dict[str, Any] = {"temperature": 1.0, "max_tokens": 60, "seed": 3}
    return ids, grammar, policy.sample(ids, grammar, SamplingParams(**(defaults | params)))


@torch.no_grad()
def logits_from_scratch(policy: LocalPolicy, prompt: tuple[int, ...], ids: tuple[int, ...]) -> torch.Tensor:
    """The logits [T, V] that the tokens `ids` were drawn from, by forward passes over everything."""
    adapter = parts(policy)._adapter
    reading = parts(policy)._prefix.reading([prompt])
    packed, rest = reading.packed.onward(), prompt[adapter.reads(prompt) :]
    path = packed.add([*rest, *ids], reading.ends[prompt])
    return adapter.logits(packed, path[len(rest) - 1 : -1])


def from_scratch(
    policy: LocalPolicy, prompt: tuple[int, ...], grammar: str | None, sample: Sample, temperature: float
) -> list[float]:
    """The logprobs of a sample's tokens by forward passes over everything, and the masks of the grammar."""
    ids = sample.token_ids
    logits = logits_from_scratch(policy, prompt, ids)
    masks = parts(policy)._constraint.masks(grammar, ids) if grammar else [None] * len(ids)
    rows = zip(logits, masks, ids, strict=True)
    return [float(scores(row, mask, temperature)[token]) for row, mask, token in rows]


# -- The test that matters most ----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("seed", [1, 2])
def test_sampled_logprobs_are_those_of_a_forward_pass_from_scratch(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...], temperature: float, constrained: bool, seed: int
) -> None:
    offered = tools if constrained else ()
    prompt, grammar, sample = drawn(policy, offered, temperature=temperature, seed=seed)
    assert len(sample.token_ids) == len(sample.logprobs) > 10
    expected = from_scratch(policy, prompt, grammar, sample, temperature)
    assert sample.logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_so_they_are_on_a_real_model(
    smollm: LocalPolicy, tools: tuple[ToolSpec, ...], temperature: float
) -> None:
    prompt, grammar, sample = drawn(smollm, tools, temperature=temperature)
    assert smollm.parse(sample, tools).how == "ok"
    expected = from_scratch(smollm, prompt, grammar, sample, temperature)
    assert sample.logprobs == pytest.approx(expected, abs=1e-4)


def test_they_are_after_an_interrupted_and_a_shortened_prompt_too(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    longer = policy.render([USER, Message(role="assistant", text="x"), USER], tools)
    policy.sample(longer, None, SamplingParams(max_tokens=3))
    prompt, grammar, sample = drawn(policy, tools)
    assert sample.logprobs == pytest.approx(from_scratch(policy, prompt, grammar, sample, 1.0), abs=1e-4)


# -- What a sample is --------------------------------------------------------------------------------


def test_a_forced_token_has_logprob_zero(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    _, grammar, sample = drawn(policy, tools)
    walk = parts(policy)._constraint.walk(grammar)
    for token, logprob in zip(sample.token_ids, sample.logprobs, strict=True):
        assert (logprob == 0.0) or not walk.step().forced
        walk.take(token)


def test_a_whole_completion_ends_with_the_end_token_and_its_text_does_not(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    only_reply = tools[-1:]
    sample = next(
        sample
        for seed in range(50)
        if (sample := drawn(policy, only_reply, seed=seed, max_tokens=400)[2]).stop == "end"
    )
    assert sample.token_ids[-1] == parts(policy)._constraint.ends[0]
    assert sample.text.endswith("</tool_call>")
    assert policy.parse(sample, only_reply).how == "ok"
    longer = policy.render([USER, Message(role="assistant", text=sample.text), USER], only_reply)
    decode = parts(policy)._codec.decode
    so_far = decode([*policy.render([USER], only_reply), *sample.token_ids])
    assert decode(longer).startswith(unicodedata.normalize("NFC", so_far))  # as Qwen's tokenizer reads text


@settings(max_examples=30)
@given(most=st.integers(1, 30), seed=st.integers(0, 9))
def test_a_completion_that_is_cut_off_is_a_record_that_says_so(
    shared_policy: LocalPolicy, tools: tuple[ToolSpec, ...], most: int, seed: int
) -> None:
    _, grammar, sample = drawn(shared_policy, tools, max_tokens=most, seed=seed)
    assert (len(sample.token_ids), len(sample.logprobs), sample.stop) == (most, most, "length")
    assert parts(shared_policy)._constraint.masks(grammar, sample.token_ids).shape[0] == most
    parsed = shared_policy.parse(sample, tools)
    if "}}" not in sample.text:  # else the call may be whole, and only a tag or the end is missing
        assert (parsed.call, parsed.how) == (None, "failed")
        assert "max_tokens was reached" in str(parsed.why)


@pytest.fixture(scope="module")
def shared_policy(tiny_model_folder: Any, model_cache: Any) -> LocalPolicy:
    return LocalPolicy(str(tiny_model_folder), {"cache": str(model_cache), "rank": 4, "threads": 1})


def test_temperature_zero_takes_the_most_probable_token_and_scores_it_at_one(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    prompt, grammar, sample = drawn(policy, tools, temperature=0.0)
    again = drawn(policy, tools, temperature=0.0, seed=99)[2]
    assert again.token_ids == sample.token_ids
    ids = sample.token_ids
    logits = logits_from_scratch(policy, prompt, ids)
    masks = parts(policy)._constraint.masks(grammar, ids)
    assert [int(scores(row, mask, 1.0).argmax()) for row, mask in zip(logits, masks, strict=True)] == list(
        ids
    )


def test_one_seed_gives_one_completion(make_policy: MakePolicy, tools: tuple[ToolSpec, ...]) -> None:
    first, second = make_policy(), make_policy()
    assert drawn(first, tools)[2].token_ids == drawn(second, tools)[2].token_ids
    assert drawn(first, tools, seed=4)[2].token_ids != drawn(second, tools)[2].token_ids


def test_sampling_does_not_touch_torchs_own_generator(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    before = torch.random.get_rng_state()
    drawn(policy, tools)
    assert torch.random.get_rng_state().equal(before)


# -- What is kept ------------------------------------------------------------------------------------


def test_a_longer_prompt_costs_only_its_new_tokens(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...]
) -> None:
    policy = make_policy(acts_on="all")  # else what was said is read as well: tests/learning/test_acts_on.py
    prompt, grammar, sample = drawn(policy, tools, temperature=0.0)
    prefix = parts(policy)._prefix
    assert prefix.computed <= len(prompt) + 2 * len(sample.token_ids), "drafts that were wrong included"
    longer = (*prompt, *sample.token_ids, *policy.render([USER], ()))
    held = common(prefix._ids, list(longer))
    assert held >= len(prompt) + len(sample.token_ids) - 12  # what was forced after the last draw
    before = prefix.computed
    policy.sample(longer, grammar, SamplingParams(max_tokens=1))
    assert prefix.computed == before  # a forced token needs no score
    again = policy.sample(longer, None, SamplingParams(max_tokens=1))
    assert (len(again.token_ids), prefix.computed - before) == (1, len(longer) - held)


def test_forced_tokens_share_a_forward_pass(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    hook = parts(policy)._adapter.embedding.register_forward_pre_hook(count)
    prompt, grammar, sample = drawn(policy, tools)
    hook.remove()
    masks = parts(policy)._constraint.masks(grammar, sample.token_ids)
    free = (unpacked(masks, parts(policy)._constraint.vocabulary).sum(-1) > 1).sum()
    read = prompt[: parts(policy)._adapter.reads(prompt)]
    reading = len(list(parts(policy)._prefix._pieces.ends(read)))
    assert passes - reading == free < len(sample.token_ids)


@pytest.mark.parametrize("acts_on", ["all", "completion"])
def test_new_weights_take_nothing_that_the_old_ones_computed(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...], acts_on: str
) -> None:
    policy = make_policy(acts_on=acts_on)
    drawn(policy, tools)
    snapshot = policy.snapshot()
    moved = {name: tensor + 0.1 for name, tensor in snapshot.weights.items()}
    policy.restore(type(snapshot)(moved, snapshot.moments, snapshot.ema))
    prompt, grammar, sample = drawn(policy, tools)
    assert sample.logprobs == pytest.approx(from_scratch(policy, prompt, grammar, sample, 1.0), abs=1e-4)


@pytest.mark.parametrize("layer", [0, 1])
def test_an_interrupt_in_the_middle_of_a_pass_leaves_what_was_kept_usable(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...], layer: int
) -> None:
    policy = make_policy()
    calls = 0
    cache = parts(policy)._prefix._buffer
    update = cache.update

    def interrupt(keys: torch.Tensor, values: torch.Tensor, number: int) -> Any:
        nonlocal calls
        calls += number == layer
        if calls == 4:
            raise KeyboardInterrupt
        return update(keys, values, number)

    cache.update = interrupt
    with pytest.raises(KeyboardInterrupt):
        drawn(policy, tools)
    cache.update = update
    assert parts(policy)._prefix._ids
    assert drawn(policy, tools)[2].token_ids == drawn(make_policy(), tools)[2].token_ids


# -- Stopping and showing ----------------------------------------------------------------------------


def test_a_cancelled_sample_has_what_was_drawn_so_far(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    cancelled, ids = threading.Event(), policy.render([USER], tools)
    seen: list[str] = []

    def on_text(piece: str) -> None:
        seen.append(piece)
        if len(seen) == 4:
            cancelled.set()

    sample = policy.sample(ids, policy.grammar(tools), SamplingParams(temperature=1.0), on_text, cancelled)
    assert sample.stop == "interrupted"
    assert sample.text == "".join(seen)
    assert len(sample.token_ids) == len(sample.logprobs) > 0
    assert "it was interrupted" in str(policy.parse(sample, tools).why)


def test_a_sample_cancelled_before_it_began_is_empty(policy: LocalPolicy) -> None:
    cancelled = threading.Event()
    cancelled.set()
    sample = policy.sample(policy.render([USER], ()), None, SamplingParams(), None, cancelled)
    assert (sample.token_ids, sample.text, sample.stop) == ((), "", "interrupted")


@pytest.mark.parametrize("seed", range(5))
def test_the_pieces_shown_are_whole_characters_and_make_up_the_text(policy: LocalPolicy, seed: int) -> None:
    pieces: list[str] = []
    params = SamplingParams(temperature=2.0, max_tokens=80, seed=seed)
    sample = policy.sample(policy.render([USER], ()), None, params, pieces.append)
    assert "".join(pieces) == sample.text


def test_a_character_is_shown_when_all_of_it_is_there(policy: LocalPolicy) -> None:
    codec, shown = parts(policy)._codec, list[str]()
    ids = codec.encode("naïve 日本語 🙂")
    stream = Stream(codec, shown.append)
    for count in range(len(ids) + 1):
        stream.show(ids[:count])
    assert "".join(shown) == "naïve 日本語 🙂"
    assert shown[-2:] == [" ", "🙂"]


# -- Limits ------------------------------------------------------------------------------------------


def test_a_prompt_that_does_not_fit_is_refused(make_policy: MakePolicy) -> None:
    policy = make_policy(context=20)
    with pytest.raises(UsageError, match="the prompt has 20 tokens; allowed are 1 to 19"):
        policy.sample([1] * 20, None, SamplingParams())
    with pytest.raises(UsageError, match="the prompt has 0 tokens"):
        policy.sample([], None, SamplingParams())


def test_a_completion_takes_no_more_than_what_is_left_of_the_context(make_policy: MakePolicy) -> None:
    sample = make_policy(context=20).sample([1] * 15, None, SamplingParams(max_tokens=100, temperature=1.0))
    assert len(sample.token_ids) <= 5


# -- Which tool --------------------------------------------------------------------------------------


def test_tool_probabilities_are_products_of_their_tokens_probabilities(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    prompt, grammar = policy.render([USER], tools), policy.grammar(tools)
    found = policy.tool_probabilities(prompt, grammar, tools)
    assert list(found) == [tool.name for tool in tools]
    assert 0.0 < sum(found.values()) <= 1.0 + 1e-6
    codec = parts(policy)._codec
    for name, probability in found.items():
        call = policy.format_call(Call(tool=name, arguments={}))
        ids = codec.encode(call)
        _, last = codec.span(ids, 0, call.index(f'{name}"') + len(name) + 1)
        beginning = Sample(token_ids=tuple(ids[:last]), logprobs=(), text="", stop="length")
        expected = math.exp(sum(from_scratch(policy, prompt, grammar, beginning, 1.0)))
        assert probability == pytest.approx(expected, rel=1e-3)


def test_tool_probabilities_without_a_grammar_count_every_token(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    prompt = policy.render([USER], tools)
    free = policy.tool_probabilities(prompt, None, tools)
    bound = policy.tool_probabilities(prompt, policy.grammar(tools), tools)
    assert all(free[name] < bound[name] for name in free)


def test_a_tool_may_be_called_as_a_field_of_the_call_is(policy: LocalPolicy) -> None:
    named = tuple(
        ToolSpec(name=name, description="", parameters={"type": "object", "properties": {}})
        for name in ("name", "arguments")
    )
    found = policy.tool_probabilities(policy.render([USER], named), policy.grammar(named[:1]), named)
    assert found["name"] > 0.0 == found["arguments"]


def test_a_tool_that_the_grammar_does_not_have_is_impossible(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    prompt, grammar = policy.render([USER], tools), policy.grammar(tools[-1:])
    found = policy.tool_probabilities(prompt, grammar, tools)
    assert found["reply"] > 0.0
    assert [found[tool.name] for tool in tools[:-1]] == [0.0] * 4
