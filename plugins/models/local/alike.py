"""How alike the base model finds requests: what it has made of each where the answer begins.

The hidden state at the last token of the header has gathered what the model is about to act on. Compared at
half, three quarters and all of the model's depth, less the mean over the prompts that it is compared with,
and whitened by them (as Su et al. 2021, arXiv 2103.15316, do sentence embeddings): what all prompts have in
common is most of a state's length, and how a request is worded most of what is left. So a request may be
given in several wordings, whose mean has less of any. On 82 prompts of 41 rules, 76% of the same rule's other
prompts are among the ten nearest of some 290; without the two it was 60% (docs/learning.md).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.shelf import Shelf


class Whitened:
    """Coordinates in which `states` [3, n, width] have mean 0 and about the same spread.

    By what they span, as there are fewer of them than dimensions; `whitening` has more inputs than those.
    """

    def __init__(self, states: Tensor) -> None:
        self._centre = states.mean(1, keepdim=True)
        algebra: Any = torch.linalg  # has no types
        parts: tuple[Tensor, Tensor, Tensor] = algebra.svd(states - self._centre, full_matrices=False)
        _, lengths, self._axes = parts
        variance = lengths.square() / states.shape[1]
        damped = variance + variance.mean(-1, keepdim=True)
        self._scale = damped.clamp_min(torch.finfo(damped.dtype).tiny).rsqrt()

    def directions(self, states: Tensor) -> Tensor:
        """Unit vectors [3, m, at most n] of `states` [3, m, width]."""
        white = (states - self._centre) @ self._axes.mT * self._scale[:, None]
        return torch.nn.functional.normalize(white, dim=-1)


class Likeness:
    """Compares prompts; keeps what it has found of each, on the shelf as well where it is asked for again."""

    def __init__(self, adapter: Adapter, prefix: Prefix, shelf: Shelf) -> None:
        self._adapter = adapter
        self._prefix = prefix
        self._shelf = shelf
        self._states: dict[tuple[int, ...], Tensor] = {}

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """Of each of `others`, its likeness to the request of `wordings`: a mean of cosines, in [-1, 1]."""
        own, theirs = [tuple(ids) for ids in wordings], [tuple(ids) for ids in others]
        kept = self._shelf.fetch(theirs[0])
        self._states |= kept
        new = [key for key in dict.fromkeys((*own, *theirs)) if key not in self._states]
        for together in (own, theirs):  # apart, so that no bit depends on which are known
            self._look([key for key in new if key in together])
        if not new and not kept.keys() >= set(theirs):
            self._shelf.keep({key: self._states[key] for key in theirs})
        white = Whitened(self._stacked(theirs))
        mean = white.directions(self._stacked(own)).mean(1, keepdim=True)
        cosines = torch.nn.functional.cosine_similarity(white.directions(self._stacked(theirs)), mean, dim=-1)
        return [float(value) for value in cosines.mean(0)]

    def _stacked(self, keys: Sequence[tuple[int, ...]]) -> Tensor:
        """[3, n, width]"""
        return torch.stack([self._states[key] for key in keys], dim=1)

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
