"""Who decided what, from the log alone: by key, by rule, by mode, by a plugin; edited, and why."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from continualcode import hookimpl
from continualcode.cli.log import log as log_command
from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.decisions import Decided, decided, in_words
from continualcode.core.events import event_registry
from continualcode.core.review import Answer, Ruling
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.core.transcript import Transcript
from continualcode.eventlog import read

READ = Call(tool="read", arguments={"path": "a.txt"})
WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "b\n"})
LIST = Call(tool="bash", arguments={"command": "ls"})
REPLY = Call(tool="reply", arguments={"text": "done"})


class Guard:
    """Denies everything that lists."""

    @hookimpl
    def review_tool_call(self, call: Call, transcript: Transcript) -> Ruling | None:
        return Ruling(verdict="deny", reason="no listing here") if call.tool == "bash" else None


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A session in which each way of deciding was used once; closed."""
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.txt").write_text("one\n")
    session = open_scripted(
        tmp_path / "p",
        [WRITE, WRITE, READ, READ, LIST, REPLY, READ, WRITE, REPLY],
        ui=ScriptedUI(
            ["go", "/mode plan", "on"],
            [
                Answer(verdict="deny", reason="smaller\nsteps"),
                Answer(verdict="allow", arguments={"path": "c.txt", "content": "c\n"}, train=False),
                Answer(verdict="allow", always=True),
            ],
        ),
        plugins={"guard": Guard()},
        config=Config(model={"name": "test:policy"}, sandbox={"name": "none"}),
    )
    engine.run(session)
    session.close("quit")
    return session.log.path


def test_every_decision_says_who_and_on_what_it_rests(log: Path) -> None:
    found = decided(read(log, event_registry()))
    (rule,) = {one.by for one in found if one.by.startswith("rule:")}
    key = rule.removeprefix("rule:")
    assert [(one.verdict, one.tool, one.by) for one in found] == [
        ("deny", "write", "user"),
        ("allow", "write", "user"),
        ("allow", "read", "user"),
        ("allow", "read", rule),
        ("deny", "bash", "plugin:guard"),
        ("allow", "read", "mode:plan"),
        ("deny", "write", "mode:plan"),
    ]
    always, by_rule, by_mode = found[2].because, found[3].because, found[5].because
    assert always == (f"from here on: rule {key}, always allow every read",)
    assert by_rule[0].startswith(f"rule {key}: always allow every read (event ")
    assert by_rule[0].endswith(", by user)")
    assert by_mode[0].startswith("mode plan (event ") and ", by user)" in by_mode[0]
    assert found[4].reason == "no listing here"
    assert found[6].reason is not None and "plan mode" in found[6].reason


def test_original_and_edited_arguments_the_reason_and_what_came_of_it(log: Path) -> None:
    denied, edited, *_ = decided(read(log, event_registry()))
    assert (denied.arguments, denied.reason, denied.ran) == (WRITE.arguments, "smaller\nsteps", None)
    assert edited.arguments == WRITE.arguments
    assert edited.edited == {"path": "c.txt", "content": "c\n"}
    assert (edited.train, edited.ran) == (False, True)


def test_cc_log_decisions_shows_and_gives_the_same(log: Path) -> None:
    shown = CliRunner().invoke(log_command, ["decisions", str(log)]).output
    assert 'write(path="b.txt", content="b\\n")' in shown
    assert 'edited: write(path="c.txt"' in shown
    assert "reason: smaller\\nsteps" in shown
    assert "nothing is learned from it" in shown
    rows = CliRunner().invoke(log_command, ["decisions", str(log), "--json"]).output.splitlines()
    assert [json.loads(row)["by"] for row in rows] == [one.by for one in decided(read(log, event_registry()))]


def test_what_a_model_proposes_cannot_hide_in_the_lines() -> None:
    one = Decided(
        seq=1,
        ts="2026-11-25T10:00:00Z",
        call_id="c",
        tool="bash",
        arguments={"command": "ls\x1b[8m; rm -rf /\u202e\n"},
        verdict="deny",
        by="user",
        reason="no\x1b[2J",
    )
    text = "\n".join(in_words([one]))
    assert "rm -rf /" in text and "\\u001b[8m" in text
    assert text.replace("\n", "").isprintable()
