"""Where a session begins: anew, where another one ended, at an event of it, or beside it.

Going on at an event (`--resume LOG@SEQ`) appends `rewound` to that log, and the session then begins like
any other that goes on. A fork (`--fork LOG@SEQ`) is a log of its own with the same first events.
"""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from continualcode.cli.run import configuration, log_folder, new_log
from continualcode.cli.sessions import meant
from continualcode.core.errors import UsageError
from continualcode.core.events import SessionResumed, event_registry
from continualcode.core.session import Session
from continualcode.core.sessions import discard, is_held
from continualcode.core.sessions import fork as fork_log
from continualcode.core.transcript import Transcript, fold
from continualcode.eventlog import LogWriter, Redactor, read
from continualcode.plugins.rewind import filled, planned


class Beginning(NamedTuple):
    """The folder to work in; the log to begin, or to go on with; the recorded model of one to go on with."""

    workspace: Path
    log: Path | None
    resume: bool
    model: dict[str, Any] | None


def beginning(workspace: Path | None, *, resume: str | None, fork: str | None, log: Path | None) -> Beginning:
    """What the flags of `cc run` come to. Raises UsageError where they do not fit together."""
    if resume is not None and fork is not None:
        raise UsageError("--resume goes on with a session and --fork begins one: give one of them")
    if resume is not None and log is not None:
        raise UsageError(f"--resume goes on with that log: --log {log} cannot be given as well")
    if workspace is None and resume and Path(resume).is_dir():
        workspace, resume = Path(resume), ""  # `cc run --resume FOLDER`: the last session of that folder
    if fork is None and workspace is not None and not workspace.is_dir():
        raise UsageError(f"{workspace} is not a folder: name the project to work in")
    if fork is not None:
        return _forked(workspace, fork, log)
    if resume is None:
        return Beginning(workspace or Path(), log, False, None)
    folder = log_folder(configuration(workspace or Path()))
    path, seq = meant(resume, folder, workspace)
    if seq is not None:
        _go_back(path, seq, workspace)
    transcript, model = _folded(path)
    return Beginning(workspace or _place(path, transcript), path, True, model)


def next_one(session: Session) -> Beginning | None:
    """What a session that ended by /resume or /model hands over to; None: it just ended."""
    then = session.successor
    if then is None:
        return None
    if then.log is not None:
        return beginning(None, resume=then.log, fork=None, log=None)
    return Beginning(session.workspace.root, None, False, then.model)


def _go_back(path: Path, seq: int, workspace: Path | None) -> None:
    registry = event_registry()
    with LogWriter.open(path, registry, redact=Redactor.from_environment()) as writer:
        transcript, _ = _folded(path)
        root, was = workspace or _place(path, transcript), Path(transcript.workspace)
        if was.is_dir() and was.resolve() != root.resolve():
            raise UsageError(
                f"{path} was recorded in {was}, and going back changes files there; "
                f"`cc run {workspace} --fork …` begins a session in another folder"
            )
        transcript.mark(seq)  # refuses an event that is not there
        if seq < writer.next_seq - 1:
            writer.append(planned(transcript, root, path, seq, "resume"))


def _forked(workspace: Path | None, text: str, log: Path | None) -> Beginning:
    config = configuration(workspace if workspace is not None and workspace.is_dir() else Path())
    source, seq = meant(text, log_folder(config), None)
    parent, model = _folded(source)
    at = seq if seq is not None else max(parent.marks)
    parent.mark(at)
    root = workspace or _place(source, parent)
    same = Path(parent.workspace).resolve() == root.resolve()
    if same and is_held(source):
        raise UsageError(
            f"{source} is open in another session, which works in {root}. Give the fork a folder of its own, "
            f"which is filled with the files as they were: cc run NEWFOLDER --fork {text}"
        )
    out = log or new_log(config, root, source.parent)
    fork_log(source, at, out)
    with discarded_if_it_fails(out):
        root.mkdir(parents=True, exist_ok=True)
        registry = event_registry()
        with LogWriter.open(out, registry, redact=Redactor.from_environment()) as writer:
            rewound = (
                planned(parent, root, out, at, "resume", snapshots=source)
                if same
                else filled(parent, root, out, at, snapshots=source)
            )
            if rewound is not None and (rewound.before is not None or rewound.left):
                writer.append(rewound)
    return Beginning(root, out, True, model)


@contextlib.contextmanager
def discarded_if_it_fails(log: Path | None) -> Generator[None]:
    """A new fork's log goes again where its session could not be opened in here; None: nothing does."""
    try:
        yield
    except Exception:
        if log is not None:
            discard(log)
        raise


def _folded(path: Path) -> tuple[Transcript, dict[str, Any]]:
    """The transcript of a session's log, and the model that it was last opened with."""
    records = list(read(path, event_registry()))
    transcript = fold(records)
    if transcript.started is None:
        raise UsageError(f"{path} holds no session_started: it is no session's log")
    last = next((r for r in reversed(records) if isinstance(r, SessionResumed)), transcript.started)
    model: dict[str, Any] = last.config["model"]
    return transcript, model


def _place(path: Path, transcript: Transcript) -> Path:
    root = Path(transcript.workspace)
    if not root.is_dir():
        raise UsageError(
            f"{path} was recorded in {root}, which is no folder any more: name one, cc run FOLDER"
        )
    return root
