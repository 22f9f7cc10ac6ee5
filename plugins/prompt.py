"""The system message: who the model is, in as few tokens as do the work.

Every token of it is read again whenever the conversation starts anew, so it is short; the policy adds the
list of tools after it, in its family's way.
"""

from collections.abc import Sequence

from continualcode import hookimpl
from continualcode.core.data import Message
from continualcode.core.transcript import Transcript

PERSONA = (
    "You are a coding agent. You work in a project folder through tools, one call a turn. "
    "Read a file before you change it. When the task is done, call reply."
)


@hookimpl
def build_prompt(transcript: Transcript) -> Sequence[Message] | None:
    """The conversation under the system message; None where it is there already."""
    config = transcript.started.config if transcript.started else {}
    extra = str(config.get("session", {}).get("instructions", ""))
    system = Message(role="system", text=f"{PERSONA}\n{extra}".strip())
    if transcript.messages and transcript.messages[0] == system:
        return None
    rest = [m for m in transcript.messages if m.role != "system"]
    return [system, *rest]
