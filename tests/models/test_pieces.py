"""What was read is kept for others, and changes nothing: not a bit of an update, however it got there."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Example, Message, Objective, Optimiser, SamplingParams, ToolSpec
from continualcode.plugins.models.local.pieces import BASE, PIECE, Layers, Pieces
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Interrupted, Prefix, Split

MakePolicy = Callable[..., LocalPolicy]
PROMPT = tuple(range(20, 20 + 3 * PIECE + 10))
READ = Split(len(PROMPT), BASE, BASE)


def prefix(policy: Any, most: int = 2**30) -> Prefix:
    """One that shares nothing with the policy's."""
    return Prefix(policy._adapter, Pieces(most), torch.device("cpu"))


def same(one: Layers, other: Layers) -> bool:
    """To the bit."""
    return all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))


def held(one: Prefix) -> Layers:
    """What the prefix has of PROMPT."""
    inside: Any = one
    layers: Layers = inside._buffer.copied(0, len(PROMPT))
    return layers


@pytest.mark.parametrize(
    "before", [[PROMPT[:100]], [PROMPT[:64]], [PROMPT[:70], (*PROMPT[:80], 9, 9)], [PROMPT]]
)
def test_what_is_read_is_the_same_to_the_bit_whatever_was_read_before(
    policy: LocalPolicy, before: list[tuple[int, ...]]
) -> None:
    alone, after = prefix(policy), prefix(policy)
    alone.start(PROMPT, READ)
    for ids in before:
        after.start(ids, Split(len(ids), BASE, BASE))
        after.logits([*ids, 5, 6, 7])
    after.start(PROMPT, READ)
    assert same(held(alone), held(after))
    assert torch.equal(alone.logits([*PROMPT, 3]), after.logits([*PROMPT, 3]))


def test_a_second_reader_computes_nothing(policy: LocalPolicy) -> None:
    inside: Any = policy
    pieces = Pieces(2**30)
    first, second = (Prefix(inside._adapter, pieces, torch.device("cpu")) for _ in range(2))
    first.start(PROMPT, READ)
    second.start(PROMPT, READ)
    assert (first.computed, second.computed) == (len(PROMPT), 0)
    assert same(held(first), held(second))


def test_what_other_weights_read_is_kept_apart(make_policy: MakePolicy, tools: tuple[ToolSpec, ...]) -> None:
    """With an adapter on all tokens; going back to weights finds what they read."""
    policy: Any = make_policy(acts_on="all")
    prompt = policy.render([Message(role="user", text="Fix it. " * 60)], tools)
    once = SamplingParams(max_tokens=2)
    first = policy.sample(prompt, None, once)
    snapshot = policy.snapshot()
    moved = {name: tensor + 0.1 for name, tensor in snapshot.weights.items()}
    policy.restore(type(snapshot)(moved, snapshot.moments, snapshot.ema))
    assert policy.sample(prompt, None, once) != first
    policy.restore(snapshot)
    before = policy._prefix.computed
    again = policy.sample(prompt, None, once)
    assert (again.token_ids, again.logprobs) == (first.token_ids, first.logprobs)
    assert policy._prefix.computed - before == 2  # the prompt's last token, and the first one drawn


def test_what_was_used_longest_ago_goes_and_is_read_again(policy: LocalPolicy) -> None:
    full = prefix(policy)
    full.start(PROMPT, READ)
    inside: Any = full
    room = inside._pieces.bytes
    tight = prefix(policy, most=room)
    inside = tight
    other = tuple(reversed(PROMPT))
    tight.start(PROMPT, READ)
    tight.start(other, READ)
    pieces: Pieces = inside._pieces
    assert 0 < pieces.bytes <= room
    assert (pieces.known(BASE, PROMPT), pieces.known(BASE, other)) == (0, 3 * PIECE)
    before = tight.computed
    tight.start(PROMPT, READ)
    assert tight.computed - before == len(PROMPT)
    assert same(held(full), held(tight))


def test_the_ends_of_sequences_go_before_their_beginnings(policy: LocalPolicy) -> None:
    full = prefix(policy)
    full.start(PROMPT, READ)
    inside: Any = full
    tight = prefix(policy, most=inside._pieces.bytes)
    inside = tight
    tight.start(PROMPT, READ)
    tight.start(PROMPT[: 2 * PIECE] + PROMPT[:20], Split(2 * PIECE + 20, BASE, BASE))
    pieces: Pieces = inside._pieces
    assert pieces.known(BASE, PROMPT) >= 2 * PIECE


def test_a_sequence_that_is_longer_than_the_bound_is_read_whole(policy: LocalPolicy) -> None:
    small = prefix(policy, most=1)
    small.start(PROMPT, READ)
    alone = prefix(policy)
    alone.start(PROMPT, READ)
    assert same(held(small), held(alone))


def test_reading_stops_between_pieces_and_goes_on(policy: LocalPolicy) -> None:
    cancelled = threading.Event()
    stopped, alone = prefix(policy), prefix(policy)
    inside: Any = policy

    def stop(*_: object) -> None:
        cancelled.set()

    hook = inside._adapter.embedding.register_forward_hook(stop)
    with pytest.raises(Interrupted):
        stopped.start(PROMPT, READ, cancelled)
    hook.remove()
    assert stopped.computed == PIECE
    stopped.start(PROMPT, READ)
    alone.start(PROMPT, READ)
    assert stopped.computed == alone.computed and same(held(stopped), held(alone))


def test_an_update_has_the_same_digest_whatever_was_sampled_before(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...]
) -> None:
    fresh, used = make_policy(), make_policy()
    asked = [Message(role="user", text="Fix the test. " * 30)]
    prompt = fresh.render(asked, tools)
    teacher = fresh.render([*asked, Message(role="user", text="Use edit_lines.")], tools)
    example = Example(
        correction="c",
        sample="s",
        prompt_ids=prompt,
        teacher_ids=teacher,
        completion_ids=(30, 31, 32, 33),
        sampled_logprobs=(),
        temperature=1.0,
        grammar=None,
        part="demonstration",
    )
    used.sample(prompt[:90], None, SamplingParams(max_tokens=5))
    used.sample((*prompt[:130], 9, 9, 9), None, SamplingParams(max_tokens=5))
    used.sample(prompt, None, SamplingParams(max_tokens=5))

    def updated(policy: LocalPolicy) -> tuple[str, int]:
        inside: Any = policy
        before = inside._prefix.computed
        batch = policy.prepare([example], Objective(teacher="base"), Optimiser(lr=1e-3))
        policy.step(batch, stop_below=0.0)
        policy.step(batch, stop_below=0.0)
        return policy.weights(), inside._prefix.computed - before

    (one, all_of_it), (other, rest) = updated(fresh), updated(used)
    assert one == other
    assert rest < PIECE + 30 < all_of_it  # the teacher's words, and the piece that they begin in


TOKENS = st.lists(st.integers(1, 60), min_size=1, max_size=400)


@given(TOKENS, TOKENS)
def test_pieces_end_with_messages_and_do_not_depend_on_what_comes_after(
    ids: list[int], more: list[int]
) -> None:
    pieces = Pieces(0, begins=1)
    ends = list(pieces.ends(ids))
    starts = [0, *ends[:-1]]
    assert ends[-1] == len(ids)
    for start, end in zip(starts, ends, strict=True):
        assert 0 < end - start <= PIECE and 1 not in ids[start + 1 : end]
    assert list(pieces.ends([*ids, *more]))[: max(0, len(ends) - 1)] == ends[:-1]
    for count in range(len(ids)):
        whole = pieces.whole(ids, count)
        assert whole <= count and whole in (0, *ends)


def test_prompts_that_share_a_message_share_its_piece(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    inside: Any = policy
    told = Message(role="system", text="Be short. " * 3)
    first, second = (policy.render([told, Message(role="user", text=text)], tools) for text in ("One", "Two"))
    reads = inside._adapter.reads(first)
    inside._prefix.reading([first])
    before = inside._prefix.computed
    inside._prefix.reading([second])
    message = next(place for place in range(reads - 1, 0, -1) if first[place] == inside._language.header[0])
    assert inside._prefix.computed - before == inside._adapter.reads(second) - message
