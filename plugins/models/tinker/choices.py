"""How probable it is that a turn begins as a call of each tool, from scores of the calls' beginnings."""

import math
from collections.abc import Sequence

from continualcode.core.data import Call
from continualcode.plugins.models.tinker.speech import Speech


def spelled(tool: str, speech: Speech, begun: Sequence[int]) -> list[int] | None:
    """The tokens that begin a call of `tool`, after the `begun` ones, up to the tool's name; None: none.

    The name's last token counts with the character that ends it, so that `read` is not `read_file`.
    """
    text = speech.language.format_call(Call(tool=tool, arguments={}))
    start = speech.codec.decode(begun)
    if not text.startswith(start) or tool not in text:
        return None
    end = text.index(tool) + len(tool)
    return speech.codec.encode(text[len(start) : end + 1])


def summed(
    tools: Sequence[str], spellings: Sequence[Sequence[int] | None], answers: Sequence[Sequence[float | None]]
) -> dict[str, float]:
    """Probabilities by tool; `answers` are the prompts' logprobs of those that have a spelling, in order."""
    scores = iter(answers)
    found: dict[str, float] = {}
    for tool, ids in zip(tools, spellings, strict=True):
        own = next(scores)[-len(ids) :] if ids else ()
        found[tool] = 0.0 if ids is None else math.exp(math.fsum(lp or 0.0 for lp in own))
    return found
