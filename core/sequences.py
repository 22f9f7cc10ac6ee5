"""Prompts by reference: the head of an earlier sample's sequence and a tail, so that a log grows linearly."""

from collections.abc import Callable

from msgspec import UNSET

from continualcode.core.data import PromptTokens
from continualcode.core.errors import ContentForgotten
from continualcode.core.events import SampleTaken
from continualcode.eventlog import pack_u32, unpack_u32


def expanded(prompt: PromptTokens, sample_of: Callable[[str], SampleTaken]) -> tuple[int, ...]:
    """The token ids that `prompt` stands for."""
    tails: list[tuple[int, ...]] = []
    wanted: int | None = None  # how many ids of the sequence at hand are part of the answer
    link = prompt
    while True:
        own = tuple(unpack_u32(link.tail))
        length = link.shared + len(own)
        keep = length if wanted is None else min(wanted, length)
        if keep > link.shared:
            tails.append(own[: keep - link.shared])
            keep = link.shared
        if link.after is None or keep == 0:
            break
        sample = sample_of(link.after)
        if sample.gone is not UNSET:
            require_ids(sample, keep > sample.prompt.shared)
            wanted, link = keep, sample.prompt
            continue
        completion = tuple(unpack_u32(sample.token_ids))
        before = sample.prompt.shared + len(sample.prompt.tail) // 4
        if keep > before:
            tails.append(completion[: keep - before])
            keep = before
        wanted, link = keep, sample.prompt
    return tuple(token for part in reversed(tails) for token in part)


def require_ids(sample: SampleTaken, needed: bool = True) -> None:
    """Refuse to go on without the token ids of a sample that has lost them."""
    if needed and sample.gone is not UNSET:
        raise ContentForgotten(
            f"the token ids of sample {sample.id} (event {sample.seq}) were forgotten (cc log forget)"
        )


def shortened(ids: tuple[int, ...], earlier: str | None, head: tuple[int, ...]) -> PromptTokens:
    """`ids` as what they share with `head`, the sequence of the sample `earlier`, and a tail."""
    if earlier is None:
        return PromptTokens(tail=pack_u32(ids))
    shared = next(
        (i for i, (a, b) in enumerate(zip(head, ids, strict=False)) if a != b), min(len(head), len(ids))
    )
    return PromptTokens(after=earlier if shared else None, shared=shared, tail=pack_u32(ids[shared:]))
