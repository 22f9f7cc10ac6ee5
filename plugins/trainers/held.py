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
from continualcode.plugins.trainers.in_question import through
from continualcode.plugins.trainers.situations import Situation, messages, taking

HELD = 12
"""On how many requests."""


def held(
    row: Example,
    tool: ToolSpec,
    turn: SampledTurn,
    outside: Sequence[Situation],
    policy: Policy,
    weight: float,
) -> list[Example]:
    """The rows; they weigh `weight` together.

    row: the demonstration of a correction that is about how `tool` is called. outside: situations that it is
    not about, the nearest first.
    """
    begun = _begun(row.completion_ids, tool, policy)
    if not begun or not weight:
        return []
    asked = [policy.render(messages(turn, one), turn.tools) for one in taking(tool.name, outside)[:HELD]]
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


def _begun(ids: Sequence[int], tool: ToolSpec, policy: Policy) -> tuple[int, ...]:
    """A call of `tool` up to the first token of its first argument; empty where it does not come to that."""
    first = next(iter(tool.parameters.get("properties", {})), None)
    if first is None:
        return ()
    before, _, _ = policy.format_call(Call(tool=tool.name, arguments={first: "?"})).rpartition("?")
    begun = through(ids, len(before), policy)
    return begun if "".join(policy.pieces(begun)).startswith(before) else ()
