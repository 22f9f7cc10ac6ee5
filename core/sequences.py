"""Prompts by reference: the head of an earlier sample's sequence and a tail, so that a log grows linearly."""

from collections.abc import Callable
from contextlib import suppress

from msgspec import UNSET

from continualcode.core.data import PromptTokens
from continualcode.core.errors import ContentForgotten
from continualcode.core.events import SampleTaken
from continualcode.eventlog import pack_u32, unpack_u32

KEPT = 64
"""How many samples' sequences are kept."""


class Sequences:
    """The token ids of samples and of what refers to them; `sample_of` finds a sample by id.

    A sample's prompt begins as an earlier one's sequence, and that as one before it, back to the first: the
    sequences asked for last are kept, so that a plan's hundred rows do not each go all the way.
    """

    def __init__(self, sample_of: Callable[[str], SampleTaken]) -> None:
        self._sample_of = sample_of
        self._kept: dict[str, tuple[int, ...]] = {}

    def of(self, sample_id: str) -> tuple[int, ...]:
        """A sample's prompt and then its completion. Raises ContentForgotten."""
        if sample_id not in self._kept:
            sample = self._sample_of(sample_id)
            require_ids(sample)
            found = self._walked(sample.prompt) + tuple(unpack_u32(sample.token_ids))
            while len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[sample_id] = found
        return self._kept[sample_id]

    def expanded(self, prompt: PromptTokens) -> tuple[int, ...]:
        """What `prompt` stands for. Raises ContentForgotten."""
        if prompt.after is not None:
            with suppress(ContentForgotten):  # of more than is needed here, it may be
                self.of(prompt.after)
        return self._walked(prompt)

    def _walked(self, prompt: PromptTokens) -> tuple[int, ...]:
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
            if link.after in self._kept:
                tails.append(self._kept[link.after][:keep])
                break
            sample = self._sample_of(link.after)
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
