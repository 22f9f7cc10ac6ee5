"""How a tool is called elsewhere: what must stay where a correction is about a call's arguments.

"Don't use rm, move it into trash/" is about one of the many things that go through `bash`. Learned alone it
changed them all: a 0.5B model asked for the date, or to commit, called `mv trash/…` then, and what anchors
hold, the choice of tool, was as it had been (docs/learning.md). So on the requests that are next to the
corrected one, and are not about the same thing, the call's beginning is held to the base model: up to where
the demonstration parts from what was rejected. As a distribution is held, any token will do there.
"""

from collections.abc import Sequence

import msgspec

from continualcode.core.data import Example, Message
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.corrected import parting

HELD = 12
"""On how many requests."""

LONGEST = 24
"""How many tokens of a call are held at most."""


def held(
    row: Example,
    turn: SampledTurn,
    prompts: Sequence[Sequence[Message]],
    policy: Policy,
    weight: float,
) -> list[Example]:
    """A row for each of the first `HELD` of `prompts`, the nearest first; they weigh `weight` together.

    row: the demonstration of a correction that is about one tool's arguments.
    """
    place = parting(row.completion_ids, turn.completion_ids)
    if place is None or not weight:
        return []
    asked = [policy.render(messages, turn.tools) for messages in prompts[:HELD]]
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
