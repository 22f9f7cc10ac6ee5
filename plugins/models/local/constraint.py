"""What a grammar lets through at each position of a completion: one rule, for sampling and for learning.

A *walk* goes along a completion. At each place either some tokens are *forced*, because the grammar allows
one text only and that text has one usual spelling, or there is a choice among the tokens of a mask. The
sampler and the learner both take this walk, so a logged logprob and a learned distribution are over the
same tokens. A mask with a single token counts as forced.

A completion that is whole ends with the end token of the family, as a token like the others; under a
grammar it is forced once the call is complete. So `stop == "end"` holds exactly if the last id is an end
token, and a completion without one was cut off.

Masks are packed bits: int32 [⌈V/32⌉], bit v % 32 of word v // 32 set where token v is allowed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import llguidance
import torch
from torch import Tensor

from continualcode.core.errors import UpdateError, UsageError
from continualcode.plugins.models.local.objectives import log_probs
from continualcode.plugins.models.local.tokenizer import for_grammars


class Step(NamedTuple):
    """What may come next: the `forced` tokens, all of them; or, if there are none, any token of `allowed`.

    `allowed` is a packed mask, or None: any token of the vocabulary.
    """

    forced: tuple[int, ...] = ()
    allowed: Tensor | None = None


class Constraint:
    """Grammars for one tokenizer. `vocabulary` is the width of the model's logits.

    `ends` are the tokens that end a turn: the family's own first, which is the one that a grammar ends
    with, then those with which the model may end one that no grammar constrains.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self.vocabulary = vocabulary
        self.ends = tuple(ends)
        self._tokenizer = for_grammars(tokenizer, vocabulary, self.ends[0])

    def fault(self, grammar: str) -> str | None:
        """Why `grammar` cannot be used; None if it can."""
        return llguidance.LLMatcher.validate_grammar(grammar, self._tokenizer) or None

    def walk(self, grammar: str | None) -> "Walk":
        """The beginning of a completion under `grammar`; None: any token anywhere, until one that ends."""
        if grammar is None:
            return Walk(None, self.ends)
        matcher = llguidance.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UsageError(f"cannot use the grammar {grammar[:100]!r}…: {matcher.get_error()}")
        return Walk(matcher, self.ends)

    def masks(self, grammar: str, completion_ids: Sequence[int]) -> Tensor:
        """The masks along a completion, from the grammar alone: int32 [T, ⌈V/32⌉].

        Raises UpdateError at the first token that the grammar does not let through.
        """
        rows = torch.zeros((len(completion_ids), words(self.vocabulary)), dtype=torch.int32)
        try:
            walk = self.walk(grammar)
            forced: tuple[int, ...] = ()
            for place, token in enumerate(completion_ids):
                allowed: Tensor | None = None
                if not forced:
                    forced, allowed = walk.step()
                # llguidance may pad its masks by a word.
                rows[place] = (
                    single(forced[0], self.vocabulary) if allowed is None else allowed[: rows.shape[1]]
                )
                if not holds(rows[place], token):
                    raise UpdateError(f"the grammar does not allow token {token} at position {place}")
                walk.take(token)
                forced = forced[1:]
        except UsageError as error:
            raise UpdateError(str(error)) from error
        return rows


class Walk:
    """One completion as it grows: ask `step`, then `take` tokens. `ended`: its end token was taken."""

    def __init__(self, matcher: llguidance.LLMatcher | None, ends: tuple[int, ...]) -> None:
        self._matcher = matcher
        self._ends = ends
        self.ended = False

    def step(self) -> Step:
        """What may come next. Changes nothing. Raises UsageError after the end, or where nothing may."""
        if self.ended:
            raise UsageError("a completion goes on after the token that ends it")
        if self._matcher is None:
            return Step()
        if self._matcher.is_stopped() and not self._matcher.is_error():
            return Step(forced=self._ends[:1])
        forced = self._matcher.compute_ff_tokens()
        if forced:
            return Step(forced=tuple(forced))
        # Not through llguidance.torch: importing it compiles a function that is of no use here, for seconds.
        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise UsageError(f"the grammar cannot be followed further: {self._matcher.get_error()}")
        allowed = torch.frombuffer(bytearray(bits), dtype=torch.int32)
        filled: list[int] = allowed.nonzero().flatten().numpy().tolist()
        if not filled:
            raise UsageError("the grammar allows no token here, not even the end")
        if len(filled) == 1:
            word = int(allowed[filled[0]]) & 0xFFFFFFFF
            if word & (word - 1) == 0:
                return Step(forced=(filled[0] * 32 + word.bit_length() - 1,))
        return Step(allowed=allowed)

    def take(self, token: int) -> None:
        """The completion goes on with `token`. Raises UsageError if the grammar does not let it."""
        matcher = self._matcher
        if matcher is not None and not matcher.is_stopped() and not matcher.consume_token(token):
            raise UsageError(f"the grammar does not allow token {token}: {matcher.get_error()}")
        self.ended = token in self._ends


def scores(logits: Tensor, allowed: Tensor | None, temperature: float) -> Tensor:
    """Logits [V] as log-probabilities [V] over the tokens of a packed mask, where the logits are.

    The arithmetic is the learner's own; temperature 0 is scored at 1.
    """
    bits = None if allowed is None else unpacked(allowed.to(logits.device), logits.shape[-1])[None]
    return log_probs(logits[None], temperature, bits)[0]


def words(vocabulary: int) -> int:
    """How many int32 a mask over `vocabulary` tokens takes."""
    return (vocabulary + 31) // 32


def single(token: int, vocabulary: int) -> Tensor:
    """The mask that allows one token: int32 [⌈V/32⌉]."""
    bits = torch.zeros(words(vocabulary), dtype=torch.int32)
    bit = 1 << (token % 32)
    bits[token // 32] = bit - (1 << 32) if bit >> 31 else bit  # as a signed word
    return bits


def unpacked(bits: Tensor, vocabulary: int) -> Tensor:
    """Packed masks, int32 [..., ⌈V/32⌉], as bool [..., V]."""
    shifts = torch.arange(32, dtype=torch.int32, device=bits.device)
    return ((bits[..., None] >> shifts) & 1).bool().flatten(-2)[..., :vocabulary]


def holds(bits: Tensor, token: int) -> bool:
    """Whether a packed mask [⌈V/32⌉] lets `token` through."""
    return 0 <= token < 32 * len(bits) and bool((int(bits[token // 32]) >> (token % 32)) & 1)
