"""How alike the base model finds prompts: what it has made of each where the answer begins.

The hidden state at the last token of the header has gathered what the model is about to act on. Compared at
half, three quarters and all of the model's depth, less the mean over the prompts that it is compared with:
the states of all prompts have most of their length in common. On thirteen rules the prompts of one rule were
among the nearest of a hundred, whatever their words (docs/learning.md).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.shelf import Shelf


class Likeness:
    """Compares prompts; keeps what it has found of each, on the shelf as well where it is asked for again."""

    def __init__(self, adapter: Adapter, prefix: Prefix, shelf: Shelf) -> None:
        self._adapter = adapter
        self._prefix = prefix
        self._shelf = shelf
        self._states: dict[tuple[int, ...], Tensor] = {}

    def nearness(self, prompt: Sequence[int], others: Sequence[Sequence[int]]) -> list[float]:
        """Of each of `others`, its likeness to `prompt`: a cosine, the mean of three, in [-1, 1]."""
        keys = [tuple(ids) for ids in (prompt, *others)]
        kept = self._shelf.fetch(keys[1])
        self._states |= kept
        new = [key for key in dict.fromkeys(keys) if key not in self._states]
        for together in (keys[:1], keys[1:]):  # apart, so that no bit depends on which are known
            self._look([key for key in new if key in together])
        if not new and not kept.keys() >= set(keys[1:]):
            self._shelf.keep({key: self._states[key] for key in keys[1:]})
        own, theirs = self._states[keys[0]], torch.stack([self._states[key] for key in keys[1:]])
        centre = theirs.mean(0)  # [3, width]
        cosines = torch.nn.functional.cosine_similarity(theirs - centre, (own - centre)[None], dim=-1)
        return [float(value) for value in cosines.mean(-1)]

    @torch.no_grad()
    def _look(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Hidden states [3, width] after the last token of each of `prompts`, in float32 on the CPU."""
        if not prompts:
            return
        reading = self._prefix.reading(prompts)
        packed = reading.packed.onward()
        ends = [packed.add(ids[self._adapter.reads(ids) :], reading.ends[ids])[-1] for ids in prompts]
        with self._adapter.disabled():
            hidden = self._adapter.states(packed, ends)
        depth = len(hidden) - 1
        chosen = torch.stack([hidden[n].float().cpu() for n in (depth // 2, depth * 3 // 4, depth)], dim=1)
        self._states |= dict(zip(prompts, chosen, strict=True))
