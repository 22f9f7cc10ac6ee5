"""/undo and /redo: chat, weights and files are again as they were, and the log says so."""

import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import pytest

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.events import (
    ContextBuilt,
    PromptSubmitted,
    UpdateApplied,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, trainers_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.core.undo_events import (
    Rewound,
    WorkspaceRecorded,
)
from continualcode.eventlog import read
from continualcode.plugins.rewind.going import look

Listing: TypeAlias = Callable[[Path], dict[str, tuple[str, int, str]]]

NO = Answer(verdict="deny", reason="No.")
EVERYTHING = """
echo two > a.txt; chmod 600 a.txt; rm src/b.py run.sh; rmdir empty src; mkdir -p new/deep/er;
echo n > new/deep/file; ln -sf a.txt link; echo src > src; printf 'no\\nnewline' > 'odd name é'
"""


def bash(command: str) -> Call:
    return Call(tool="bash", arguments={"command": command})


def session_of(
    project: Path, *turns: Call | str, answers: tuple[Answer, ...] = (), **more: object
) -> Session:
    return open_scripted(project, turns, ui=ScriptedUI([], answers), **more)  # type: ignore[arg-type]  # its own


def said(session: Session, command: str) -> str:
    assert isinstance(session.ui, ScriptedUI)
    before = len(session.ui.messages)
    engine.command(session, command)
    return "\n".join(session.ui.messages[before:])


def context(session: Session) -> tuple[int, ...]:
    """The tokens that the model would see next, but for its place in the script."""
    return session.policy.render(session.transcript.messages, session.transcript.tools)


def test_what_bash_changed_created_and_deleted_is_taken_back(project: Path, listing: Listing) -> None:
    before = listing(project)
    session = session_of(project, bash(EVERYTHING))
    engine.ask(session, "go")
    after = listing(project)
    assert after != before
    said(session, "/undo")
    assert listing(project) == before
    said(session, "/redo")
    assert listing(project) == after


def test_context_and_weights_are_those_recorded(project: Path) -> None:
    session = session_of(project, "hello", bash("rm a.txt"), answers=(NO,))
    engine.ask(session, "first")
    tokens, weights = context(session), session.policy.weights()
    engine.ask(session, "second")
    assert session.policy.weights() != weights
    said(session, "/undo")
    assert context(session) == tokens
    assert session.policy.weights() == session.transcript.weights == weights
    assert session.transcript.pending() == ()


def test_the_tree_at_each_event_is_the_recorded_one(project: Path) -> None:
    session = session_of(project, bash("echo 1 > one"), "done", bash("echo 2 > two; rm a.txt"), "done")
    assert isinstance(session.ui, ScriptedUI)
    engine.ask(session, "first")
    engine.ask(session, "second")
    trees = [e for e in session.ui.events if isinstance(e, WorkspaceRecorded)]
    assert look(project, session.log.path) == trees[3].tree
    said(session, "/undo")
    assert look(project, session.log.path) == trees[2].tree == trees[1].tree
    said(session, "/undo")
    assert look(project, session.log.path) == trees[0].tree


def test_undoing_the_update_leaves_conversation_and_files(project: Path, listing: Listing) -> None:
    session = session_of(project, bash("false"), bash("echo 1 > one"), answers=(NO,))
    weights = session.policy.weights()
    engine.ask(session, "go")
    tokens, files = context(session), listing(project)
    said(session, "/undo update")
    assert session.policy.weights() == weights
    assert (context(session), listing(project)) == (tokens, files)
    engine.learn(session)
    assert session.policy.weights() == weights, "what was undone is not trained on again"


def test_an_undone_correction_is_not_trained_on_later(project: Path) -> None:
    session = session_of(project, bash("false"), "ok", bash("false"), answers=(NO, NO))
    engine.ask(session, "go")
    said(session, "/undo")
    engine.ask(session, "again")
    updates = [o for o in session.transcript.outcomes.values() if isinstance(o, UpdateApplied)]
    learned = [{ref.correction for ref in session.transcript.updates[u.update].examples} for u in updates]
    assert [len(corrections - {""}) for corrections in learned] == [1, 1]
    assert session.transcript.standing == (updates[1].update,)


def test_replay_of_a_log_with_undos_ends_in_the_same_weights(project: Path) -> None:
    session = session_of(project, *[bash("false"), "ok"] * 5, answers=(NO,) * 5)
    for number in range(5):
        engine.ask(session, f"go {number}")
        if number in (1, 2):
            said(session, "/undo")
    said(session, "/undo update")
    said(session, "/undo update")
    said(session, "/redo")
    session.close("quit")
    trainer_of = trainers_of(Plugins(installed=False))
    records = list(read(session.log.path, event_registry()))
    report = Replayer(ScriptedPolicy(), trainer_of).run(records)
    assert report.ok and report.updates == 5
    assert report.weights == session.policy.weights()
    first_undo = next(r for r in records if isinstance(r, Rewound))
    assert Replayer(ScriptedPolicy(), trainer_of).run(records, first_undo.seq).weights == first_undo.weights


def test_a_resumed_session_has_the_state_after_the_undo_and_can_redo(project: Path, listing: Listing) -> None:
    session = session_of(project, bash("false"), bash("echo 1 > one"), answers=(NO,))
    engine.ask(session, "go")
    tokens, weights, files = context(session), session.policy.weights(), listing(project)
    said(session, "/undo")
    undone = context(session), session.policy.weights(), listing(project)
    session.close("quit")
    again = session_of(project, log=session.log.path, resume=True)
    assert (context(again), again.policy.weights(), listing(project)) == undone
    said(again, "/redo")
    assert (context(again), again.policy.weights(), listing(project)) == (tokens, weights, files)


def test_only_the_updates_that_stand_are_trained_when_resuming(project: Path) -> None:
    class Counting(ScriptedPolicy):
        prepared = 0

        def prepare(self, *arguments: object) -> object:  # type: ignore[override]  # counts, and passes it on
            Counting.prepared += 1
            return super().prepare(*arguments)  # type: ignore[arg-type]  # passed through

    session = session_of(project, *[bash("false"), "ok"] * 3, answers=(NO,) * 3)
    for number in range(3):
        engine.ask(session, f"go {number}")
    said(session, "/undo")
    said(session, "/undo")
    session.close("quit")
    again = session_of(project, log=session.log.path, resume=True, policy=Counting())
    assert (Counting.prepared, again.policy.weights()) == (1, session.policy.weights())


def test_more_undos_than_snapshots_in_memory(project: Path) -> None:
    session = session_of(project, *[bash("false"), "ok"] * 6, answers=(NO,) * 6)
    digests = [session.policy.weights()]
    for number in range(6):
        engine.ask(session, f"go {number}")
        digests.append(session.policy.weights())
    for digest in reversed(digests[:-1]):
        assert "as recorded" in said(session, "/undo")
        assert session.policy.weights() == digest
    for digest in digests[1:]:
        said(session, "/redo")
        assert session.policy.weights() == digest


def test_the_users_git_is_untouched(project: Path, listing: Listing) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments]
        subprocess.run(command, cwd=project, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    (project / "a.txt").write_text("stashed\n")
    git("stash")
    (project / "a.txt").write_text("staged\n")
    git("add", "a.txt")

    def state() -> dict[str, str]:
        files = (p for p in sorted((project / ".git").rglob("*")) if p.is_file())
        return {str(p): sha256(p.read_bytes()).hexdigest() + str(p.stat().st_mtime_ns) for p in files}

    before, files = state(), listing(project)
    session = session_of(project, bash("echo 3 > a.txt; rm run.sh"))
    engine.ask(session, "go")
    said(session, "/undo")
    assert listing(project) == files
    said(session, "/redo")
    assert state() == before


def test_files_that_only_the_user_changed_stay(project: Path) -> None:
    session = session_of(project, bash("echo 2 > a.txt"))
    engine.ask(session, "go")
    (project / "mine.txt").write_text("mine\n")
    (project / "run.sh").write_text("mine\n")
    said(session, "/undo")
    assert (project / "a.txt").read_text() == "one\n"
    assert (project / "mine.txt").read_text() == (project / "run.sh").read_text() == "mine\n"


def test_a_file_changed_by_hand_too_is_named_and_comes_back_with_redo(project: Path) -> None:
    session = session_of(project, bash("echo 2 > a.txt"))
    engine.ask(session, "go")
    (project / "a.txt").write_text("by hand\n")
    assert "a.txt" in said(session, "/undo")
    assert (project / "a.txt").read_text() == "one\n"
    assert isinstance(session.ui, ScriptedUI)
    rewound = next(e for e in session.ui.events if isinstance(e, Rewound))
    assert rewound.overwritten == ("a.txt",)
    said(session, "/redo")
    assert (project / "a.txt").read_text() == "by hand\n"


def test_a_users_file_in_a_folder_that_a_tool_made_stays(project: Path, listing: Listing) -> None:
    session = session_of(project, bash("mkdir made; echo 1 > made/one"))
    engine.ask(session, "go")
    (project / "made" / "mine.txt").write_text("mine\n")
    assert "made (" in said(session, "/undo")
    assert listing(project / "made").keys() == {"mine.txt"}


def test_a_big_ignored_folder_is_left_alone_and_a_small_one_is_not(project: Path) -> None:
    (project / ".gitignore").write_text("big/\nsmall/\n")
    for name, count in (("big", 1500), ("small", 3)):
        (project / name).mkdir()
        for number in range(count):
            (project / name / str(number)).touch()
    session = session_of(project, bash("rm big/1 small/1; echo x >> big/2; echo 2 > a.txt"))
    engine.ask(session, "go")
    said(session, "/undo")
    assert (project / "small" / "1").exists() and (project / "a.txt").read_text() == "one\n"
    assert not (project / "big" / "1").exists() and (project / "big" / "2").read_text() == "x\n"


def test_a_folder_that_bash_made_read_only_is_put_back(project: Path, listing: Listing) -> None:
    before = listing(project)
    session = session_of(project, bash("rm src/b.py; chmod 555 src; chmod 000 empty"))
    engine.ask(session, "go")
    said(session, "/undo")
    assert listing(project) == before


def test_a_link_put_in_the_way_is_not_followed(project: Path, tmp_path: Path, listing: Listing) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    session = session_of(project, bash("rm src/b.py"))
    engine.ask(session, "go")
    (project / "src").rmdir()
    (project / "src").symlink_to(outside)
    assert "src/b.py" in said(session, "/undo")
    assert listing(outside) == {}


def test_a_tool_that_only_reads_takes_no_snapshot(project: Path) -> None:
    session = session_of(project, Call(tool="read", arguments={"path": "a.txt"}))
    engine.ask(session, "go")
    assert isinstance(session.ui, ScriptedUI)
    assert not any(isinstance(e, WorkspaceRecorded) for e in session.ui.events)


def test_undo_goes_back_over_clear(project: Path) -> None:
    session = session_of(project, "hello")
    engine.ask(session, "hi")
    tokens = context(session)
    engine.command(session, "/clear")
    assert "/clear" in said(session, "/undo")
    assert context(session) == tokens


def test_nothing_to_undo_and_nothing_to_redo_are_said(project: Path) -> None:
    session = session_of(project, "hello", bash("false"))
    assert "nothing to undo" in said(session, "/undo")
    assert "no update to undo" in said(session, "/undo update")
    assert "nothing to redo" in said(session, "/redo")
    assert "turn or update" in said(session, "/undo everything")
    engine.ask(session, "hi")
    said(session, "/undo")
    engine.ask(session, "something else")
    assert "nothing to redo" in said(session, "/redo")


def test_rules_are_not_taken_back(project: Path) -> None:
    session = session_of(project, bash("true"), answers=(Answer(verdict="allow", always=True),))
    engine.ask(session, "go")
    said(session, "/undo")
    assert len(session.transcript.rules) == 1


def test_an_interrupted_undo_changes_nothing(project: Path, listing: Listing) -> None:
    session = session_of(project, *[bash("echo 1 >> one")] * 4, answers=(NO, NO, NO))
    engine.ask(session, "go")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    session.policy.reset = interrupt  # type: ignore[method-assign]  # Ctrl-C while the weights are made again
    weights, count, files = session.policy.weights(), session.log.next_seq, listing(project)
    assert "everything is as it was" in said(session, "/undo")
    assert (session.policy.weights(), session.log.next_seq, listing(project)) == (weights, count, files)


@pytest.mark.parametrize("snapshots", [True, False])
def test_the_running_fold_is_the_fold_of_the_log(project: Path, snapshots: bool) -> None:
    session = session_of(project, *[bash("echo 1 >> one"), "ok"] * 3, answers=(NO,))
    for line in ("a", "/undo", "b", "c", "/clear", "/undo", "/undo", "/redo"):
        engine.command(session, line) if line.startswith("/") else engine.ask(session, line)
    folded = fold(read(session.log.path, event_registry()))
    for name in ("messages", "weights", "standing", "steps", "undone", "seen", "file_changes"):
        assert getattr(folded, name) == getattr(session.transcript, name), name
    assert any(isinstance(e, ContextBuilt | PromptSubmitted) for e in session.ui.events)  # type: ignore[attr-defined]  # a ScriptedUI
