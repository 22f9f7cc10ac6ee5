"""What the teacher sees: the conversation as the student saw it, and then the user's correction as a turn.

The words stand alone, as the user said them. On Qwen2.5-Coder-0.5B any frame around them made the teacher
worse: on seven rules about tools, P(the wanted tool) was .35 to .95 with the bare words, .09 to .75 with a
heading before and an order after them (docs/learning.md). A demonstration and the attempt's output have a
line of their own before them, as words alone would not say what they are; what is empty is left out:

    a demonstration (solution), the attempt's output (environment), the user's words (feedback)

The attempt itself is never pasted: in the paper that made the teacher worse (Hübotter et al. 2026: 44.5 with
it, 48.3 without). Text from outside is put in as it is, never through a format string, so braces survive.

`NEUTRAL` is the correction that says nothing: what a teacher does after it, it does because it was
contradicted, not because of what it was told.

Too long for `room`: the environment's output is cut in the middle, by tokens; then left out; then the
demonstration is left out, whole, as half a call is no demonstration. The words and the conversation stay;
if they alone do not fit, that is an error.
"""

from collections.abc import Sequence

import msgspec

from continualcode.core.data import Message, Slots
from continualcode.core.errors import UpdateError
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn

SOLUTION = "This is what I want instead:"
ENVIRONMENT = "What you did gave this output:"
NEUTRAL = "No, that is wrong."


def correction_text(slots: Slots) -> str:
    """The parts that are there; `NEUTRAL` if none is."""
    headed = ((SOLUTION, slots.solution), (ENVIRONMENT, slots.environment))
    parts = [f"{heading}\n\n{text.strip()}" for heading, text in headed if text.strip()]
    words = slots.feedback.strip()
    return "\n\n".join([*parts, words] if words else parts) or NEUTRAL


def teacher_messages(messages: Sequence[Message], slots: Slots) -> tuple[Message, ...]:
    """The student's messages and the correction as the user's next turn."""
    return (*messages, Message(role="user", text=correction_text(slots)))


def neutral_prompt(turn: SampledTurn, policy: Policy) -> tuple[int, ...]:
    """The teacher's prompt with the correction that says nothing."""
    return policy.render(teacher_messages(turn.messages, Slots()), turn.tools)


def teacher_prompt(turn: SampledTurn, slots: Slots, policy: Policy, room: int) -> tuple[int, ...]:
    """The teacher's prompt for one sample, at most `room` tokens, in the policy's own template."""

    def render() -> tuple[int, ...]:
        return policy.render(teacher_messages(turn.messages, slots), turn.tools)

    output, left = slots.environment, policy.count_tokens(slots.environment)
    ids = render()
    while len(ids) > room and left > 0:
        left = max(0, left - (len(ids) - room))
        slots = msgspec.structs.replace(slots, environment=policy.truncate(output, left) if left else "")
        ids = render()
    if len(ids) > room and slots.solution:
        slots = msgspec.structs.replace(slots, solution="")
        ids = render()
    if len(ids) > room:
        raise UpdateError(
            f"the teacher's prompt has {len(ids)} tokens without any tool output; {room} fit before the "
            "completion (trainer.max_context and the model's context)"
        )
    return ids
