"""The UI `terminal`: the prompt's keys, what Ctrl-C stops, and typing while the model loads."""

import json
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Start, Terminal

PROMPT = r"(?m)^>$"
SLOW = {"model": "slow:{}", "arguments": ["--plugin", "slow_model"]}


def leave(screen: "Terminal") -> None:
    screen.sees(PROMPT)
    screen.keys("/quit\r")
    assert screen.ends() == 0


def said(screen: "Terminal") -> list[str]:
    return [e["text"] for e in screen.records("prompt_submitted")]


# -- Typing -------------------------------------------------------------------------------------------


def test_alt_enter_and_a_backslash_begin_a_new_line(terminal: "Start") -> None:
    screen = terminal(["ok"])
    screen.keys("one\x1b\rtwo\\\rthree\r")
    screen.sees(r"> one\n… two\n… three")
    leave(screen)
    assert said(screen) == ["one\ntwo\nthree"]


def test_pasted_lines_stay_lines_and_are_not_sent(terminal: "Start") -> None:
    screen = terminal(["ok"])
    screen.keys("\x1b[200~def f():\n    return 1\n/quit\n\x1b[201~")
    screen.sees("/quit")
    assert not screen.records("prompt_submitted")
    screen.keys(" 日本語 🎉\r")
    leave(screen)
    assert said(screen) == ["def f():\n    return 1\n/quit\n 日本語 🎉"]


def test_up_and_ctrl_r_find_what_was_said_in_an_earlier_session(terminal: "Start") -> None:
    screen = terminal(["ok", "ok"])
    screen.keys("first thing\r")
    screen.sees(r"(?m)^ok$[\s\S]*^>$")
    screen.keys("second thing\r")
    leave(screen)
    screen.log.unlink()
    screen = terminal(["ok", "ok"])
    screen.keys("\x12first")
    screen.sees(r"first thing")
    screen.keys("\r\r")
    screen.sees("ok")
    screen.sees(PROMPT)
    screen.keys("\x1b[A\x1b[A\x1b[A\r")  # first thing again, /quit, second thing
    leave(screen)
    assert said(screen) == ["first thing", "second thing"]


def test_slash_offers_the_commands_of_the_session(terminal: "Start") -> None:
    screen = terminal([])
    screen.keys("/me")
    screen.sees(r"/metrics +what was done")
    screen.keys("\t\r")
    screen.sees(r"> /metrics\s*$|> /metrics\n")
    screen.keys("\r")
    screen.sees(r"samples +0")
    leave(screen)


def test_at_and_tab_offer_the_files_of_the_project(terminal: "Start") -> None:
    screen = terminal(["ok"])
    (screen.project / "src").mkdir()
    (screen.project / "src" / "größe.py").write_text("x = 1\n")
    screen.keys("fix @größ")
    screen.sees(r"src/größe\.py")
    screen.keys("\t\r and a.t")
    screen.keys("\t")
    screen.sees(r"and a\.txt")
    screen.keys("\r\r")
    leave(screen)
    assert said(screen) == ["fix @src/größe.py and a.txt"]


def test_ctrl_x_ctrl_e_writes_in_the_editor(terminal: "Start", tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "from the editor" > "$1"\n')
    editor.chmod(0o755)
    screen = terminal(["ok"], EDITOR=str(editor))
    screen.keys("x\x18\x05")
    screen.sees("> from the editor")
    leave(screen)
    assert said(screen) == ["from the editor"]


def test_ctrl_c_empties_the_line_and_then_says_how_to_leave(terminal: "Start") -> None:
    screen = terminal([])
    screen.keys("half a thou")
    screen.sees("half a thou")
    screen.keys("\x03")
    screen.sees(PROMPT)
    screen.keys("\x03")
    screen.sees("Ctrl-D or /quit ends the session")
    leave(screen)


def test_help_is_in_groups_and_an_unknown_command_names_the_nearest(terminal: "Start") -> None:
    screen = terminal([])
    screen.keys("/help\r")
    shown = screen.sees(r"/quit +end the session")
    assert re.search(r"learning\n +/metrics[\s\S]*permissions\n +/rules[\s\S]*this session\n +/model", shown)
    assert "Ctrl-X Ctrl-E" in shown
    screen.keys("/metrix\r")
    screen.sees("did you mean 'metrics'")
    leave(screen)


# -- Stopping -----------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_model_and_the_session_goes_on(terminal: "Start") -> None:
    screen = terminal(["word " * 200, "still here"], **SLOW)
    screen.keys("go\r")
    screen.sees(r"│ .*word word")
    screen.keys("\x03")
    screen.sees("Stopped. The session goes on")
    screen.keys("again\r")
    screen.sees("still here")
    leave(screen)
    assert len(screen.records("sample_taken")) == 1
    assert len(screen.records("turn_interrupted")) == 1


def test_ctrl_c_stops_a_command_and_records_what_it_had_said(terminal: "Start") -> None:
    call = {"name": "bash", "arguments": {"command": "echo started; sleep 60; echo never"}}
    screen = terminal([call, "not reached"])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("y")
    screen.sees("│ started")
    screen.keys("\x03")
    screen.sees("Stopped. The session goes on")
    leave(screen)
    (ran,) = screen.records("tool_ran")
    assert "started" in ran["output"]
    assert not ran["success"]


def test_what_is_typed_while_the_model_works_waits_for_the_next_prompt(terminal: "Start") -> None:
    screen = terminal(["word " * 20, "second answer"], **SLOW)
    screen.keys("go\r")
    screen.sees("│ word")
    screen.keys("next thing")
    screen.sees(r"(?m)^> next thing")
    screen.keys("\r")
    screen.sees("second answer")
    leave(screen)
    assert said(screen) == ["go", "next thing"]


def test_what_a_session_was_not_able_to_learn_is_learned_when_it_goes_on(terminal: "Start") -> None:
    """Without Enter pressed; what was typed meanwhile stands in the line."""
    calls = [{"name": "write", "arguments": {"path": "b.txt", "content": "x\n"}}] * 2
    untaught = ["--set", "session.train=false"]
    first = terminal(calls, model=SLOW["model"], arguments=[*SLOW["arguments"], *untaught])
    first.keys("Fix line 2\r")
    first.sees(r"y allow")
    first.keys("n")
    first.sees("What should it do instead")
    first.keys("Use edit_lines.\r")
    first.sees(r"y allow")
    assert first.child.pid is not None
    first.child.kill(signal.SIGKILL)
    first.child.close()
    again = [*SLOW["arguments"], "--resume", str(first.log)]
    second = terminal(["x"], SLOW_LOADING="2", prompt=PROMPT, model=SLOW["model"], arguments=again)
    second.keys("and then")
    second.sees(r"divergence \d[\s\S]*\n> and then")
    assert second.records("update_applied") and len(second.records("prompt_submitted")) == 1
    second.keys("\x15/quit\r")
    assert second.ends() == 0


def test_a_session_that_was_killed_goes_on_where_it_was(terminal: "Start") -> None:
    write = {"name": "write", "arguments": {"path": "b.txt", "content": "x\n"}}
    screen = terminal([write, write])
    screen.keys("go\r")
    screen.sees("y allow")
    screen.keys("n")
    screen.sees("instead")
    screen.keys("use edit\r")
    screen.sees(r"divergence[\s\S]*y allow")
    screen.child.kill(signal.SIGKILL)
    screen.ends()
    again = terminal(["back"], arguments=["--resume", str(screen.log)])
    again.sees(r"resumed\s+after 1 update[\s\S]*\n> go\n● write b.txt .*✗\n[\s\S]*came to no answer")
    again.keys("where were we\r")
    again.sees("back")
    leave(again)
    assert [r["t"] for r in map(json.loads, again.log.read_text().splitlines())][-1] == "session_ended"


# -- While the model loads ----------------------------------------------------------------------------


def test_the_first_prompt_is_typed_while_the_model_loads(terminal: "Start") -> None:
    screen = terminal(["an answer"], SLOW_LOADING="2", prompt=PROMPT, **SLOW)
    shown = screen.sees(r"loading weights \d+% … you can type already")
    assert "slow" not in shown
    assert not screen.log.exists()
    screen.keys("hello\r")
    screen.sees("an answer")
    leave(screen)
    assert said(screen) == ["hello"]


def test_ctrl_c_gives_back_what_waits_for_the_model(terminal: "Start") -> None:
    screen = terminal(["an answer"], SLOW_LOADING="2", prompt=PROMPT, **SLOW)
    screen.keys("hello\r")
    screen.sees(r"loading weights .*Ctrl-C")
    screen.keys("\x03")
    screen.sees(r"(?m)^> hello$[\s\S]*you can type already")
    screen.keys(" world\r")
    screen.sees("an answer")
    leave(screen)
    assert said(screen) == ["hello world"]


def test_leaving_while_the_model_loads_leaves_nothing_behind(terminal: "Start") -> None:
    screen = terminal([], SLOW_LOADING="30", prompt=PROMPT, **SLOW)
    began = time.monotonic()
    screen.keys("\x04")
    assert screen.ends() == 0
    assert time.monotonic() - began < 8
    assert not screen.log.exists()


@pytest.mark.parametrize("typed", ["", "half a prompt", "a whole one\r"])
def test_a_model_that_cannot_be_had_is_said_at_the_prompt(terminal: "Start", typed: str) -> None:
    screen = terminal(
        [], model="broken:", arguments=["--plugin", "slow_model"], SLOW_LOADING="1", prompt=PROMPT
    )
    screen.keys(typed)
    screen.sees("Error: broken: this model cannot be had; choose another with --model")
    assert screen.ends() == 1
    assert "Traceback" not in screen.text
    if typed:
        assert typed.strip() in (screen.folder / "data/continualcode/history/prompts").read_text()


def test_slash_mode_changes_what_runs_unasked_and_the_status_line(terminal: "Start") -> None:
    screen = terminal(arguments=["--set", "sandbox.name=none"])
    screen.sees("approvals: ask · no sandbox")
    screen.keys("/mode sandbox\r")
    screen.sees("needs a sandbox, and there is none")
    screen.keys("/mode reads\r")
    screen.sees(r"approvals: reads · no sandbox")
    screen.keys("go\r")
    screen.sees(r"allowed by mode:reads[\s\S]*● write[\s\S]*y allow")
    screen.keys("y")
    leave(screen)


def test_slash_model_goes_on_with_another_one_and_comes_back_where_it_cannot_be_had(
    terminal: "Start", tmp_path: Path
) -> None:
    screen = terminal(["first"], **SLOW)
    screen.keys("/model broken:\r")
    screen.sees(r"this model cannot be had[\s\S]*Back to the session before\.[\s\S]*resumed[\s\S]*\n>\n")
    (tmp_path / "other.jsonl").write_text("the other speaks\n")
    screen.keys(f"/model slow:{tmp_path}/other.jsonl\r")
    screen.sees(r"trains[\s\S]*commands:[\s\S]*\n>\n")
    screen.keys("go\r")
    screen.sees("the other speaks")
    leave(screen)
    assert [ended["reason"] for ended in screen.records("session_ended")] == ["another model"] * 2
