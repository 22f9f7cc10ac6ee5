"""The model's scores after a sequence, computed for its new part only.

A sequence has two parts. The first is *read*, in pieces that are kept for others (`pieces`); what comes after
is *spoken*, token by token or a few at once, and stays here only. With an adapter that acts on completions
the base model reads, so that what was read stays good whatever is learned.

Keys and values are in one buffer that is written in place: a token costs no copy of those before it, and
going back is a smaller number.
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.graphs import Slab
from continualcode.plugins.models.local.packing import Packed, Reading
from continualcode.plugins.models.local.pieces import BASE, Layers, Piece, Pieces
from continualcode.plugins.models.local.shelf import Shelf

CHUNK = 512
"""How many spoken tokens one forward pass takes at most: bounds its memory, and the wait until it stops."""

WORTH = 32
"""How many tokens more must be here than in pieces for going on from what was spoken."""


class Interrupted(Exception):
    """The user's wish to stop was seen between two forward passes."""


class Split(NamedTuple):
    """Who computes a sequence: its first `read` tokens `reader`, the others `speaker`: digests, or BASE.

    quick: the others with weights in int8 (`Adapter.quickly`).
    """

    read: int
    reader: str
    speaker: str
    quick: bool = False


def split(adapter: Adapter, prompt: Sequence[int], weights: str) -> Split:
    """How `prompt` and a completion of it are computed where these weights answer; BASE: the base model."""
    if weights == BASE or adapter.spec.acts_on == "all":
        return Split(max(0, len(prompt) - 1), weights, weights)
    return Split(adapter.reads(prompt), BASE, weights)


class Prefix:
    """One sequence and its keys and values, of a model in eval mode; several may share `pieces`.

    shelf: where beginnings that were read in other sessions are looked for; None: nowhere. `computed` counts
    the tokens that were given to the model, over the life of this object.
    """

    def __init__(
        self, adapter: Adapter, pieces: Pieces, device: torch.device, shelf: Shelf | None = None
    ) -> None:
        self.computed = 0
        self._shelf = shelf
        self._adapter = adapter
        self._pieces = pieces
        self.device = device
        self._split = Split(0, "", "")
        self._ids: list[int] = []
        self._exact = 0  # how many tokens at the start are as if read in pieces
        self._buffer = adapter.slab() or Buffer()

    @torch.no_grad()
    def start(
        self,
        ids: Sequence[int],
        split: Split,
        cancelled: threading.Event | None = None,
        *,
        exact: bool = True,
    ) -> None:
        """Read the part of the sequence `ids` that is read; forget what was spoken after another one.

        What comes after does not depend on earlier sequences, to the bit. Not `exact`: where reader and
        speaker are the same, what was spoken may count as read, though not in pieces. Raises Interrupted.
        """
        if self._shelf is not None and split.reader == BASE:
            self._shelf.fetch(ids)
        wanted, before = list(ids[: split.read]), self._split
        same = common(self._ids, wanted)
        one_voice = split.reader == split.speaker == before.reader == before.speaker and not before.quick
        self._split = split
        if one_voice and not exact and same > self._pieces.known(split.reader, wanted) + WORTH:
            self._keep(same)  # the rest is computed when it is asked for
            return
        mine = min(same, self._exact) if split.reader == before.reader else 0
        self._keep(mine if mine == self._exact == len(wanted) else self._pieces.whole(wanted, mine))
        at, start = self._pieces.root(split.reader), 0
        for end in self._pieces.ends(wanted):
            if cancelled is not None and cancelled.is_set():
                raise Interrupted
            at, start = self._piece(at, start, wanted[start:end]), end
        self._pieces.used(at)

    def _piece(self, before: Piece, start: int, ids: list[int]) -> Piece:
        """Go on with one piece that begins at token `start`: it is here, or kept, or computed now."""
        piece, end = before.after.get(tuple(ids)), start + len(ids)
        if end > len(self._ids):
            if piece is None:
                self._forward(ids, self._split.reader, 0)
            else:
                self._buffer.write(start, piece.layers)
                self._ids += ids
        self._exact = max(self._exact, end)
        return piece or self._pieces.add(before, ids, self._buffer.copied(start, end))

    @torch.no_grad()
    def logits(self, ids: Sequence[int], last: int = 1, cancelled: threading.Event | None = None) -> Tensor:
        """Next-token logits [last, V] after each of the `last` last tokens of `ids`.

        `ids` begins with what was started, and the tokens asked for come after what is read. Raises
        Interrupted where `cancelled` was set; that, Ctrl-C and out-of-memory leave what is kept usable.
        """
        wanted = list(ids)
        self._keep(min(common(self._ids, wanted), len(wanted) - last))
        rows: list[Tensor] = []
        missing = last
        while (at := len(self._ids)) < len(wanted):
            if cancelled is not None and cancelled.is_set():
                raise Interrupted
            piece = wanted[at : at + CHUNK]
            after = len(wanted) - at - len(piece)  # tokens still to come
            with self._adapter.quickly() if self._split.quick else nullcontext():
                rows.append(self._forward(piece, self._split.speaker, max(0, missing - after)))
            missing -= len(rows[-1])
        return torch.cat(rows)

    def reading(self, prompts: Iterable[Sequence[int]]) -> Reading:
        """What the base model makes of the parts of `prompts` that the adapter does not act on."""
        packed, ends, read = Packed(), dict[tuple[int, ...], int](), list[Layers]()
        for prompt in prompts:
            count, known = self._adapter.reads(prompt), len(packed.tokens)
            path = packed.add(prompt[:count])
            ends[tuple(prompt)] = path[-1] if path else -1
            if new := len(packed.tokens) - known:  # they are the last of the path: a branch has no way back
                self.start(prompt, Split(count, BASE, BASE))
                read.append(self._buffer.copied(count - new, count))
        return Reading(packed.after(read), ends)

    def _forward(self, piece: list[int], weights: str, last: int) -> Tensor:
        """Add `piece` to the sequence; the logits [last, V] after its last tokens."""
        self._buffer.kept = before = len(self._ids)
        with self._adapter.disabled() if weights == BASE else nullcontext():
            if isinstance(self._buffer, Slab):
                logits = self._adapter.spoken(piece, self._buffer, last)
            else:
                logits = self._at_once(piece, before, self._buffer, last)
        self._ids += piece
        self.computed += len(piece)
        return logits

    def _at_once(self, piece: list[int], before: int, buffer: "Buffer", last: int) -> Tensor:
        count = len(piece)
        places = torch.arange(before, before + count, device=self.device)
        mask = None
        if count > 1:
            mask = torch.arange(before + count, device=self.device) <= places[:, None]
        return self._adapter.forward(
            torch.tensor(piece, device=self.device),
            places,
            buffer,
            mask,
            # A tensor, as the number 0 would mean all of them.
            torch.arange(count - last, count, device=self.device),
        )

    def _keep(self, count: int) -> None:
        """Go back to the first `count` tokens, if there are more."""
        del self._ids[count:]
        self._exact = min(self._exact, count)


class Buffer:
    """Room for keys and values [1, heads, room, width] of each layer, as a `Memory`.

    kept: how many tokens of it count.
    """

    def __init__(self) -> None:
        self.kept = 0
        self._layers: list[tuple[Tensor, Tensor]] = []

    @property
    def length(self) -> int:
        """How many tokens the next ones come after."""
        return self.kept

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Put what is new behind what is kept; all of it."""
        start, end = self.kept, self.kept + keys.shape[-2]
        held = self._layers[layer] if layer < len(self._layers) else (None, None)
        room = _with_room(held[0], keys, start, end), _with_room(held[1], values, start, end)
        self._layers[layer : layer + 1] = [room]  # a layer is made when the model first comes to it
        room[0][..., start:end, :] = keys
        room[1][..., start:end, :] = values
        return room[0][..., :end, :], room[1][..., :end, :]

    def write(self, start: int, layers: Layers) -> None:
        """Put keys and values at the tokens from `start` on."""
        self.kept = start
        for number, (keys, values) in enumerate(layers):
            self.update(keys, values, number)

    def copied(self, start: int, end: int) -> Layers:
        """Keys and values of the tokens from `start` to `end`."""
        return tuple((k[..., start:end, :].clone(), v[..., start:end, :].clone()) for k, v in self._layers)


def _with_room(held: Tensor | None, new: Tensor, start: int, end: int) -> Tensor:
    """`held`, or a longer copy of it, with room for `end` tokens."""
    if held is not None and held.dim() == new.dim() and held.shape[-2] >= end:
        return held
    longer = new.new_empty((*new.shape[:-2], max(512, end + end // 2), new.shape[-1]))
    if held is not None and start:
        longer[..., :start, :] = held[..., :start, :]
    return longer


def common(one: list[int], other: list[int]) -> int:
    """How many tokens two sequences share at the start."""
    shortest = min(len(one), len(other))
    if one[:shortest] == other[:shortest]:
        return shortest
    return next(place for place in range(shortest) if one[place] != other[place])
