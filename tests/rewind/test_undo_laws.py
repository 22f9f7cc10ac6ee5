"""Whatever is done, undone, redone, edited by hand, resumed and replayed: the state is one that was."""

import tempfile
from pathlib import Path
from typing import NamedTuple, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.events import event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, trainers_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import read, verify

COMMANDS = (
    "echo $RANDOM > a.txt",
    "rm -f a.txt b.txt",
    "mkdir -p d/e && echo x >> d/e/f",
    "rm -rf d",
    "ln -sf a.txt l; chmod 700 a.txt || true",
    "rm -rf l; mkdir l; echo > l/x",
    "rm -rf l; echo file > l",
    "true",
)
MINE = "mine.txt"
"""A file that no tool touches."""

Files: TypeAlias = dict[str, tuple[str, int, str]]


class Seen(NamedTuple):
    """What can be observed of a session. `waiting` are the corrections that are to be trained on."""

    tokens: tuple[int, ...]
    weights: str
    waiting: int
    files: Files


class State(NamedTuple):
    """What is seen, and what undoing it, step by step, must come to."""

    seen: Seen
    before: tuple["State", ...]


def listing(root: Path) -> Files:
    found: Files = {}
    for path in sorted(root.rglob("*")):
        if path.name != MINE:
            status = path.lstat()
            kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
            content = str(path.readlink()) if kind == "link" else path.read_text() if kind == "file" else ""
            found[str(path.relative_to(root))] = (kind, 0 if kind == "link" else status.st_mode, content)
    return found


class Undo(RuleBasedStateMachine):
    """The model is a stack of what was seen; an undo of an update is a step on it that only weights take."""

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a folder: what is tried here is the logic, not the disk.
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.root = Path(self.folder.name) / "p"
        self.root.mkdir()
        (self.root / "a.txt").write_text("first\n")
        self.ui = ScriptedUI()
        self.policy = ScriptedPolicy()
        self.session: Session = open_scripted(self.root, ui=self.ui, policy=self.policy)
        self.state = State(self.look(), ())
        self.ahead: list[State] = []
        self.edits = 0
        self.digests: dict[tuple[str, ...], str] = {(): self.session.policy.weights()}

    def look(self) -> Seen:
        transcript = self.session.transcript
        tokens = self.policy.render(transcript.messages, transcript.tools)
        return Seen(tokens, self.policy.weights(), len(transcript.pending()), listing(self.root))

    def did(self) -> None:
        self.state = State(self.look(), (*self.state.before, self.state))
        self.ahead.clear()

    @rule(command=st.sampled_from(COMMANDS), denials=st.integers(0, 2))
    def turn(self, command: str, denials: int) -> None:
        calls: list[Call | str] = [Call(tool="bash", arguments={"command": "false"})] * denials
        self.policy.turns += [*calls, Call(tool="bash", arguments={"command": command}), "done"]
        self.ui.answers = [Answer(verdict="deny", reason="No.")] * denials
        engine.ask(self.session, command)
        self.did()

    @rule()
    def clear(self) -> None:
        engine.command(self.session, "/clear")
        self.did()

    @rule()
    def edit_by_hand(self) -> None:
        self.edits += 1
        (self.root / MINE).write_text(str(self.edits))

    @precondition(lambda self: self.state.before)
    @rule()
    def undo(self) -> None:
        engine.command(self.session, "/undo")
        self.ahead.append(self.state)
        self.state = self.state.before[-1]

    @precondition(lambda self: self.session.transcript.standing)
    @rule()
    def undo_update(self) -> None:
        transcript = self.session.transcript
        before = transcript.updates[transcript.standing[-1]].weights
        engine.command(self.session, "/undo update")
        self.ahead.append(self.state)
        self.state = self.state._replace(seen=self.state.seen._replace(weights=before))

    @precondition(lambda self: self.ahead)
    @rule()
    def redo(self) -> None:
        engine.command(self.session, "/redo")
        self.state = self.ahead.pop()

    @precondition(lambda self: not self.ahead)
    @rule()
    def redo_nothing(self) -> None:
        engine.command(self.session, "/redo")

    @rule()
    def resume(self) -> None:
        self.session.close("quit")
        self.policy = ScriptedPolicy()
        log = self.session.log.path
        self.session = open_scripted(self.root, ui=self.ui, policy=self.policy, log=log, resume=True)

    @invariant()
    def the_state_is_the_one_that_was(self) -> None:
        assert self.look() == self.state.seen

    @invariant()
    def weights_are_a_function_of_the_updates_that_stand(self) -> None:
        transcript = self.session.transcript
        assert self.digests.setdefault(transcript.standing, self.policy.weights()) == self.policy.weights()
        assert transcript.weights == self.policy.weights()

    @invariant()
    def what_the_user_wrote_by_hand_stays(self) -> None:
        mine = self.root / MINE
        assert (mine.read_text() if mine.exists() else "0") == str(self.edits)

    def teardown(self) -> None:
        self.session.close("quit")
        assert verify(self.session.log.path).ok
        trainer_of = trainers_of(Plugins(installed=False))
        report = Replayer(ScriptedPolicy(), trainer_of).run(read(self.session.log.path, event_registry()))
        assert report.ok and report.weights == self.state.seen.weights
        self.folder.cleanup()


TestUndo = Undo.TestCase
TestUndo.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
