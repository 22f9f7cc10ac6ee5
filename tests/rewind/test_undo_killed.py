"""kill -9 at every step of an undo and of a redo: afterwards it has happened, or it has not."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import verify

Files: TypeAlias = dict[str, tuple[str, int, str]]
Listing: TypeAlias = Callable[[Path], Files]

STEPS = ("rename", "unlink", "mkdir", "rmdir", "symlink", "fsync", "fdatasync", "pwrite", "fchmod")
"""The system calls at which the process is killed, right before it makes them."""


class State(NamedTuple):
    tokens: tuple[int, ...]
    weights: str
    files: Files


def state(session: Session, listing: Listing) -> State:
    messages, tools = session.transcript.messages, session.transcript.tools
    return State(
        session.policy.render(messages, tools), session.policy.weights(), listing(session.workspace.root)
    )


def killed_at(number: int, project: Path, log: Path, command: str) -> bool:
    """Run `command` in another process, killed before its `number`-th step; False: it had no so many."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
    try:
        session = open_scripted(project, log=log, resume=True)
        made = 0

        def wrapped(name: str) -> Callable[..., Any]:
            real = getattr(os, name)

            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal made
                made += 1
                if made == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **named)

            return call

        for name in STEPS:
            setattr(os, name, wrapped(name))
        engine.command(session, command)
    finally:
        os._exit(0)


@pytest.mark.parametrize("command", ["/undo", "/redo"])
def test_killed_at_every_step(project_in_memory: Path, listing: Listing, command: str) -> None:
    project, folder = project_in_memory, project_in_memory.parent
    bash = "echo 2 > a.txt; rm -r src; mkdir new; echo n > new/f; ln -sf a.txt link; chmod 600 run.sh"
    turns = [Call(tool="bash", arguments={"command": c}) for c in ("false", bash)]
    ui = ScriptedUI([], [Answer(verdict="deny", reason="No.")])
    session = open_scripted(project, turns, ui=ui, log=folder / "log.jsonl")
    undone = state(session, listing)
    engine.ask(session, "go")
    done = state(session, listing)
    if command == "/redo":
        engine.command(session, "/undo")
        undone, done = done, state(session, listing)
    session.close("quit")
    kept = folder.parent / "kept"
    shutil.copytree(folder, kept, symlinks=True)
    number, happened = 1, set[bool]()
    while killed_at(number, project, session.log.path, command):
        again = open_scripted(project, log=session.log.path, resume=True)
        came_to = state(again, listing)
        assert came_to in (done, undone), f"killed before step {number}"
        happened.add(came_to == undone)
        again.close("quit")
        assert verify(session.log.path).ok
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)
        number += 1
    assert happened == {True, False} and number > 15
