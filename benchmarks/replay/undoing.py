"""Undo on a real model: files, context and weights after going to an event equal those recorded at it.

A small project under git, with staged, unstaged and stashed changes. The model is asked to run commands; the
user edits each call of bash into one that changes, creates and deletes files, and denies any other call. Both
are learned from. What stood after each turn is told independently of the product: by content and modes
of all files, token ids of the conversation, digests of weights and optimiser.
"""

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from recording import SETTINGS, command, flags, records  # beside this file

from continualcode.core import engine
from continualcode.core.config import load
from continualcode.core.plugins import Plugins
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI
from continualcode.core.transcript import fold

COMMANDS = (
    "echo two >> a.txt && mkdir -p new/deep && echo x > new/deep/x.txt && rm run.sh",
    "chmod 600 src/b.py && rm -r docs && ln -s a.txt link && printf 'three\\n' > a.txt",
    "mv src moved && rm -r new && head -c 1000 /dev/zero > blob && rmdir empty",
)
"""What the user makes of the model's calls."""


class State(NamedTuple):
    """What stands: digests of the files, of the context's tokens, of weights and of the optimiser's state."""

    files: str
    context: str
    weights: str
    optimiser: str


def listing(root: Path) -> str:
    """Digest of all files below `root`, git's own left out: kinds, modes, contents, targets of links."""
    found: list[tuple[str, str, int, str]] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            status = path.lstat()
            if path.is_symlink():
                row = ("link", 0, os.readlink(path))
            elif path.is_dir():
                row = ("folder", stat.S_IMODE(status.st_mode), "")
            else:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                row = ("file", stat.S_IMODE(status.st_mode), content)
            found.append((str(path.relative_to(root)), *row))
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def gits(root: Path) -> str:
    """Digest of every file in `.git`, byte for byte."""
    files = sorted(path for path in (root / ".git").rglob("*") if path.is_file())
    content = [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def git(root: Path, *arguments: str) -> None:
    """Run git as a user would."""
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def project(root: Path) -> Path:
    """Files, a script, an empty folder; a commit, a stash, something staged, something not, a new file."""
    for folder in ("src", "docs", "empty"):
        (root / folder).mkdir(parents=True)
    (root / "a.txt").write_text("one\n")
    (root / "src" / "b.py").write_text("print(1)\n")
    (root / "docs" / "c.md").write_text("# C\n")
    (root / "run.sh").write_text("true\n")
    (root / "run.sh").chmod(0o755)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    (root / "docs" / "c.md").write_text("# stashed\n")
    git(root, "stash")
    (root / "src" / "b.py").write_text("print(2)\n")
    git(root, "add", "src/b.py")
    (root / "docs" / "c.md").write_text("# not staged\n")
    (root / "unknown.txt").write_text("of the user\n")
    return root


class Editing(ScriptedUI):
    """Makes the next of COMMANDS of each call of bash, and denies any other call."""

    def __init__(self) -> None:
        super().__init__()
        self.left = list(COMMANDS)

    def review(self, question: Question, session: Session) -> Answer:
        """See the class."""
        if question.call.tool != "bash":
            return Answer(verdict="deny", reason="Use bash for that.")
        arguments = {**question.call.arguments, "command": self.left.pop(0)}
        return Answer(verdict="allow", arguments=arguments)


def state(session: Session) -> State:
    """Of a session, now."""
    policy, transcript = session.policy, session.transcript
    ids = policy.render(transcript.messages, transcript.tools) if transcript.messages else ()
    return State(
        files=listing(session.workspace.root),
        context=hashlib.sha256(repr(tuple(ids)).encode()).hexdigest(),
        weights=policy.weights(),
        optimiser=policy.optimiser_state(),
    )


def undo(out: Path, model: str) -> dict[str, Any]:
    """The whole check; what it compared, and how many of these were equal."""
    shutil.rmtree(out, ignore_errors=True)
    root, log = project(out / "project"), out / "log.jsonl"
    users = gits(root)
    sets = [setting for setting in SETTINGS if not setting.startswith("session.")]
    config = load(project=out, sets=sets, over={"model": {"name": model}})
    plugins, ui = Plugins(config.plugins), Editing()
    session = open_session(config, plugins, workspace=root, log=log, ui=ui)
    states, seqs = [state(session)], [records(log)[-1].seq]
    asked = 0
    while ui.left and asked < 12:
        asked += 1  # in turn a call that is denied, so that the weights move, and one that changes files
        shell = f"Run the shell command `ls -l {'./' * asked}`."
        engine.ask(session, "Show me the file a.txt." if asked % 2 else shell)
        states.append(state(session))
        seqs.append(records(log)[-1].seq)
    if ui.left:
        raise RuntimeError(f"the model did not call bash: see {log}")
    checks: dict[str, bool] = {}
    for at in reversed(range(asked)):
        engine.command(session, "/undo")
        checks[f"/undo to {seqs[at]}"] = state(session) == states[at]
    for at in range(1, asked + 1):
        engine.command(session, "/redo")
        checks[f"/redo to {seqs[at]}"] = state(session) == states[at]
    middle = (asked + 1) // 2
    session.close("quit")
    (out / "nothing.toml").write_text('[[prompt]]\ntext = "/rules"\n')
    line = ["--script", str(out / "nothing.toml"), *flags(sets)]
    for name, arguments, place in (
        ("--resume", ["--resume", f"{log}@{seqs[middle]}"], root),
        (
            "--fork",
            [str(out / "forked"), "--fork", f"{log}@{seqs[1]}", "--log", str(out / "fork.jsonl")],
            out / "forked",
        ),
    ):
        (out / "forked").mkdir(exist_ok=True)
        ran = subprocess.run(command("run", *arguments, *line), capture_output=True, text=True)
        (out / f"{name.strip('-')}.txt").write_text(ran.stdout + ran.stderr)
        wanted = states[middle] if name == "--resume" else states[1]
        seq = seqs[middle] if name == "--resume" else seqs[1]
        checks[f"cc run {name} @{seq}: files"] = listing(place) == wanted.files
        after = fold(records(log if name == "--resume" else out / "fork.jsonl"))
        checks[f"cc run {name} @{seq}: weights"] = after.weights == wanted.weights
    checks["the user's .git, byte for byte"] = gits(root) == users
    moved = len({one.weights for one in states}) - 1
    return {
        "turns": asked,
        "updates_that_moved": moved,
        "equal": sum(checks.values()),
        "of": len(checks),
        "checks": checks,
    }
