"""How a tool is called elsewhere: what must stay where a correction is about a call's arguments.

"Don't use rm, move it into trash/" is about one of the many things that go through `bash`. Learned alone it
changed them all: a 0.5B model asked for the date, or to commit, called `mv trash/…` then, and what anchors
hold, the choice of tool, was as it had been (docs/learning.md). So on the nearest requests that take the tool
and are about something else the beginning of its call is held to the base model: up to where the
demonstration parts from what was rejected. As distributions are held, any token will do there.
"""

from collections.abc import Sequence

import msgspec

from continualcode.core.data import Example
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.corrected import parting
from continualcode.plugins.trainers.situations import Situation, messages, taking

HELD = 12
"""On how many requests."""

LONGEST = 24
"""How many tokens of a call are held at most."""


def held(
    row: Example, turn: SampledTurn, others: Sequence[Situation], policy: Policy, weight: float
) -> list[Example]:
    """The rows; they weigh `weight` together.

    row: the demonstration of a correction that is about how the rejected call's tool is called. others:
    situations that it is not about, the nearest first.
    """
    place = parting(row.completion_ids, turn.completion_ids)
    if turn.call is None or place is None or not weight:
        return []
    asked = [policy.render(messages(turn, one), turn.tools) for one in taking(turn.call.tool, others)[:HELD]]
    return [
        msgspec.structs.replace(
            row,
            part="held",
            prompt_ids=ids,
            teacher_ids=ids,
            neutral_ids=(),
            completion_ids=row.completion_ids[: min(place + 1, LONGEST)],
            weight=weight / len(asked),
            guidance=1.0,
        )
        for ids in asked
    ]
