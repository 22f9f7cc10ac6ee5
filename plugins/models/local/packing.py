"""Several token sequences in one forward pass, what they have in common computed once.

The sequences are laid into a trie of tokens: a position is a node, it sees its ancestors and itself, and its
rotary position is its depth. A causal model then gives every node the same scores as in a sequence of its
own, up to the order in which floating-point sums are taken (tests hold that to 1e-4 nats in fp32). The
prompts of an update share their system message and, row by row, the conversation: most of their tokens.

Shapes: N nodes, M wanted nodes, V tokens in the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


@dataclass
class Packed:
    """A trie of token sequences. `add` sequences, then ask for the `logits` after some of their tokens.

    The first nodes may have been read already (see `onward`): `past` has their keys and values, a pair of
    [1, heads, nodes, width] a layer.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    past: tuple[tuple[Tensor, Tensor], ...] = ()
    _read: int = 0
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, ids: Sequence[int], after: int = -1) -> list[int]:
        """Lay a sequence into the trie, behind the node `after` (-1: at the root); the node of each token."""
        path: list[int] = []
        at = after
        for token in ids:
            node = self._children.get((at, token))
            if node is None:
                node = self._children[at, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(at)
                self.depths.append(self.depths[at] + 1 if at >= 0 else 0)
            path.append(node)
            at = node
        return path

    @torch.no_grad()
    def read(self, model: Any, device: torch.device) -> None:
        """Compute keys and values of all nodes, as the model is now."""
        if self.tokens:
            cache = DynamicCache()
            self._forward(model, cache, [len(self.tokens) - 1], device)
            self.past = tuple((layer.keys, layer.values) for layer in _layers(cache))

    def onward(self) -> "Packed":
        """A trie that begins with these nodes, as read: what is added to it shares none of them by itself."""
        return Packed([*self.tokens], [*self.parents], [*self.depths], self.past, len(self.tokens))

    @classmethod
    def of(cls, ids: Sequence[int]) -> "Packed":
        """One sequence alone: node n is its token n."""
        packed = cls()
        packed.add(ids)
        return packed

    def sees(self) -> Tensor:
        """Which node sees which: bool [N - read, N], itself and its ancestors, for those not read yet."""
        seen = torch.zeros((len(self.tokens) - self._read, len(self.tokens)), dtype=torch.bool)
        for row, parent in enumerate(self.parents[self._read :]):  # parents come before their children
            if parent >= self._read:
                seen[row] = seen[parent - self._read]
            while 0 <= parent < self._read:
                seen[row, parent] = True
                parent = self.parents[parent]
            seen[row, self._read + row] = True
        return seen

    def logits(self, model: Any, wanted: Sequence[int], device: torch.device) -> Tensor:
        """Next-token logits [M, V] after the nodes `wanted`, of a causal language model in eval mode.

        None of them may have been read already.
        """
        cache: Any = DynamicCache() if self.past else None  # a new one each time, as the model adds to it
        for layer, (keys, values) in enumerate(self.past):
            cache.update(keys, values, layer)
        logits: Tensor = self._forward(model, cache, [node - self._read for node in wanted], device).logits[0]
        return logits

    def _forward(
        self, model: Any, cache: DynamicCache | None, keep: Sequence[int], device: torch.device
    ) -> Any:
        """The model's answer for the nodes not read yet; `keep`: those of them that logits are wanted for."""
        if not self._read and self.depths == list(range(len(self.tokens))):
            mask = None  # one sequence: the model's own causal mask, which has faster kernels
        else:
            mask = self.sees()[None, None].to(device)
        return model(
            input_ids=torch.tensor([self.tokens[self._read :]], dtype=torch.long, device=device),
            position_ids=torch.tensor([self.depths[self._read :]], dtype=torch.long, device=device),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=torch.tensor(list(keep), dtype=torch.long, device=device),
        )


@dataclass(frozen=True)
class Reading:
    """Prompts read by the base model: their tokens with keys and values, and the last node of each."""

    packed: Packed
    ends: dict[tuple[int, ...], int]


def _layers(cache: DynamicCache) -> Sequence[Any]:
    """The layers of a cache, which transformers leaves untyped."""
    untyped: Any = cache
    layers: Sequence[Any] = untyped.layers
    return layers
