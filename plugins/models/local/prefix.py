"""The model's scores after a sequence, computed for its new part only.

Keys and values of the last sequence are kept. The next one most often continues it (a token was drawn, a
turn was added), so only what lies behind the common prefix is computed; what lay beyond it is dropped.
"""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from continualcode.plugins.models.local.adapter import Adapter

CHUNK = 512
"""How many tokens one forward pass takes at most: bounds its memory, and the wait until it can be stopped."""


PIECE = 64
"""How many tokens of a restarted sequence are computed, and kept, together."""


class Interrupted(Exception):
    """The user's wish to stop was seen between two forward passes."""


class Prefix:
    """One sequence and its keys and values, of a model in eval mode.

    The first `reads` tokens of a sequence are those that the adapter does not act on: their keys and values
    hold whatever is learned.

    `computed` counts the tokens that were given to the model, over the life of this object.
    """

    def __init__(self, adapter: Adapter, device: torch.device) -> None:
        self.computed = 0
        self._adapter = adapter
        self._reads = 0
        self._device = device
        self._weights = ""
        self._ids: list[int] = []
        self._pieces = 0  # how many tokens at the start were computed in whole pieces (see `restart`)
        self._cache = DynamicCache()

    def use(self, weights: str) -> None:
        """The model now has the weights with this digest: what others computed is dropped."""
        if weights != self._weights:
            self._weights = weights
            self._keep(self._reads)

    @torch.no_grad()
    def logits(
        self, ids: Sequence[int], reads: int, last: int = 1, cancelled: threading.Event | None = None
    ) -> Tensor:
        """Next-token logits [last, V] after each of the `last` last tokens of `ids`; reads + last ≤ len(ids).

        Raises Interrupted where `cancelled` was set; that, Ctrl-C and out-of-memory leave what is kept
        usable.
        """
        wanted = list(ids)
        self._begin(wanted, reads, len(wanted) - last)
        rows: list[Tensor] = []
        missing = last
        while len(self._ids) < len(wanted):
            if cancelled is not None and cancelled.is_set():
                raise Interrupted
            piece = self._next(wanted, CHUNK)
            after = len(wanted) - len(self._ids) - len(piece)  # tokens still to come
            rows.append(self._forward(piece, max(0, missing - after)))
            missing -= len(rows[-1])
        return torch.cat(rows)

    @torch.no_grad()
    def restart(self, ids: Sequence[int], reads: int) -> None:
        """Begin a sequence with `ids`, such that what follows does not depend on earlier ones, to the bit.

        How tokens are split over forward passes changes the last bits of their keys and values. So they are
        computed in pieces of `PIECE` counted from the start, and only such whole pieces are kept from before.
        """
        wanted = list(ids)
        self._begin(wanted, reads, self._pieces)
        self._keep(len(self._ids) // PIECE * PIECE)
        while len(self._ids) < len(wanted):
            self._forward(self._next(wanted, PIECE), 1)
        self._pieces = (min(reads, len(wanted)) or len(wanted)) // PIECE * PIECE

    def _begin(self, wanted: list[int], reads: int, most: int) -> None:
        """Keep what is the same for the sequence `wanted`, but at most `most` tokens."""
        same = common(self._ids, wanted)
        if reads != self._reads:
            same = min(same, reads, self._reads)
        self._keep(min(same, most))
        self._reads = reads

    def _next(self, wanted: list[int], most: int) -> list[int]:
        """The next at most `most` tokens of `wanted`: only read, or none of them."""
        at = len(self._ids)
        return wanted[at : min(at + most, self._reads) if at < self._reads else at + most]

    def _forward(self, piece: list[int], last: int) -> Tensor:
        """Add `piece` to the sequence; the logits [last, V] after its last tokens."""
        before = len(self._ids)
        try:
            with self._adapter.disabled() if before < self._reads else nullcontext():
                out = self._adapter.model(
                    input_ids=torch.tensor([piece], dtype=torch.long, device=self._device),
                    past_key_values=self._cache,
                    use_cache=True,
                    # An index tensor, as the number 0 would mean all of them.
                    logits_to_keep=torch.arange(len(piece) - last, len(piece), device=self._device),
                )
        except BaseException:  # Ctrl-C as well: some layers have the piece, some have not
            self._ids = [*self._ids, *piece]
            self._keep(before)
            raise
        self._ids += piece
        self.computed += len(piece)
        logits: Tensor = out.logits[0]
        return logits

    def _keep(self, count: int) -> None:
        """Go back to the first `count` tokens."""
        if count >= len(self._ids):
            return
        self._ids = self._ids[:count]
        self._pieces = min(self._pieces, count)
        if not count:
            self._cache = DynamicCache()
            return
        for layer in cast(
            "list[DynamicLayer]", self._cache.layers
        ):  # made without a config, it has no others
            # Not `crop`, which takes away a number of tokens: after an interrupt layers differ in length, and
            # keys from values.
            if layer.keys is not None and layer.values is not None:
                layer.keys = layer.keys[..., :count, :]
                layer.values = layer.values[..., :count, :]


def common(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences share at the start."""
    shortest = min(len(one), len(other))
    if one[:shortest] == other[:shortest]:
        return shortest
    return next(place for place in range(shortest) if one[place] != other[place])
