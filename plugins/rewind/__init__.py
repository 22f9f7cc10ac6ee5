"""Undo and redo of turns and updates, and the snapshots of the workspace that this takes.

| in | what |
|---|---|
| `going` | undo, redo, going back to an event; what a crash left is finished at the next start |
| `scan` | the workspace as a tree of digests, and what is left out of it |
| `objects` | the store of contents, beside the logs and outside the workspace |
| `restore` | taking changes back: as data first, then on the disk |

A snapshot is taken before and after each tool that can change something (one that is not `reads_only`),
plugins' tools included; `workspace_recorded` holds its digest. The user's git is neither used nor touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from continualcode import hookimpl
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import (
    SessionResumed,
    ToolRan,
    ToolStarted,
    TurnInterrupted,
)
from continualcode.core.protocols import Command
from continualcode.core.safety_events import BudgetReached
from continualcode.core.session import Session, Successor
from continualcode.core.sessions import sessions_in
from continualcode.core.transcript import Transcript
from continualcode.core.undo_events import (
    WorkspaceRecorded,
)
from continualcode.eventlog import Record
from continualcode.plugins.rewind.going import filled, finish, in_words, look, planned, redo, undo
from continualcode.plugins.rewind.scan import TooBig

__all__ = ["filled", "planned"]


@dataclass(frozen=True)
class _Command:
    name: str
    help: str
    act: Callable[[str, Session], str]

    def run(self, argument: str, session: Session) -> str:
        try:
            return self.act(argument, session)
        except KeyboardInterrupt:
            return "Interrupted: everything is as it was."


@hookimpl
def register_commands() -> list[Command]:
    """/undo, /redo and /resume."""
    return [
        _Command("undo", "undo the last turn: chat, weights, files; /undo update: the weights alone", _undo),
        _Command(
            "resume", "the sessions of this project; /resume NAME ends this one and goes on there", _resume
        ),
        _Command("redo", "take the last undo back", lambda argument, session: redo(session)),
    ]


def _undo(argument: str, session: Session) -> str:
    return undo(session, argument)


def _resume(argument: str, session: Session) -> str:
    """List, or hand over: what opened this session opens the next one."""
    own = session.log.path.resolve()
    found = sessions_in(own.parent, session.workspace.root)
    others = {Path(one.path).stem: one for one in found if Path(one.path).resolve() != own}
    if not argument:
        lines = [
            f"{name}  {one.prompts} prompts, {one.updates} updates  {one.prompt[:60]}"
            for name, one in others.items()
        ]
        return "\n".join(lines) or "There is no other session of this project."
    if argument not in others:
        raise UsageError(f"no other session {argument!r} of this project; {nearest(argument, others)}")
    session.successor = Successor(log=others[argument].path)
    session.close("resumed another session")
    return f"Ended: {session.log.path}"


@hookimpl
def event_appended(record: Record, transcript: Transcript, session: Session) -> Sequence[Record] | None:
    """The workspace before and after what can change it; and what a crash left to do."""
    if isinstance(record, SessionResumed) and transcript.unrestored is not None:
        rewound = transcript.unrestored
        restored = finish(rewound, session.workspace.root, session.log.path)
        session.ui.message(f"Back to event {rewound.to}: {in_words(rewound, restored)}.")
        return [restored]
    if not session.config.session.snapshots:
        return None
    if isinstance(record, ToolStarted):
        tool = session.tools[record.call.tool].spec
        return None if tool.reads_only or tool.ends_turn else [_recorded(session, "before")]
    ends = isinstance(record, ToolRan | TurnInterrupted | BudgetReached | SessionResumed)
    unpaired = transcript.file_changes and transcript.file_changes[-1].after is None
    return [_recorded(session, "after")] if ends and unpaired else None


def _recorded(session: Session, when: str) -> WorkspaceRecorded:
    try:
        return WorkspaceRecorded(when=when, tree=look(session.workspace.root, session.log.path))  # type: ignore[arg-type]  # as the callers give it
    except (TooBig, OSError) as error:
        return WorkspaceRecorded(when=when, tree="", why=str(error))  # type: ignore[arg-type]  # likewise
