"""The demonstration where the model is asked again: after the request, the denied call, and the words.

A denial is followed by another try at once, and that one is what the user sees of what was learned. But what
is learned right after a request does not reach what comes after a call (docs/learning.md, *The retry*): "Read
the file first." was learned, and the model wrote over the file once more. So the demonstration is learned on
both prompts, and the teacher of both is the one that is told on the first.
"""

import msgspec

from continualcode.core.data import Example, Message
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import Transcript, denial
from continualcode.plugins.trainers.settings import SdpoSettings

DENIAL = "deny"
"""The kind of correction after which the model is asked again."""


def with_retry(
    row: Example, correction: CorrectionGiven, transcript: Transcript, policy: Policy, settings: SdpoSettings
) -> list[Example]:
    """A demonstration, and the same on the retry's prompt; they weigh together what it did.

    Alone where nothing is tried again (the call ran, or was edited), and where that prompt is too long.
    """
    if not settings.retry or correction.kind != DENIAL:
        return [row]
    # By the correction's words, not the decision's: corrections that are given again (`retelling`) have none.
    turn = transcript.sampled(correction.sample)
    rejected = Message(role="assistant", text=turn.text)
    ids = policy.render((*turn.messages, rejected, denial(correction.feedback)), turn.tools)
    context = policy.model.context
    if len(ids) + len(row.completion_ids) > min(context, settings.max_context or context):
        return [row]
    share = settings.retry * row.weight
    return [
        msgspec.structs.replace(row, weight=row.weight - share),
        msgspec.structs.replace(row, part="retry", prompt_ids=ids, weight=share),
    ]
