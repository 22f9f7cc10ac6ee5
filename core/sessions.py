"""The sessions that there are, and beginning one where another one was: a fork.

A session is its log. Sessions of a project are the logs in one folder whose session works in that project's
folder. A fork is a log of its own that begins with the same events; the parent is only read.
"""

import shutil
from pathlib import Path

import msgspec

from continualcode.core.data import Data
from continualcode.core.errors import UsageError
from continualcode.core.events import (
    Parent,
    PromptSubmitted,
    SessionResumed,
    SessionStarted,
    UpdateApplied,
)
from continualcode.eventlog import (
    BlobStore,
    LogError,
    LogHeld,
    LogWriter,
    Opaque,
    Registry,
    blobs_path,
    read,
    read_header,
)
from continualcode.eventlog.lock import hold
from continualcode.eventlog.merge import with_origin
from continualcode.eventlog.segments import ack_path, existing_segments, segment_paths, torn_path

_BATCH = 512
"""Events a sync."""


class Listed(Data, frozen=True):
    """One session as a list shows it. `prompt` is the first one; `modified` is seconds since 1970."""

    path: str
    log: str
    workspace: str
    modified: float
    prompt: str
    events: int
    prompts: int
    updates: int
    bytes: int
    parent: Parent | None = None
    held: bool = False
    problem: str = ""


def sessions_in(folder: Path, workspace: Path | None = None) -> list[Listed]:
    """The sessions whose logs lie in `folder`, the one written to last first; only those of `workspace`."""
    found = [listed for path in sorted(folder.glob("*.jsonl")) if (listed := look_at(path)) is not None]
    root = str(workspace.resolve()) if workspace is not None else None
    return sorted(
        (one for one in found if root is None or one.workspace == root), key=lambda one: -one.modified
    )


def look_at(path: Path) -> Listed | None:
    """One log in a list; None: it is no session's. Damage is said in `problem`; what is before it counts."""
    registry = Registry()
    for kind in (SessionStarted, SessionResumed, PromptSubmitted, UpdateApplied):
        registry.register(kind)
    started: SessionStarted | None = None
    workspace = prompt = problem = log = ""
    events = prompts = updates = 0
    try:
        log = read_header(path).log
        for record in read(path, registry):
            events += 1
            match record:
                case SessionStarted():
                    started, workspace = record, record.workspace
                case SessionResumed():
                    workspace = record.workspace or workspace
                case PromptSubmitted():
                    prompts, prompt = prompts + 1, prompt or record.text
                case UpdateApplied():
                    updates += 1
                case _:
                    pass
    except (LogError, OSError) as error:
        problem = str(error)
    if started is None:
        return None
    files = [segment.stat() for segment in segment_paths(path)]
    return Listed(
        path=str(path),
        log=log,
        workspace=workspace,
        modified=max(status.st_mtime for status in files),
        prompt=prompt,
        events=events,
        prompts=prompts,
        updates=updates,
        bytes=sum(status.st_size for status in files),
        parent=started.parent,
        held=is_held(path),
        problem=problem,
    )


def is_held(path: Path) -> bool:
    """Whether a session is working with this log right now."""
    try:
        with hold(path):
            return False
    except LogHeld:
        return True
    except (LogError, OSError):
        return False  # such as a log that may only be read


def fork(source: Path, seq: int, out: Path) -> None:
    """Make the log `out` of the events 0 to `seq` of `source`, which is only read, and may be in use.

    Events keep their number, so what refers to one still does. Raises UsageError where there is no such
    event, LogError where `out` exists or cannot be made.
    """
    if out.exists():
        raise LogError(f"{out} exists already: a fork is a new log")
    registry = Registry()
    registry.register(SessionStarted)
    parent, new = Parent(log=read_header(source).log, seq=seq), out.with_name(f".{out.name}.new")
    try:
        with _begun(new) as writer:
            batch: list[Opaque] = []
            for record in read(source, registry, end_seq=seq + 1):
                batch.append(_copied(record, parent))
                if len(batch) == _BATCH:
                    writer.append_many(batch)
                    batch.clear()
            writer.append_many(batch)
            if writer.next_seq != seq + 1:
                raise UsageError(f"{source} has no event {seq}: it holds 0 to {writer.next_seq - 1}")
        BlobStore(blobs_path(out)).adopt(BlobStore(blobs_path(source)))
        # The first segment last: until it has its name there is no log, and never a part of one.
        for path in (ack_path(new), *reversed(segment_paths(new))):
            path.rename(out.with_name(path.name.replace(new.name, out.name, 1)))
    except BaseException:
        discard(new)
        raise


def discard(log: Path) -> None:
    """Remove a log that nothing was done in yet, with all that lies beside it."""
    for path in (*existing_segments(log).values(), ack_path(log), torn_path(log)):
        path.unlink(missing_ok=True)
    shutil.rmtree(blobs_path(log), ignore_errors=True)


def _begun(new: Path) -> LogWriter:
    try:
        return LogWriter.create(new, Registry())
    except LogError as error:
        raise LogError(
            f"a fork's log cannot be written in {new.parent}: {error.__cause__ or error}; "
            "name another place for it, --log FILE"
        ) from error


def _copied(record: object, parent: Parent) -> Opaque:
    """A record of the parent as the fork has it: the same bytes, and where they were first."""
    if isinstance(record, SessionStarted):
        if record.seq != 0:
            raise UsageError(
                "a log of several sessions cannot be forked: fork one of those it was merged from"
            )
        raw = msgspec.json.encode(msgspec.structs.replace(record, parent=parent, of=msgspec.UNSET))
        return Opaque(type=record.t, raw=raw, why="copied", id=record.id, ts=record.ts)
    assert isinstance(record, Opaque)  # nothing else is registered
    return msgspec.structs.replace(record, raw=with_origin(record.raw, parent.log, record.seq)[0])
