"""What the model sees besides the conversation: the system message, the project's instructions, files.

| in | what |
|---|---|
| `system` | who the model is; under it, what AGENTS.md says |
| `instructions` | AGENTS.md, of the root and of the folders that are worked in |
| `mentions` | @path in a prompt |
| `compaction` | /compact, and the same by itself near the model's limit |

All of it comes through records, so that a resumed or replayed session sees the same tokens.
"""

from collections.abc import Sequence

from continualcode import hookimpl
from continualcode.core.data import Message
from continualcode.core.errors import UsageError
from continualcode.core.events import (
    DecisionMade,
    FileAttached,
    PromptSubmitted,
    SessionResumed,
    SessionStarted,
    ToolProposed,
    ToolRan,
)
from continualcode.core.protocols import Command
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.context import compaction, instructions
from continualcode.plugins.context.mentions import attached
from continualcode.plugins.context.system import has_system, system_message


@hookimpl
def build_prompt(transcript: Transcript) -> Sequence[Message] | None:
    """The conversation under the system message; None where it is there already."""
    if has_system(transcript):
        return None
    return [system_message(transcript), *(m for m in transcript.messages if m.role != "system")]


@hookimpl
def event_appended(record: Record, transcript: Transcript, session: Session) -> Sequence[Record] | None:
    """Instructions and files as they come up; and a conversation that has become too long made short."""
    found: list[Record] = []
    match record:
        case SessionStarted() | SessionResumed():
            return instructions.changed(session)
        case PromptSubmitted():
            found += [*instructions.changed(session), *attached(record.text, session)]
        case ToolRan():
            arguments = transcript.ran_with(record.call_id)
            found += [*instructions.changed(session), *instructions.nearest(session, arguments)]
        case FileAttached() | DecisionMade(verdict="deny") | ToolProposed(call=None):
            pass
        case _:
            return None
    if not found and compaction.needed(session):
        short = compaction.compacted(session, "limit")
        if short is not None:
            session.ui.message(compaction.in_words(short))
            found.append(short)
    return found


class _Compact:
    name = "compact"
    help = "shorten the conversation; corrections, notes and prompts stay word for word"

    def run(self, argument: str, session: Session) -> str:
        if argument:
            raise UsageError(f"/compact takes nothing, not {argument!r}")
        record = compaction.compacted(session, "user")
        if record is None:
            return "Nothing to shorten: all of the conversation is new, or short already."
        session.append(record)
        return compaction.in_words(record) + " /undo takes it back."


@hookimpl
def register_commands() -> list[Command]:
    """/compact."""
    return [_Compact()]
