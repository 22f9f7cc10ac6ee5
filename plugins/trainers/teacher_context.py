"""What the teacher sees: the conversation as the student saw it, and what was said about the attempt since.

x with its last user turn extended; where the conversation ends in a tool's result, a user turn appended to
it, which is nearer to the answer (on Qwen2.5-Coder-0.5B the wanted call had .84 so, .3 when it was put
into the user turn before the result). The parts come in this order, those that are empty left out:

    a demonstration (solution), the attempt's output (environment), the user's words (feedback), an order

The attempt itself is never pasted: in the paper that made the teacher worse (Hübotter et al. 2026: 44.5 with
it, 48.3 without). Text from outside is put in as it is, never through a format string, so braces survive.

Too long for `room`: the environment's output is cut in the middle, by tokens; then left out; then the
demonstration is left out, whole, as half a call is no demonstration. The words, the instruction and the
conversation stay; if they alone do not fit, that is an error.
"""

from collections.abc import Sequence

import msgspec

from continualcode.core.data import Message, Slots
from continualcode.core.errors import UpdateError
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn

SOLUTION = "This is what the user wanted instead of your last attempt:"
ENVIRONMENT = "Your last attempt gave this output:"
FEEDBACK = "The user rejected your last attempt and said:"
INSTRUCTION = "Do the task again, the way the user wants it."


def correction_text(slots: Slots) -> str:
    """The parts that are there, each under its heading, and the instruction."""
    told = ((SOLUTION, slots.solution), (ENVIRONMENT, slots.environment), (FEEDBACK, slots.feedback))
    parts = [f"{heading}\n\n{text.strip()}" for heading, text in told if text.strip()]
    return "\n\n".join([*parts, INSTRUCTION])


def teacher_messages(messages: Sequence[Message], slots: Slots) -> tuple[Message, ...]:
    """The student's messages with the correction in, or after, the last of them."""
    said = correction_text(slots)
    if messages and messages[-1].role == "user":
        *before, last = messages
        return (*before, msgspec.structs.replace(last, text=f"{last.text}\n\n{said}"))
    return (*messages, Message(role="user", text=said))


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
