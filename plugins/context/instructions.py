"""AGENTS.md: what a project wants an agent to know, from the root, and from folders once they are worked in.

The root's is in the system message. That of a folder is added when a tool first works on a file there: the
nearest one going up. What is read is a record (`instructions_read`), so the conversation stays a function of
the log. A file that changes is noticed at the next prompt or result, and the model is told what it says now.

It is text for the model, and nothing else: it cannot allow calls or change settings.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from continualcode.core.data import Arguments
from continualcode.core.errors import UsageError
from continualcode.core.events import InstructionsRead
from continualcode.core.session import Session
from continualcode.core.workspace import Workspace, digest

NAME = "AGENTS.md"

SHARE = 0.2
"""The part of the model's context that one file may take; what is longer is cut at its end, and says so."""


def changed(session: Session) -> list[InstructionsRead]:
    """The root's file and those known already, where they are not as they were read last."""
    known = session.transcript.instructions
    return [read for path in dict.fromkeys((NAME, *known)) if (read := _look(session, path)) is not None]


def nearest(session: Session, arguments: Arguments) -> list[InstructionsRead]:
    """The file nearest to the path that a tool works on, if it is not known yet."""
    path = arguments.get("path")
    if not isinstance(path, str):
        return []
    for candidate in _above(session.workspace, path):
        if candidate in session.transcript.instructions:
            return []
        if (read := _look(session, candidate)) is not None:
            return [read]
    return []


def _above(workspace: Workspace, path: str) -> Iterator[str]:
    try:
        inside = PurePosixPath(workspace.relative(path))
    except UsageError:
        return  # outside: the tool refuses it
    for folder in inside.parents:
        yield (folder / NAME).as_posix()


def _look(session: Session, path: str) -> InstructionsRead | None:
    """What the file says, as a record; None: as it was read last, or as ever not there."""
    try:
        data = session.workspace.read(path)
    except UsageError:
        data = None
    before = session.transcript.instructions.get(path)
    if data is None:
        gone = before is not None and before.text
        return InstructionsRead(path=path, text="", sha256="", size=0) if gone else None
    found = digest(data)
    if before is not None and before.sha256 == found:
        return None
    text = data.decode(errors="replace").strip()
    policy = session.policy
    room = int(policy.model.context * SHARE)
    if policy.count_tokens(text) > room:
        text = (
            _head(session, text, room)
            + f"\n[cut here: the file has {len(data):,} bytes; `read` shows the rest]"
        )
    return InstructionsRead(path=path, text=text, sha256=found, size=len(data))


def _head(session: Session, text: str, tokens: int) -> str:
    """The first lines that fit."""
    lines = text.split("\n")
    low, high = 0, len(lines)
    while low < high:
        middle = (low + high + 1) // 2
        fits = session.policy.count_tokens("\n".join(lines[:middle])) <= tokens
        low, high = (middle, high) if fits else (low, middle - 1)
    return "\n".join(lines[:low]) if low else session.policy.truncate(lines[0], tokens)
