"""`cc run --ui json`: a program at both ends of the pipes, no terminal anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WRITE = {"name": "write", "arguments": {"path": "b.txt", "content": "b\n"}}
BASH = {"name": "bash", "arguments": {"command": "echo made > c.txt"}}
REPLY = {"name": "reply", "arguments": {"text": "Done."}}


def start(folder: Path, calls: list[Any], *options: str, ui: str = "json") -> "subprocess.Popen[str]":
    (folder / "p").mkdir()
    script = folder / "calls.jsonl"
    script.write_text("".join(json.dumps(call) + "\n" for call in calls))
    return subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "continualcode"), "run", str(folder / "p"), "--ui", ui),
            *("--model", f"scripted:{script}", "--log", str(folder / "log.jsonl"), *options),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CI": "1"},
        start_new_session=True,
    )


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_decision_on_stdin_lets_a_call_run(tmp_path: Path) -> None:
    child = start(tmp_path, [WRITE, REPLY], "--prompt", "go")
    assert child.stdin and child.stdout
    seen: list[dict[str, Any]] = []
    for line in child.stdout:
        seen.append(json.loads(line))
        if seen[-1]["t"] == "question":
            print(
                json.dumps({"call_id": seen[-1]["call_id"], "verdict": "allow"}), file=child.stdin, flush=True
            )
    assert child.wait(60) == 0
    (question,) = [line for line in seen if line["t"] == "question"]
    assert question["call"] == {"tool": "write", "arguments": WRITE["arguments"]}
    assert question["preview"].endswith("+b") and question["always"] == 'write path="b.txt"'
    recorded = lines((tmp_path / "log.jsonl").read_text())
    facts = [r["t"] for r in recorded if r["t"] != "log"]
    assert [line["t"] for line in seen if line["t"] in facts] == facts
    assert (tmp_path / "p" / "b.txt").read_text() == "b\n"
    child.communicate()


def test_without_anybody_a_call_is_denied_and_the_turn_goes_on(tmp_path: Path) -> None:
    out, _ = (child := start(tmp_path, [WRITE, REPLY], "--prompt", "go")).communicate("", timeout=60)
    assert child.returncode == 0
    (decision,) = [e for e in lines(out) if e["t"] == "decision_made" and e["verdict"] == "deny"]
    assert decision["by"] == "json:end-of-input" and decision["train"] is False
    assert not (tmp_path / "p" / "b.txt").exists()


def test_so_it_is_in_a_plain_pipe(tmp_path: Path) -> None:
    child = start(tmp_path, [WRITE, REPLY], "--prompt", "go", ui="plain")
    out, _ = child.communicate("", timeout=60)
    assert child.returncode == 0
    assert "Nobody is there to approve this call" in out and "Done." in out
    recorded = lines((tmp_path / "log.jsonl").read_text())
    (decision,) = [e for e in recorded if e["t"] == "decision_made" and e["verdict"] == "deny"]
    assert decision["by"] == "plain:end-of-input" and decision["train"] is False
    assert not (tmp_path / "p" / "b.txt").exists()


def test_prompts_come_on_stdin_and_what_is_not_understood_is_said(tmp_path: Path) -> None:
    given = '{"prompt": "go"}\nnonsense\n{"verdict": "allow"}\n{"call_id": "x", "verdcit": "allow"}\n'
    out, _ = start(tmp_path, [WRITE, REPLY]).communicate(given, timeout=60)
    said = [e["text"] for e in lines(out) if e["t"] == "message"]
    assert len(said) == 3 and "not understood" in said[0] and '"call_id" and "verdict"' in said[1]


def test_yes_asks_about_nothing_in_the_sandbox(tmp_path: Path) -> None:
    child = start(tmp_path, [WRITE, BASH, REPLY], "--prompt", "go", "--yes")
    out, err = child.communicate("", timeout=60)
    if "needs a sandbox, and there is none" in err:
        pytest.skip(err)
    assert child.returncode == 0
    assert {e["by"] for e in lines(out) if e["t"] == "decision_made"} == {"mode:sandbox", "session"}
    assert (tmp_path / "p" / "c.txt").read_text() == "made\n"


def test_yes_without_a_sandbox_is_refused(tmp_path: Path) -> None:
    child = start(tmp_path, [BASH], "--prompt", "go", "--yes", "--set", "sandbox.name=none")
    _, err = child.communicate("", timeout=60)
    assert child.returncode == 2 and "needs a sandbox, and there is none" in err


def test_a_budget_that_is_used_up_is_exit_code_3_and_is_said(tmp_path: Path) -> None:
    child = start(tmp_path, [BASH, BASH], "--prompt", "go", "--set", "budget.turns=1")
    out, _ = child.communicate("", timeout=60)
    assert child.returncode == 3
    (reached,) = [line for line in lines(out) if line["t"] == "budget_reached"]
    assert (reached["budget"], reached["limit"], reached["used"]) == ("turns", 1, 1)
    assert any("--set budget.turns=2" in line["text"] for line in lines(out) if line["t"] == "message")
