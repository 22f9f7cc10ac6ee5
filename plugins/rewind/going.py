"""Undo, redo and going back to an event: weights, then the fact, then the files.

The weights are moved first, in memory only, as that is what can fail or be interrupted; then `rewound` is
durable, which is when it has happened; then the files follow, and `workspace_restored` says that they did.
A crash before the record leaves everything as it was; after it, `finish` does the rest at the next start.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from continualcode.core.errors import UsageError
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.core.undo_events import (
    Rewound,
    UpdateReverted,
    WorkspaceRestored,
)
from continualcode.plugins.rewind.objects import Objects
from continualcode.plugins.rewind.restore import make_so, reverted
from continualcode.plugins.rewind.scan import Scan, TooBig

How: TypeAlias = Literal["undo", "redo", "resume"]


def snapshot_store(log: Path) -> Objects:
    """Where the snapshots of sessions whose logs lie in this folder are: shared, so a fork finds them."""
    return Objects(log.parent / "snapshots")


def look(root: Path, log: Path) -> str:
    """The digest of the workspace `root` as it is now, recorded in the store. Raises TooBig."""
    store = snapshot_store(log)
    own = (str(log.absolute()), str(store.folder.absolute()))
    return Scan(root, store, own).tree()


def planned(
    transcript: Transcript, root: Path, log: Path, to: int, how: How, *, snapshots: Path | None = None
) -> Rewound:
    """Going back to the event `to`, as a record: all is decided and in the store, nothing has moved yet.

    The files are those of the folder `root`; what it takes to put them back is found beside `log`, or beside
    the log `snapshots` (of a fork's parent).
    """
    mark = transcript.mark(to)
    rewound = Rewound(to=to, how=how, weights=mark.weights)
    changes = [change for change in transcript.file_changes if change.seq > to or change.after is None]
    if not changes:
        return rewound
    try:
        before = look(root, log)
    except TooBig as error:
        return msgspec.structs.replace(rewound, left={str(root): str(error)})
    store = _store(log, snapshots)
    goal = reverted(store, before, changes)
    store.sync()
    return msgspec.structs.replace(
        rewound, before=before, after=goal.tree, overwritten=goal.overwritten, left=goal.kept
    )


def filled(
    transcript: Transcript, root: Path, log: Path, to: int, *, snapshots: Path | None = None
) -> Rewound | None:
    """A new, empty folder `root` filled with the files as they were at the event `to`, as a record.

    None where it is not empty, or where no tool ever changed anything, so that nothing was recorded.
    """
    done = [change for change in transcript.file_changes if change.seq <= to]
    tree = (done[-1].after or done[-1].before) if done else ""
    tree = tree or next((change.before for change in transcript.file_changes if change.seq > to), "")
    if not tree or any(root.iterdir()):
        return None
    store = _store(log, snapshots)
    before = store.put_tree({})
    store.sync()
    return Rewound(to=to, how="resume", weights=transcript.mark(to).weights, before=before, after=tree)


def _store(log: Path, snapshots: Path | None) -> Objects:
    store = snapshot_store(log)
    if snapshots is not None:
        store.adopt(snapshot_store(snapshots))
    return store


def finish(rewound: Rewound, root: Path, log: Path) -> WorkspaceRestored:
    """Put the files where the record says that they are; done twice, it is done once."""
    assert rewound.before is not None and rewound.after is not None  # otherwise there is nothing to do
    changed, failed = make_so(root, snapshot_store(log), rewound.before, rewound.after)
    return WorkspaceRestored(rewound=rewound.id, changed=changed, failed=failed, cause=rewound.id)


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
    name = {"turn": f"the turn “{_short(step.text)}”", "clear": "/clear", "compaction": "the compaction"}[
        step.kind
    ]
    return " ".join(part for part in (f"Undone: {name}.", said, "/redo takes this back.") if part)


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


def go_back(session: Session, to: int, how: How) -> str:
    """Make the state that of the event `to` in every respect; says what that changed."""
    transcript, root, log = session.transcript, session.workspace.root, session.log.path
    stood = transcript.standing
    rewound = planned(transcript, root, log, to, how)
    session.lineage.go(stood, transcript.mark(to).standing)
    rewound = session.append(rewound)
    session.workspace.seen = dict(transcript.seen)
    said: list[str] = []
    if moved := len(stood) - len(transcript.standing):
        count = f"{abs(moved)} update{'s' if abs(moved) > 1 else ''}"
        said.append(f"{_weights(session, rewound.weights)} ({count} {'back' if moved > 0 else 'on'})")
    if rewound.before is not None:
        said.append(in_words(rewound, session.append(finish(rewound, root, log))))
    elif rewound.left:
        said.append(f"the files stay as they are: {'; '.join(rewound.left.values())}")
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in said)


def in_words(rewound: Rewound, restored: WorkspaceRestored) -> str:
    """What became of the files, for a person."""
    paths = "1 file or folder" if restored.changed == 1 else f"{restored.changed} files and folders"
    said = f"{paths} put back" if restored.changed else "no file had to change"
    if rewound.overwritten:
        said += (
            f"; changed by hand since, and put back too: {', '.join(rewound.overwritten)}"
            " (the opposite, /redo or /undo, brings your version again)"
        )
    if left := rewound.left | restored.failed:
        said += "; left as they are: " + ", ".join(f"{path} ({why})" for path, why in left.items())
    return said


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 50 else f"{line[:49]}…"


def _weights(session: Session, recorded: str) -> str:
    """The digest that the policy came to, and whether it is the recorded one."""
    here = session.policy.weights()
    if here == recorded:
        return f"weights {here[:8]}, as recorded"
    return f"weights {here[:8]}, not {recorded[:8]} as recorded: another machine or library version"
