"""Several token sequences in one forward pass, what they have in common computed once.

The sequences are laid into a trie of tokens: a position is a node, it sees its ancestors and itself, and its
rotary position is its depth. A causal model then gives every node the same scores as in a sequence of its
own, up to the order in which floating-point sums are taken (tests hold that to 1e-4 nats in fp32). The
prompts of an update share their system message and, row by row, the conversation: most of their tokens.

Shapes: N nodes, M wanted nodes, V tokens in the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from continualcode.plugins.models.local.network import Memory
from continualcode.plugins.models.local.pieces import Layers

Forward: TypeAlias = Callable[[Tensor, Tensor, Memory, Tensor | None, Tensor, Tensor | None], Tensor]
"""Logits of a model; see `Adapter.forward`."""

Below: TypeAlias = Callable[[Tensor, Tensor, Memory, Tensor | None], Tensor | None]
"""What a model's first layers make of tokens; see `Adapter.below`."""

States: TypeAlias = Callable[[Tensor, Tensor, Memory, Tensor], Sequence[Tensor]]
"""Hidden states [n, width] of a model, layer by layer; see `general.states`."""


@dataclass
class Packed:
    """A trie of token sequences. `add` sequences, then ask for the `logits` after some of their tokens.

    The first nodes may have been read already (see `after`): `past` has their keys and values.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    past: Layers = ()
    read: int = 0
    _children: dict[tuple[int, int], int] = field(default_factory=dict)
    _ancestors: dict[int, Tensor] = field(default_factory=dict)

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

    def after(self, read: Sequence[Layers]) -> "Packed":
        """A trie that begins with these nodes, all of them read: in runs, their keys and values in order.

        What is added to it shares none of them by itself.
        """
        past = tuple(
            (torch.cat([keys for keys, _ in runs], dim=-2), torch.cat([values for _, values in runs], dim=-2))
            for runs in zip(*read, strict=True)
        )
        return Packed([*self.tokens], [*self.parents], [*self.depths], past, len(self.tokens))

    def onward(self) -> "Packed":
        """The same trie once more, to add to: what was read is not copied."""
        return Packed(
            [*self.tokens],
            [*self.parents],
            [*self.depths],
            self.past,
            self.read,
            dict(self._children),
            self._ancestors,
        )

    @classmethod
    def of(cls, ids: Sequence[int]) -> "Packed":
        """One sequence alone: node n is its token n."""
        packed = cls()
        packed.add(ids)
        return packed

    def sees(self) -> Tensor:
        """Which node sees which: bool [N - read, N], itself and its ancestors, for those not read yet."""
        seen = torch.zeros((len(self.tokens) - self.read, len(self.tokens)), dtype=torch.bool)
        for row, parent in enumerate(self.parents[self.read :]):  # parents come before their children
            if parent >= self.read:
                seen[row] = seen[parent - self.read]
            elif parent >= 0:
                seen[row, self._path(parent)] = True
            seen[row, self.read + row] = True
        return seen

    def _path(self, node: int) -> Tensor:
        """The node and its ancestors, all of them read: found once for all tries that go on from here."""
        if node not in self._ancestors:
            path, at = list[int](), node
            while at >= 0:
                path.append(at)
                at = self.parents[at]
            self._ancestors[node] = torch.tensor(path)
        return self._ancestors[node]

    def logits(self, forward: Forward, wanted: Sequence[int], device: torch.device) -> Tensor:
        """Next-token logits [M, V] after the nodes `wanted`, of a causal language model in eval mode.

        None of them may have been read already.
        """
        laid = Laid(self, (tuple(range(self.read, len(self.tokens))),), (tuple(wanted),), self.sees(), None)
        return laid.logits(forward, [0], device)

    def laid(
        self,
        below: Below,
        paths: Sequence[Sequence[int]],
        wanted: Sequence[Sequence[int]],
        device: torch.device,
    ) -> "Laid":
        """Rows of this trie, a path each and the nodes wanted of it, to be scored again and again."""
        sees = self.sees()
        hidden = None
        if len(self.tokens) > self.read:
            ids = torch.tensor(self.tokens[self.read :], device=device)
            depths = torch.tensor(self.depths[self.read :], device=device)
            hidden = below(ids, depths, Past(self.past), sees.to(device))
        return Laid(self, tuple(map(tuple, paths)), tuple(map(tuple, wanted)), sees, hidden)

    def states(self, states: States, wanted: Sequence[int], device: torch.device) -> list[Tensor]:
        """Hidden states [M, width] after the nodes `wanted`: of the embedding, then of each layer."""
        hidden = states(
            torch.tensor(self.tokens[self.read :], device=device),
            torch.tensor(self.depths[self.read :], device=device),
            Past(self.past),
            self.sees().to(device),
        )
        return [layer[[node - self.read for node in wanted]] for layer in hidden]


@dataclass(frozen=True)
class Laid:
    """Rows in a trie, some of which are scored at a time: on their own tokens, and what those see.

    paths: the nodes of each row; wanted: those after which it is scored; what was read already is left out
    of both. sees: `Packed.sees`. below: hidden states [N - read, width] of the layers that nothing trains,
    where they could be had by themselves.
    """

    packed: Packed
    paths: tuple[tuple[int, ...], ...]
    wanted: tuple[tuple[int, ...], ...]
    sees: Tensor
    below: Tensor | None

    def logits(
        self, forward: Forward, rows: Sequence[int], device: torch.device, *, asked: bool = True
    ) -> Tensor:
        """Next-token logits [M, V] after what is wanted of `rows`, one row after the other.

        Not `asked`: none, as the pass is for who watches the layers; the output layer costs the most.
        """
        packed, read = self.packed, self.packed.read
        nodes = sorted({node for row in rows for node in self.paths[row]})
        new = torch.tensor(nodes, dtype=torch.long) - read
        sees = self.sees[new]
        old = sees[:, :read].any(0).nonzero()[:, 0]
        places = {node: place for place, node in enumerate(nodes)}
        wanted = [places[node] for row in rows for node in self.wanted[row]] if asked else []
        keep = torch.tensor(wanted, dtype=torch.long)
        return forward(
            torch.tensor([packed.tokens[node] for node in nodes], device=device),
            torch.tensor([packed.depths[node] for node in nodes], device=device),
            Past(packed.past, old.to(device) if len(old) < read else None),
            sees[:, torch.cat([old, new + read])].to(device),
            keep.to(device),
            None if self.below is None else self.below[new.to(device)],
        )


class Past:
    """The keys and values of nodes that were read, as a `Memory`: a new one each time, as it is added to.

    chosen: of which of the nodes; None: of all.
    """

    def __init__(self, read: Layers, chosen: Tensor | None = None) -> None:
        self._read = read
        self._chosen = chosen
        self._new: dict[int, tuple[Tensor, Tensor]] = {}
        self.length = 0 if not read else len(chosen) if chosen is not None else read[0][0].shape[-2]

    def of(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, heads, length, width] of what was read."""
        keys, values = self._read[layer]
        if self._chosen is None:
            return keys, values
        return keys.index_select(-2, self._chosen), values.index_select(-2, self._chosen)

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """See `Memory`."""
        before = self._new.get(layer) or (self.of(layer) if self._read else None)
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=-2), torch.cat([before[1], values], dim=-2)
        else:
            keys, values = keys.contiguous(), values.contiguous()  # as what is put together is: the same bits
        self._new[layer] = keys, values
        return keys, values


@dataclass(frozen=True)
class Reading:
    """Prompts read by the base model: their tokens with keys and values, and the last node of each."""

    packed: Packed
    ends: dict[tuple[int, ...], int]
