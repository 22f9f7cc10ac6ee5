"""What was read of token sequences, kept for whoever reads the same again: turns, retries, undo, updates.

A tree over token ids, a root for each weights by digest. Its nodes are *pieces*: keys and values of up to
`PIECE` tokens, up to the next message's beginning, computed in one forward pass after those before.
How tokens are split over passes changes the last bits of their keys and values; in pieces they are a
function of weights and ids alone, so what comes from here is to the bit what reading anew would give, and
the digest of an update does not depend on what was read earlier.

Pieces end where messages do, as that is where sequences part: the prompts of an update share a system
message, a session's next prompt has the last one's messages. Only whole pieces have others after them.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

PIECE = 128
"""How many tokens are read, and kept, together at most."""

PIECE_ON_GPU = 512
"""The same on a GPU, for which a few hundred tokens more are no more to do than to read the weights."""

BASE = "base"
"""The name of the base model's weights: the adapter off."""

Layers: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values [1, heads, tokens, width] of each layer."""


@dataclass(eq=False)
class Piece:
    """One piece and those known to come after it, by their ids; a root has no tokens."""

    before: "Piece | None"
    ids: tuple[int, ...]
    layers: Layers
    after: dict[tuple[int, ...], "Piece"] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What its keys and values take."""
        return sum(tensor.nbytes for pair in self.layers for tensor in pair)


class Pieces:
    """The tree. Holds at most `most` bytes: what was used longest ago goes, the ends of sequences first.

    begins: the token that every message begins with; None: messages cannot be told. size: of a piece at most.
    """

    def __init__(self, most: int, begins: int | None = None, size: int = PIECE) -> None:
        self.bytes = 0
        self._most = most
        self._begins = begins
        self._size = size
        self._roots: dict[str, Piece] = {}
        self._by_use: OrderedDict[Piece, None] = OrderedDict()

    def root(self, weights: str) -> Piece:
        """Where the sequences begin that weights of this digest read."""
        return self._roots.setdefault(weights, Piece(None, (), ()))

    def ends(self, ids: Sequence[int]) -> Iterator[int]:
        """Where the pieces of a sequence end, the last at its end; those before are whole."""
        start = 0
        for place, token in enumerate(ids):
            if place - start == self._size or (token == self._begins and place > start):
                yield place
                start = place
        if ids:
            yield len(ids)

    def message(self, ids: Sequence[int]) -> int:
        """How many tokens the first message of a sequence has; 0 where no other comes after it."""
        later = (place for place, token in enumerate(ids) if token == self._begins and place)
        return next(later, 0)

    def whole(self, ids: Sequence[int], count: int) -> int:
        """How many of the first `count` tokens are in whole pieces of the sequence `ids`."""
        return max((end for end in self.ends(ids) if end <= count and end < len(ids)), default=0)

    def path(self, weights: str, ids: Sequence[int]) -> Iterator[Piece]:
        """The pieces of a sequence from its start, as far as they are kept."""
        at, start = self.root(weights), 0
        for end in self.ends(ids):
            piece = at.after.get(tuple(ids[start:end]))
            if piece is None:
                return
            yield piece
            at, start = piece, end

    def known(self, weights: str, ids: Sequence[int]) -> int:
        """How many tokens of a sequence are kept in whole pieces."""
        return self.whole(ids, sum(len(piece.ids) for piece in self.path(weights, ids)))

    def add(self, before: Piece, ids: Sequence[int], layers: Layers) -> Piece:
        """Keep what was computed of `ids` after the whole piece (or root) `before`."""
        piece = before.after[tuple(ids)] = Piece(before, tuple(ids), layers)
        self._by_use[piece] = None
        self.bytes += piece.bytes
        return piece

    def used(self, last: Piece) -> None:
        """The sequence that ends with `last` is in use: it goes last. Drops others until the rest fits."""
        own = set[Piece]()
        at = last
        while at.before is not None:  # from the end, so that what is oldest is an end
            own.add(at)
            if at in self._by_use:
                self._by_use.move_to_end(at)
            at = at.before
        while self.bytes > self._most:
            oldest = next(iter(self._by_use))
            if oldest in own:
                break
            self._drop(oldest)

    def _drop(self, piece: Piece) -> None:
        del self._by_use[piece]
        self.bytes -= piece.bytes
        if piece.before is not None:
            del piece.before.after[piece.ids]
            if not piece.before.after and piece.before.before is None:
                self._roots = {name: root for name, root in self._roots.items() if root.after}
