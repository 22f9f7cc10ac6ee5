"""Several tokens in one forward pass: what the model may say next, taken from what it has before it.

A coding agent repeats itself: a path, a line to be changed, a file that was read. So where the last tokens
have stood in the sequence before, what followed them there is a *draft*. It goes through the model together
with the token that has to go through anyway, which on a CPU costs not much more than that one alone, as the
weights are read from memory once. The scores after each of its tokens are those that would have been asked
for one by one. Whoever draws asks for one position after the other, and where it says something else than
the draft, the rest is dropped: no token is drawn from any other distribution than without drafts (prompt
lookup decoding, Saxena 2023; the check is that of speculative decoding, Leviathan et al. 2023, with drafts
that nobody draws).
"""

import threading
from collections.abc import Sequence

from torch import Tensor

from continualcode.plugins.models.local.prefix import Prefix, common

ALIKE = 3
"""How many last tokens must have stood there before, for what followed to be a draft."""

SHORT, LONGEST = 3, 7
"""How many tokens a draft has, and one that follows a draft all of which was said. With the token that goes
through anyway these are 4 and 8, sizes that cost 1.5 and 2.5 tokens (`network.FEW`, benchmarks/speed)."""


class PromptLookup:
    """Scores after a growing sequence, some of them computed ahead.

    prompt: what it begins with. most: how many tokens come after that at most. drafting: whether it is worth
    it: in int8 four tokens cost as much as two and a half (benchmarks/speed).
    """

    def __init__(self, prefix: Prefix, prompt: Sequence[int], most: int, drafting: bool = True) -> None:
        self._drafting = drafting
        self._prefix = prefix
        self._ids = list(prompt)
        self._end = len(prompt) + most
        self._seen: dict[tuple[int, ...], int] = {}
        self._indexed = ALIKE - 1
        self._scores: Tensor | None = None
        self._from = 0
        self._draft: list[int] = []
        self._longest = SHORT
        self._misses = self._rest = 0

    def logits(self, ids: Sequence[int], cancelled: threading.Event | None = None) -> Tensor:
        """Next-token logits [V] after `ids`, which go on from those of the last call. Raises Interrupted."""
        self._ids += ids[len(self._ids) :]
        place = len(self._ids) - self._from
        if self._scores is not None and self._draft[:place] == self._ids[self._from :]:
            return self._scores[place]
        self._adapt()
        self._draft, self._from = self._next(), len(self._ids)
        self._scores = self._prefix.logits(
            [*self._ids, *self._draft], last=len(self._draft) + 1, cancelled=cancelled
        )
        return self._scores[0]

    def _adapt(self) -> None:
        """A draft that was said makes the next one longer; each one that was not, a longer pause."""
        if self._draft:
            said = common(self._draft, self._ids[self._from :])
            self._longest = LONGEST if said == len(self._draft) else SHORT
            self._misses = 0 if said else self._misses + 1
            self._rest = self._misses

    def _next(self) -> list[int]:
        """What followed the last tokens where they stood last; empty: they did not, or it is a pause."""
        if not self._drafting:
            return []
        for end in range(self._indexed + 1, len(self._ids)):
            self._seen[tuple(self._ids[end - ALIKE : end])] = end
        self._indexed = max(self._indexed, len(self._ids) - 1)
        if self._rest:
            self._rest -= 1
            return []
        at = self._seen.get(tuple(self._ids[-ALIKE:]))
        room = max(0, self._end - len(self._ids) - 1)
        return [] if at is None else self._ids[at : at + min(self._longest, room)]
