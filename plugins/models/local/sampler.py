"""Draws completions, one token at a time, under a grammar, and says how probable each token was.

A loop of our own, because the logprobs must be those of the distribution that was drawn from (the logits
over the temperature, renormalised over what the grammar allowed), and because most tokens of a call are
forced: they cost no draw, have logprob 0, and go through the model together with the next one that is
drawn. So do tokens that are likely to come next (`drafts`). Temperature 0 takes the most probable token and
scores it at temperature 1.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from continualcode.core.data import Sample, SamplingParams, StopReason
from continualcode.core.errors import UsageError
from continualcode.plugins.models.language.tokens import Codec
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.constraint import Constraint, scores
from continualcode.plugins.models.local.drafts import PromptLookup
from continualcode.plugins.models.local.prefix import Interrupted, Prefix, split

BROKEN = "\ufffd"
"""What bytes that are no whole character decode to."""


class Sampler:
    """Draws from one model. `context`: how many tokens a prompt and its completion may have together.

    quick: with weights in int8, see `int8`.
    """

    def __init__(
        self,
        adapter: Adapter,
        prefix: Prefix,
        codec: Codec,
        constraint: Constraint,
        context: int,
        quick: bool = False,
    ) -> None:
        self._quick = quick
        self._adapter = adapter
        self._prefix = prefix
        self._codec = codec
        self._constraint = constraint
        self._context = context

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        weights: str,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """Draw one completion by the weights of that digest; same seed, prompt and kept prefix: same tokens.

        Its ids hold the end token if it came to its end; its text does not. `on_text` gets the text in
        pieces of whole characters, which joined are the sample's text.
        """
        most = min(params.max_tokens, self.room(prompt_ids))
        parts = split(self._adapter, prompt_ids, weights)._replace(quick=self._quick)
        generator = torch.Generator(self._prefix.device).manual_seed(params.seed)
        walk = self._constraint.walk(grammar)
        ahead = PromptLookup(self._prefix, prompt_ids, most, drafting=not self._quick)
        stream = Stream(self._codec, on_text)
        ids: list[int] = []
        logprobs: list[float] = []
        started, prefilled = time.perf_counter(), None
        stop: StopReason = "length"
        try:
            self._prefix.start(prompt_ids, parts, cancelled, exact=False)
            while len(ids) < most and not walk.ended:
                forced, allowed = walk.step()
                for token in forced[: most - len(ids)]:
                    walk.take(token)
                    ids.append(token)
                    logprobs.append(0.0)
                if not forced:
                    logits = ahead.logits([*prompt_ids, *ids], cancelled)
                    prefilled = prefilled or time.perf_counter()
                    token, logprob = draw(logits, allowed, params.temperature, generator)
                    walk.take(token)
                    ids.append(token)
                    logprobs.append(logprob)
                stream.show(ids[:-1] if walk.ended else ids)
        except Interrupted:
            stop = "interrupted"
        if walk.ended:
            stop = "end"
        text = stream.finish(ids[:-1] if walk.ended else ids)
        prefilled = prefilled or started
        return Sample(
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            text=text,
            stop=stop,
            prefill_seconds=prefilled - started,
            decode_seconds=time.perf_counter() - prefilled,
        )

    def room(self, prompt_ids: Sequence[int]) -> int:
        """How many tokens fit after the prompt. Raises UsageError if none does."""
        room = self._context - len(prompt_ids)
        if not prompt_ids or room < 1:
            raise UsageError(
                f"the prompt has {len(prompt_ids)} tokens; allowed are 1 to {self._context - 1}: it shares a "
                f"context of {self._context} with the completion (model.context). /clear starts afresh"
            )
        return room


def draw(
    logits: Tensor, allowed: Tensor | None, temperature: float, generator: torch.Generator
) -> tuple[int, float]:
    """One token from logits [V] under a packed mask, and its logprob. The generator is of their device."""
    among = scores(logits, allowed, temperature)
    if temperature == 0.0:
        token = int(among.argmax())
    else:
        token = int(torch.multinomial(among.exp(), 1, generator=generator))
    logprob = float(among[token])
    if not math.isfinite(logprob):
        raise UsageError(f"token {token} has logprob {logprob}: the model's weights are damaged")
    return token, logprob


class Stream:
    """Text as it grows, in pieces that end at whole characters."""

    def __init__(self, codec: Codec, on_text: Callable[[str], None] | None) -> None:
        self._codec = codec
        self._on_text = on_text
        self._shown = 0

    def show(self, ids: Sequence[int]) -> None:
        """Give out what is new in the text of `ids`; a character that may still be growing waits."""
        if self._on_text is not None:
            self._give(self._codec.decode(ids).rstrip(BROKEN))

    def finish(self, ids: Sequence[int]) -> str:
        """Give out the rest; the whole text."""
        text = self._codec.decode(ids)
        self._give(text)
        return text

    def _give(self, text: str) -> None:
        if self._on_text is not None and len(text) > self._shown:
            self._on_text(text[self._shown :])
            self._shown = len(text)
