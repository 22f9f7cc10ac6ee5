"""What a teacher would do instead: the likeliest completion of the guided teacher, token by token.

It begins like the rejected completion up to the first token at which the teacher would do something else,
and goes on from there the teacher's way. So an update on it learns at that token what the rejected
completion teaches, and after it what to do, not how the rejected call would have gone on.

Two sequences grow side by side, after the prompt with the correction and after the one with a neutral one;
what the grammar forces goes into both unseen (see `sampler`). What is drawn is a function of prompts, grammar
and weights, to the last bit: a log without some other correction has the same demonstrations.
"""

from collections.abc import Sequence

from continualcode.core.data import Sample, StopReason
from continualcode.plugins.models.language.tokens import Codec
from continualcode.plugins.models.local import objectives
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.constraint import Constraint, scores
from continualcode.plugins.models.local.drafts import PromptLookup
from continualcode.plugins.models.local.prefix import Prefix, split


class Demonstrator:
    """Draws demonstrations. `told` and `neutral` keep the two sequences' keys and values between calls."""

    def __init__(
        self, adapter: Adapter, told: Prefix, neutral: Prefix, codec: Codec, constraint: Constraint
    ) -> None:
        self._adapter = adapter
        self._codec = codec
        self._told = told
        self._neutral = neutral
        self._constraint = constraint

    def demonstrate(
        self,
        teacher_ids: Sequence[int],
        neutral_ids: Sequence[int],
        grammar: str | None,
        *,
        guidance: float,
        max_tokens: int,
        weights: str,
    ) -> Sample:
        """At most `max_tokens` tokens, the end token included if it came, by the weights of that digest."""
        self._told.start(teacher_ids, split(self._adapter, teacher_ids, weights))
        if guidance != 1.0:
            self._neutral.start(neutral_ids, split(self._adapter, neutral_ids, weights))
        walk = self._constraint.walk(grammar)
        after_told = PromptLookup(self._told, teacher_ids, max_tokens)
        after_neutral = PromptLookup(self._neutral, neutral_ids, max_tokens)
        ids: list[int] = []
        logprobs: list[float] = []
        while len(ids) < max_tokens and not walk.ended:
            forced, allowed = walk.step()
            for token in forced[: max_tokens - len(ids)]:
                walk.take(token)
                ids.append(token)
                logprobs.append(0.0)
            if forced:
                continue
            teacher = scores(after_told.logits([*teacher_ids, *ids]), allowed, 1.0)[None]
            if guidance != 1.0:
                neutral = scores(after_neutral.logits([*neutral_ids, *ids]), allowed, 1.0)[None]
                teacher = objectives.guided(teacher, neutral, guidance)
            token = int(teacher[0].argmax())
            walk.take(token)
            ids.append(token)
            logprobs.append(float(teacher[0, token]))
        text = self._codec.decode(ids[:-1] if walk.ended else ids)
        stop: StopReason = "end" if walk.ended else "length"
        return Sample(token_ids=tuple(ids), logprobs=tuple(logprobs), text=text, stop=stop)
