"""How probable it is that a turn begins as a call of each tool.

A tool's probability is that of the tokens which begin its call in the usual spelling, up to the quote after
its name, each renormalised over what the grammar allows. The grammar also lets through unusual spellings
of a name; they are not counted, so the sum over all tools can be less than 1. Tools share most of these
tokens, and each distinct beginning goes through the model once.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from continualcode.core.data import Call
from continualcode.plugins.models.language.tokens import Codec
from continualcode.plugins.models.local.constraint import Constraint, Walk, holds, scores
from continualcode.plugins.models.local.prefix import Prefix


class Choice(NamedTuple):
    """A place where the grammar left a choice: what was said before, the token taken, what was allowed."""

    said: tuple[int, ...]
    token: int
    allowed: Tensor | None


def probabilities(
    tools: Sequence[str],
    prompt_ids: Sequence[int],
    grammar: str | None,
    *,
    format_call: Callable[[Call], str],
    codec: Codec,
    constraint: Constraint,
    prefix: Prefix,
) -> dict[str, float]:
    """P(the turn begins as a call of that tool), for each of `tools` by name, after `prompt_ids`.

    prefix: was started with the prompt.
    """
    computed: dict[tuple[int, ...], Tensor] = {}
    result: dict[str, float] = {}
    for tool in tools:
        choices = spelled(tool, constraint.walk(grammar), codec, format_call)
        missing = [choice.said for choice in choices or () if choice.said not in computed]
        if missing:
            # From the first that is missing: a choice's beginning is part of the next one's.
            wanted = range(len(missing[0]), len(missing[-1]) + 1)
            rows = prefix.logits([*prompt_ids, *missing[-1]], last=len(wanted))
            computed |= {missing[-1][:length]: row for length, row in zip(wanted, rows, strict=True)}
        if choices is None:
            result[tool] = 0.0
            continue
        logs = [float(scores(computed[said], allowed, 1.0)[token]) for said, token, allowed in choices]
        result[tool] = math.exp(math.fsum(logs))
    return result


def spelled(tool: str, walk: Walk, codec: Codec, format_call: Callable[[Call], str]) -> list[Choice] | None:
    """The choices on the way to a call of `tool`, from the start of `walk`; None: the grammar has none."""
    text = format_call(Call(tool=tool, arguments={}))
    name = f": {json.dumps(tool, ensure_ascii=False)}"
    end = text.index(name) + len(name)
    path: list[int] = []
    choices: list[Choice] = []
    while len(said := codec.decode(path)) < end:
        if not text.startswith(said) or walk.ended:
            return None
        forced, allowed = walk.step()
        if forced:
            token = forced[0]
        else:
            # The usual spelling of what is left, not of the whole: forced tokens may have cut elsewhere.
            token = codec.encode(text[len(said) :])[0]
            if allowed is not None and not holds(allowed, token):
                return None
            choices.append(Choice(tuple(path), token, allowed))
        walk.take(token)
        path.append(token)
    return choices if text.startswith(said[:end]) else None
