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


@dataclass
class Packed:
    """A trie of token sequences. `add` sequences, then ask for the `logits` after some of their tokens."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, ids: Sequence[int]) -> list[int]:
        """Lay a sequence into the trie; the node of each of its tokens."""
        path: list[int] = []
        at = -1
        for depth, token in enumerate(ids):
            node = self._children.get((at, token))
            if node is None:
                node = self._children[at, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(at)
                self.depths.append(depth)
            path.append(node)
            at = node
        return path

    @classmethod
    def of(cls, ids: Sequence[int]) -> "Packed":
        """One sequence alone: node n is its token n."""
        packed = cls()
        packed.add(ids)
        return packed

    def sees(self) -> Tensor:
        """Which node sees which: bool [N, N], itself and its ancestors."""
        count = len(self.tokens)
        seen = torch.zeros((count, count), dtype=torch.bool)
        for node, parent in enumerate(self.parents):  # parents come before their children
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen

    def logits(self, model: Any, wanted: Sequence[int], device: torch.device) -> Tensor:
        """Next-token logits [M, V] after the nodes `wanted`, of a causal language model in eval mode."""
        if self.depths == list(range(len(self.tokens))):
            mask = None  # one sequence: the model's own causal mask, which has faster kernels
        else:
            mask = self.sees()[None, None].to(device)
        out = model(
            input_ids=torch.tensor([self.tokens], dtype=torch.long, device=device),
            position_ids=torch.tensor([self.depths], dtype=torch.long, device=device),
            attention_mask=mask,
            use_cache=False,
            logits_to_keep=torch.tensor(list(wanted), dtype=torch.long, device=device),
        )
        logits: Tensor = out.logits[0]
        return logits
