"""A case set that drives a session: its rules are the user, its training prompts are what is typed."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.errors import UsageError
from continualcode.core.events import ToolRan
from continualcode.core.session import Session
from continualcode.core.testing import open_scripted
from continualcode.plugins.uis.case_script import CaseUI
from continualcode.plugins.uis.script import load

CASES = """
[[rule]]
name = "edit-not-write"
correction = "Use edit_lines; don't overwrite the whole file."
violates = { tool = "write", path_exists = true }
obeys = { tool = "edit_lines" }
[[rule.train]]
prompt = "test_calc.py fails. Fix the wrong assertion."
files = { "test_calc.py" = "assert 1 == 2\\n" }
history = [ { name = "read", arguments = { path = "test_calc.py" } } ]
[[rule.train]]
prompt = "Fix notes.md."
files = { "notes.md" = "2019\\n" }
[[rule.held_out]]
prompt = "Never asked."

[[control]]
prompt = "Never asked either."
"""
WRITE = Call(tool="write", arguments={"path": "test_calc.py", "content": "x"})
EDIT = Call(
    tool="edit_lines",
    arguments={"path": "test_calc.py", "start_line": 1, "end_line": 1, "content": "assert 1 == 1"},
)
NEW = Call(tool="write", arguments={"path": "new.md", "content": "x"})


def opened(folder: Path, *turns: Call | str) -> Session:
    file = folder / "cases.toml"
    file.write_text(CASES)
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", "anchors": 0.0})
    session = open_scripted(folder / "empty", turns, config=config)
    session.ui = load(file)
    return session


def test_every_training_prompt_is_a_turn_on_its_own_files_decided_by_its_rule(tmp_path: Path) -> None:
    session = opened(tmp_path, WRITE, EDIT, "Done.", NEW, "Done.")
    assert isinstance(session.ui, CaseUI)
    engine.run(session)
    transcript = session.transcript
    (correction,) = transcript.corrections.values()
    assert (correction.by, correction.feedback) == (
        "script:edit-not-write",
        "Use edit_lines; don't overwrite the whole file.",
    )
    assert len(transcript.standing) == 1, "learned from like any"
    assert [d.verdict for d in transcript.decisions.values()] == ["deny", "allow", "allow"]
    assert all(isinstance(ran, ToolRan) and ran.success for ran in transcript.results.values())
    root = session.workspace.root
    assert {path.name for path in root.iterdir()} == {"notes.md", "new.md"}, "the last case's files"


def test_earlier_calls_of_a_case_have_run(tmp_path: Path) -> None:
    session = opened(tmp_path, EDIT, "Done.", "Done.")
    engine.run(session)
    sampled = session.transcript.sampled(next(iter(session.transcript.samples)))
    assert any("assert 1 == 2" in message.text for message in sampled.messages)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    session = opened(tmp_path, WRITE)
    (session.workspace.root / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="is not empty: the cases write files of their own"):
        engine.run(session)
    assert (session.workspace.root / "mine.txt").read_text() == "precious"
