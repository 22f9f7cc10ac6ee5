"""Draws completions, one token at a time, under a grammar, and says how probable each token was.

A loop of our own, as the logprobs must be those of the distribution that was drawn from: the logits over
the temperature, renormalised over what the grammar allowed (`objectives.log_probs`, the learner's own), and
as most tokens of a call are forced: they cost no draw, and go through the model together with the next one.
A forced token has logprob 0. Temperature 0 takes the most probable token and scores it at temperature 1.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from continualcode.core.data import Call, Sample, SamplingParams, StopReason, ToolSpec
from continualcode.core.errors import UsageError
from continualcode.plugins.models.local.constraint import Constraint, unpacked
from continualcode.plugins.models.local.objectives import log_probs
from continualcode.plugins.models.local.prefix import Interrupted, Prefix
from continualcode.plugins.models.local.tokens import Codec

BROKEN = "\ufffd"
"""What bytes that are no whole character decode to."""


class Sampler:
    """Draws from one model. `context`: how many tokens a prompt and its completion may have together."""

    def __init__(self, prefix: Prefix, codec: Codec, constraint: Constraint, context: int) -> None:
        self._prefix = prefix
        self._codec = codec
        self._constraint = constraint
        self._context = context

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """Draw one completion; same seed, same weights, same prompt and same kept prefix: same tokens.

        Its ids hold the end token if it came to its end; its text does not. `on_text` gets the text in
        pieces of whole characters, which joined are the sample's text.
        """
        room = self._room(prompt_ids)
        most = min(params.max_tokens, room)
        generator = torch.Generator().manual_seed(params.seed)
        walk = self._constraint.walk(grammar)
        stream = Stream(self._codec, on_text)
        ids: list[int] = []
        logprobs: list[float] = []
        started = decoding = time.perf_counter()
        stop: StopReason = "length"
        try:
            while len(ids) < most and not walk.ended:
                forced, allowed = walk.step()
                for token in forced[: most - len(ids)]:
                    walk.take(token)
                    ids.append(token)
                    logprobs.append(0.0)
                if not forced:
                    logits = self._prefix.logits([*prompt_ids, *ids], cancelled=cancelled)
                    decoding = time.perf_counter() if decoding == started else decoding
                    scores = self._scores(logits, allowed, params.temperature)[0]
                    token, logprob = draw(scores, params, generator)
                    walk.take(token)
                    ids.append(token)
                    logprobs.append(logprob)
                stream.show(ids[:-1] if walk.ended else ids)
        except Interrupted:
            stop = "interrupted"
        if walk.ended:
            stop = "end"
        text = stream.finish(ids[:-1] if walk.ended else ids)
        return Sample(
            token_ids=tuple(ids),
            logprobs=tuple(logprobs),
            text=text,
            stop=stop,
            prefill_seconds=decoding - started,
            decode_seconds=time.perf_counter() - decoding,
        )

    def tool_probabilities(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        tools: Sequence[ToolSpec],
        format_call: Callable[[Call], str],
    ) -> dict[str, float]:
        """P(the turn begins as a call of that tool), by the usual spelling up to the quote after its name.

        The grammar also lets through unusual spellings of a name, so the sum can be less than 1.
        """
        self._room(prompt_ids)
        beginnings = {tool.name: _beginning(tool.name, format_call) for tool in tools}
        return {name: self._probability(prompt_ids, grammar, text) for name, text in beginnings.items()}

    def _probability(self, prompt_ids: Sequence[int], grammar: str | None, text: tuple[str, str]) -> float:
        """P(the completion begins with `text[0]`), spelled as in `text[0] + text[1]`."""
        wanted, rest = text
        walk = self._constraint.walk(grammar)
        path: list[int] = []
        free: list[int] = []
        masks: list[Tensor | None] = []
        while not (said := self._codec.decode(path)).startswith(wanted):
            forced, allowed = walk.step()
            if not wanted.startswith(said) or walk.ended:
                return 0.0
            # The usual spelling of what is left, not of the whole: forced tokens may have cut elsewhere.
            token = forced[0] if forced else self._codec.encode((wanted + rest)[len(said) :])[0]
            if not forced:
                if allowed is not None and not unpacked(allowed, self._constraint.vocabulary)[token]:
                    return 0.0
                free.append(len(path))
                masks.append(allowed)
            walk.take(token)
            path.append(token)
        if not free:
            return 1.0
        first = free[0]
        logits = self._prefix.logits([*prompt_ids, *path[: free[-1]]], last=free[-1] - first + 1)
        total = 0.0
        for place, allowed in zip(free, masks, strict=True):
            row = self._scores(logits[place - first : place - first + 1], allowed, 1.0)[0]
            total += float(row[path[place]])
        return math.exp(total)

    def _scores(self, logits: Tensor, allowed: Tensor | None, temperature: float) -> Tensor:
        """Log-probabilities [1, V] on the CPU, where the generator is."""
        bits = None if allowed is None else unpacked(allowed, self._constraint.vocabulary)[None]
        return log_probs(logits.cpu(), temperature, bits)

    def _room(self, prompt_ids: Sequence[int]) -> int:
        """How many tokens fit after the prompt."""
        room = self._context - len(prompt_ids)
        if not prompt_ids or room < 1:
            raise UsageError(
                f"the prompt has {len(prompt_ids)} tokens; allowed are 1 to {self._context - 1}: it shares a "
                f"context of {self._context} with the completion (model.context). /clear starts afresh"
            )
        return room


def draw(scores: Tensor, params: SamplingParams, generator: torch.Generator) -> tuple[int, float]:
    """One token from log-probabilities [V], and its logprob."""
    if params.temperature == 0.0:
        token = int(scores.argmax())
    else:
        token = int(torch.multinomial(scores.exp(), 1, generator=generator))
    logprob = float(scores[token])
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


def _beginning(tool: str, format_call: Callable[[Call], str]) -> tuple[str, str]:
    """A call of `tool` in two parts: up to the quote that closes its name, and the rest."""
    text = format_call(Call(tool=tool, arguments={}))
    end = text.index(f'"{tool}"') + len(tool) + 2
    return text[:end], text[end:]
