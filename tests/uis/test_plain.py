"""The UI `plain` as a person uses it: in a real pseudo-terminal, on a scripted model."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pexpect
import pytest

CALLS: Sequence[object] = [
    {"name": "read", "arguments": {"path": "a.txt"}},
    {"name": "write", "arguments": {"path": "a.txt", "content": "one\n2\nthree\n"}},
    {"name": "reply", "arguments": {"text": "Line 2 says 2 now."}},
]
QUESTION = r"\[\?\] "


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\nthree\n")
    return folder


def start(project: Path, calls: Sequence[object] = CALLS, **environment: str) -> "pexpect.spawn[str]":
    script = project.parent / "calls.jsonl"
    script.write_text("".join(f"{json.dumps(c) if isinstance(c, dict) else c}\n" for c in calls))
    log = project.parent / "log.jsonl"
    child: pexpect.spawn[str] = pexpect.spawn(
        str(Path(sys.executable).parent / "continualcode"),
        ["run", str(project), "--ui", "plain", "--model", f"scripted:{script}", "--log", str(log)],
        env=os.environ | {"NO_COLOR": "1", "XDG_CONFIG_HOME": str(project.parent)} | environment,
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 160),
    )
    child.expect("/help shows the commands")
    child.expect("> ")
    child.sendline("go")
    child.expect(QUESTION)
    return child


def end(child: "pexpect.spawn[str]") -> None:
    child.expect("> ")
    child.sendline("/quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def records(project: Path, kind: str) -> list[dict[str, object]]:
    lines = (project.parent / "log.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["t"] == kind]


def test_a_denial_asks_for_the_words_that_the_model_learns_from(project: Path) -> None:
    child = start(project)
    child.sendline("y")
    child.expect("-two")
    child.expect(QUESTION)
    child.sendline("n")
    child.expect("The model learns from this: ")
    child.sendline("use edit_lines")
    child.expect("denied: use edit_lines")
    child.expect("learned in")
    child.expect("Line 2 says 2 now")
    end(child)
    assert [c["feedback"] for c in records(project, "correction_given")] == ["use edit_lines"]
    assert (project / "a.txt").read_text() == "one\ntwo\nthree\n"


def test_an_empty_correction_is_asked_for_again(project: Path) -> None:
    child = start(project)
    child.sendline("n")
    child.expect("learns from this: ")
    child.sendline("")
    child.expect("teaches nothing")
    child.expect(QUESTION)
    child.sendline("n read b.txt — größer ✓")
    child.expect("denied: read b.txt — größer ✓")
    child.sendline("y")
    end(child)


def test_the_question_says_what_always_would_grant(project: Path) -> None:
    child = start(project)
    assert "[a]lways: every read" in (child.before or "")
    child.sendline("a")
    child.expect(r'\[a\]lways: write path="a.txt"')
    child.expect(QUESTION)
    child.sendline("s")
    end(child)
    (rule,) = (r["rule"] for r in records(project, "rule_added"))
    assert rule == {"tool": "read", "arguments": {}, "path": None, "prefix": []}
    assert not records(project, "correction_given")


def test_arguments_edited_in_the_editor_run_as_edited(project: Path) -> None:
    editor = project.parent / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a.txt/b.txt/" "$1"\n')
    editor.chmod(0o755)
    (project / "b.txt").write_text("another\n")
    child = start(project, EDITOR=str(editor))
    child.sendline("e")
    child.expect("edited: read b.txt")
    child.expect(QUESTION)
    child.sendline("s")
    end(child)
    assert [d["arguments"] for d in records(project, "decision_made")][:1] == [{"path": "b.txt"}]


@pytest.mark.parametrize(
    ("editor", "said"),
    [("false", "the editor failed"), ("true", "Nothing was changed"), ("printf '{' >", "not JSON")],
)
def test_an_editor_that_leaves_nothing_useful_asks_again(project: Path, editor: str, said: str) -> None:
    child = start(project, EDITOR=editor, VISUAL="")
    child.sendline("e")
    child.expect(said)
    if said == "not JSON":
        child.sendline("n")
    child.expect(QUESTION)
    child.sendeof()
    child.expect(pexpect.EOF)


def test_a_note_joins_the_next_correction(project: Path) -> None:
    child = start(project)
    child.sendline("!prefer small edits")
    child.expect("Noted")
    child.expect(QUESTION)
    child.sendline("n list the files first")
    child.expect("denied")
    child.expect(QUESTION)
    child.sendline("s")
    end(child)
    (correction,) = records(project, "correction_given")
    assert correction["feedback"] == "list the files first\n\nprefer small edits"


def test_ctrl_c_twice_at_a_question_stops_the_turn_and_keeps_the_session(project: Path) -> None:
    child = start(project)
    child.sendintr()
    child.expect("again to stop")
    child.expect(QUESTION)
    child.sendintr()
    child.expect("The session goes on")
    child.expect("> ")
    child.sendline("/tools")
    child.expect("edit_lines")
    end(child)
    assert records(project, "turn_interrupted")


def test_ctrl_c_stops_a_command_and_the_session_goes_on(project: Path) -> None:
    child = start(project, [{"name": "bash", "arguments": {"command": "echo started; sleep 60; echo never"}}])
    child.sendline("y")
    child.expect("│ started")
    child.sendintr()
    child.expect(["The session goes on", "interrupted"])
    end(child)


def test_end_of_input_at_a_question_is_no_decision_and_ends_the_session(project: Path) -> None:
    child = start(project)
    child.sendeof()
    child.expect(pexpect.EOF)
    assert not records(project, "decision_made")
    assert records(project, "turn_interrupted")
    assert records(project, "session_ended")


def test_an_unknown_command_names_the_nearest(project: Path) -> None:
    child = start(project)
    child.sendline("s")
    child.expect(QUESTION)
    child.sendline("s")
    child.expect("> ")
    child.sendline("/metrix")
    child.expect("did you mean 'metrics'")
    end(child)
