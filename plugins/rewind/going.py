"""Undo, redo and going back to an event: weights, then the fact, then the files.

The weights are moved first, in memory only, as that is what can fail or be interrupted; then `rewound` is
durable, which is when it has happened; then the files follow, and `workspace_restored` says that they did.
A crash before the record leaves everything as it was; after it, `finish` does the rest at the next start.
"""

from pathlib import Path

from continualcode.core.errors import UsageError
from continualcode.core.events import Rewound, UpdateReverted, WorkspaceRestored
from continualcode.core.rewind import FileChanges
from continualcode.core.session import Session
from continualcode.plugins.rewind.objects import Objects
from continualcode.plugins.rewind.restore import Goal, make_so, reverted
from continualcode.plugins.rewind.scan import Scan, TooBig


def snapshot_store(log: Path) -> Objects:
    """Where the snapshots of sessions whose logs lie in this folder are: shared, so a fork finds them."""
    return Objects(log.parent / "snapshots")


def look(session: Session) -> str:
    """The digest of the workspace as it is now, recorded in the store. Raises TooBig."""
    log, store = session.log.path.absolute(), snapshot_store(session.log.path)
    own = (str(log), f"{store.folder.absolute()}/")
    return Scan(session.workspace.root, store, own).tree()


def undo(session: Session, what: str) -> str:
    """Undo the last step (a prompt and its turn, /clear, /compact), or only the last update."""
    transcript = session.transcript
    if what == "update":
        return _undo_update(session)
    if what not in ("", "turn"):
        raise UsageError(f"/undo {what}: give nothing, turn or update")
    if not transcript.steps:
        raise UsageError("there is nothing to undo: nothing was asked yet")
    step = transcript.steps[-1]
    said = go_back(session, step.seq - 1, "undo")
    name = {"turn": "the last turn", "clear": "/clear", "compaction": "the compaction"}[step.kind]
    return f"Undone: {name}. {said} /redo takes this back."


def _undo_update(session: Session) -> str:
    transcript = session.transcript
    if not transcript.standing:
        raise UsageError("there is no update to undo")
    last, before = transcript.standing[-1], transcript.standing[:-1]
    weights = transcript.updates[last].weights
    session.lineage.go(transcript.standing, before)
    session.append(UpdateReverted(update=last, weights=weights))
    return (
        f"Undone: the last update; {_weights(session, weights)}. The conversation and the files stay as they "
        "are, and what it was corrected on is not trained on again. /redo takes this back."
    )


def redo(session: Session) -> str:
    """Take the last undo back."""
    transcript = session.transcript
    if not transcript.undone:
        raise UsageError("there is nothing to redo: nothing was undone, or the session went on since")
    return f"Redone. {go_back(session, transcript.undone[-1] - 1, 'redo')}"


def go_back(session: Session, to: int, how: str) -> str:
    """Make the state that of the event `to` in every respect; says what that changed."""
    transcript, store = session.transcript, snapshot_store(session.log.path)
    mark = transcript.mark(to)
    changes = [change for change in transcript.file_changes if change.seq > to]
    before, goal, unknown = _files(session, store, changes)
    session.lineage.go(transcript.standing, mark.standing)
    updates = len(transcript.standing) - len(mark.standing)
    rewound = session.append(
        Rewound(
            to=to,
            how=how,  # type: ignore[arg-type]  # one of the literals: the callers are in this package
            weights=mark.weights,
            before=before,
            after=goal.tree if goal else None,
        )
    )
    session.workspace.seen = dict(transcript.seen)
    parts = (
        [f"{_weights(session, mark.weights)} ({abs(updates)} updates {'back' if updates > 0 else 'on'})"]
        if updates
        else []
    )
    if goal is not None:
        parts.append(in_words(session.append(_restored(session, store, rewound, goal))))
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in (*parts, unknown) if part)


def finish(session: Session, rewound: Rewound) -> WorkspaceRestored:
    """What a crash kept an earlier process from doing: put the files where the log says they are."""
    assert rewound.after is not None  # otherwise there is nothing to finish
    goal = Goal(rewound.after, (), {})
    return _restored(session, snapshot_store(session.log.path), rewound, goal)


def _files(
    session: Session, store: Objects, changes: list[FileChanges]
) -> tuple[str | None, Goal | None, str]:
    """The workspace as it is, as it should be, and what to say where that cannot be known."""
    if not changes:
        return None, None, ""
    try:
        before = look(session)
    except TooBig as error:
        return None, None, f"the files stay as they are: {error}"
    goal = reverted(store, before, changes)
    store.sync()
    return before, goal, ""


def _restored(session: Session, store: Objects, rewound: Rewound, goal: Goal) -> WorkspaceRestored:
    """Change the files, and the record that they are changed."""
    assert rewound.before is not None
    changed, failed = make_so(session.workspace.root, store, rewound.before, goal.tree)
    kept = goal.kept | failed
    return WorkspaceRestored(
        rewound=rewound.id, changed=changed, overwritten=goal.overwritten, kept=kept, cause=rewound.id
    )


def in_words(restored: WorkspaceRestored) -> str:
    """What became of the files, for a person."""
    said = f"{restored.changed} files and folders put back" if restored.changed else "no file had to change"
    if restored.overwritten:
        said += (
            f"; changed by hand since, and put back too: {', '.join(restored.overwritten)}"
            " (the opposite, /redo or /undo, brings your version again)"
        )
    if restored.kept:
        said += "; left as they are: " + ", ".join(f"{path} ({why})" for path, why in restored.kept.items())
    return said


def _weights(session: Session, recorded: str) -> str:
    """The digest that the policy came to, and whether it is the recorded one."""
    here = session.policy.weights()
    if here == recorded:
        return f"weights {here[:8]}, as recorded"
    return f"weights {here[:8]}, not {recorded[:8]} as recorded: another machine or library version"
