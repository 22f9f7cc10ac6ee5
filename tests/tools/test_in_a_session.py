"""The tools in a whole session, on a scripted model: what they report is in the log, and read back."""

from pathlib import Path

from continualcode.core.data import Call
from continualcode.core.engine import run
from continualcode.core.events import ToolRan
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.workspace import digest

READ = Call(tool="read", arguments={"path": "a.txt"})
WRITE = Call(tool="write", arguments={"path": "a.txt", "content": "new\n"})
REPLY = Call(tool="reply", arguments={"text": "done"})


def results(ui: ScriptedUI) -> list[ToolRan]:
    return [event for event in ui.events if isinstance(event, ToolRan)]


def test_the_failure_and_its_advice_reach_the_model(root: Path) -> None:
    (root / "a.txt").write_text("old\n")
    ui = ScriptedUI(["change a.txt"])
    session = open_scripted(root, [WRITE, READ, WRITE, REPLY], ui=ui)
    run(session)
    said = [message.text for message in session.transcript.messages if message.role == "tool"]
    session.close("done")
    assert [ran.success for ran in results(ui)] == [False, True, True, True]
    assert 'read(path="a.txt")' in said[0]
    assert "   1| old" in said[1]
    assert (root / "a.txt").read_text() == "new\n"
    change = results(ui)[2].changes[0]
    assert (change.path, change.before, change.after) == ("a.txt", digest(b"old\n"), digest(b"new\n"))


def test_the_person_is_shown_the_diff_before_it_happens(root: Path) -> None:
    (root / "a.txt").write_text("old\n")
    ui = ScriptedUI(["change a.txt"])
    session = open_scripted(root, [READ, WRITE, REPLY], ui=ui)
    run(session)
    session.close("done")
    assert ui.questions[-1].preview == "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-old\n+new"


def test_a_resumed_session_knows_what_was_read(root: Path, tmp_path: Path) -> None:
    (root / "a.txt").write_text("old\n")
    log = tmp_path / "log.jsonl"
    session = open_scripted(root, [READ, REPLY], ui=ScriptedUI(["look at a.txt"]), log=log)
    run(session)
    session.close("done")
    ui = ScriptedUI(["change a.txt"])
    again = open_scripted(root, ui=ui, policy=ScriptedPolicy([WRITE, REPLY]), log=log, resume=True)
    run(again)
    again.close("done")
    assert [ran.success for ran in results(ui)] == [True, True]
    assert (root / "a.txt").read_text() == "new\n"


def test_bash_streams_to_the_person(root: Path) -> None:
    ui = ScriptedUI(["run it"])
    session = open_scripted(root, [Call(tool="bash", arguments={"command": "echo hello"}), REPLY], ui=ui)
    run(session)
    session.close("done")
    assert "hello\n" in ui.streamed
