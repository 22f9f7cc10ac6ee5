"""How a tool is called elsewhere: what must stay where a correction is about a call's arguments.

"Don't use rm, move it into trash/" is about one of the many things that go through `bash`. Learned alone it
changed them all: a 0.5B model asked for the date, or to commit, called `mv trash/…` then, and what anchors
hold, the choice of tool, was as it had been (docs/learning.md). So on the nearest requests that take the tool
and are about something else the beginning of its call is held to the base model: up to its first argument's
first token, where any will do, as distributions are held. Not further: what comes after `pytest` is what
"use pytest -q" is about, whatever was asked for.
"""

from collections.abc import Sequence

import msgspec

from continualcode.core.data import Call, Example, ToolSpec
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.situations import Situation, messages, taking

HELD = 12
"""On how many requests."""


def held(
    row: Example, turn: SampledTurn, others: Sequence[Situation], policy: Policy, weight: float
) -> list[Example]:
    """The rows; they weigh `weight` together.

    row: the demonstration of a correction that is about how the rejected call's tool is called. others:
    situations that it is not about, the nearest first.
    """
    tool = next((each for each in turn.tools if turn.call and each.name == turn.call.tool), None)
    begun = _begun(tool, row.completion_ids, policy) if tool and weight else ()
    if tool is None or not begun:
        return []
    asked = [policy.render(messages(turn, one), turn.tools) for one in taking(tool.name, others)[:HELD]]
    return [
        msgspec.structs.replace(
            row,
            part="held",
            prompt_ids=ids,
            teacher_ids=ids,
            neutral_ids=(),
            completion_ids=begun,
            weight=weight / len(asked),
            guidance=1.0,
        )
        for ids in asked
    ]


def _begun(tool: ToolSpec, ids: Sequence[int], policy: Policy) -> tuple[int, ...]:
    """A call of `tool` up to the first token of its first argument; empty where it does not come to that."""
    first = next(iter(tool.parameters.get("properties", {})), None)
    if first is None:
        return ()
    call, pieces = policy.format_call(Call(tool=tool.name, arguments={first: "?"})), policy.pieces(ids)
    before = call[: call.rindex("?")]
    count = next((n for n in range(1, len(ids) + 1) if len("".join(pieces[:n])) > len(before)), 0)
    return tuple(ids[:count]) if count and "".join(pieces[:count]).startswith(before) else ()
