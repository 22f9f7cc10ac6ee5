"""The system message: who the model is, in as few tokens as do the work, and the project's instructions.

Every token of it is read again whenever the conversation starts anew, so it is short; the policy adds the
list of tools after it, in its family's way.
"""

from continualcode.core.data import Message
from continualcode.core.transcript import Transcript

PERSONA = (
    "You are a coding agent. You work in a project folder through tools, one call a turn. "
    "Read a file before you change it. When the task is done, call reply."
)


def system_message(transcript: Transcript) -> Message:
    """A function of the log alone: the configuration that it was started with, what was read of AGENTS.md."""
    config = transcript.started.config if transcript.started else {}
    extra = str(config.get("session", {}).get("instructions", ""))
    parts = [f"{PERSONA}\n{extra}".strip()]
    parts += [read.heading() + "\n" + read.text for read in transcript.instructions.values() if read.text]
    return Message(role="system", text="\n\n".join(parts))


def has_system(transcript: Transcript) -> bool:
    """Whether the conversation begins with a system message of ours."""
    first = transcript.messages[0] if transcript.messages else None
    return first is not None and first.role == "system" and first.text.startswith(PERSONA)
