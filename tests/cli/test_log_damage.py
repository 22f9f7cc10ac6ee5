"""A log's damage as a user meets it: a session by `cc run`, then `cc log verify --json` and nothing else."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from continualcode.cli import main

MODEL = '''
"""The model `waits`: lists the files, or sleeps where it is asked to, and then says that it is done."""
from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.testing import ScriptedPolicy

class Waits(ScriptedPolicy):
    def sample(self, prompt_ids, *rest):
        asked = bytes(prompt_ids).rpartition(b"user: ")[2]
        if b"assistant: " not in asked[:-11]:
            call = Call(tool="bash", arguments={"command": "sleep 100"}) if b"wait" in asked else \\
                Call(tool="glob", arguments={"pattern": "*"})
            self.turns.insert(0, call)
        return super().sample(prompt_ids, *rest)

@hookimpl
def make_policy(model, options):
    return (lambda progress: Waits()) if model == "test:waits" else None
'''


class Cc:
    """`cc` as a process, with the model `waits`, and a project to work on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log.jsonl"
        (folder / "waits.py").write_text(MODEL)
        (folder / "work").mkdir()
        (folder / "work" / "a.txt").write_text("a")

    def start(self, prompt: str, *arguments: object) -> "subprocess.Popen[str]":
        """`cc run` with one prompt, every call allowed."""
        (self.folder / "script.toml").write_text(f'[[prompt]]\ntext = "{prompt}"\n')
        home = {
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "PYTHONPATH": os.pathsep.join([str(self.folder), *sys.path]),
        }
        options = ("--plugin", "waits", "--model", "test:waits", "--script", self.folder / "script.toml")
        return subprocess.Popen(
            [sys.executable, "-c", "from continualcode.cli.main import main; main()"]
            + ["run", *map(str, (*arguments, *options))],
            cwd=self.folder,
            env={**os.environ, **home},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, prompt: str, *arguments: object) -> tuple[int, str]:
        """Its exit code and all that it printed."""
        process = self.start(prompt, *arguments)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said


@pytest.fixture
def cc(tmp_path: Path) -> Cc:
    return Cc(tmp_path)


def verified(log: Path) -> tuple[int, dict[str, Any]]:
    """What `cc log verify --json` answers: the exit code and the object."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with redirect_stdout(out):
        try:
            code = main.run(["log", "verify", "--json", str(log)])
        except SystemExit as left:
            code = int(left.code or 0)
    out.seek(0)
    return code, json.loads(out.read())


Damaged = tuple[str, int, bytes]
"""What was done, the 1-based line that is wrong for it, and the file's bytes then."""


def at_every_byte(data: bytes, step: int) -> Iterator[Damaged]:
    """Bytes changed, cut off, taken out, doubled and zeroed; newlines always, other bytes every `step`-th."""
    for at in range(len(data)):
        newline = data[at : at + 1] == b"\n"
        if at % step and not newline:
            continue
        line = data.count(b"\n", 0, at) + 1
        yield "changed", line, data[:at] + bytes([data[at] ^ 1 + at % 255]) + data[at + 1 :]
        yield "cut off", line, data[:at]
        yield "fused" if newline else "taken out", line, data[:at] + data[at + 1 :]
        yield "doubled", line + newline, data[:at] + data[at : at + 1] + data[at:]
        yield "zeroed", line, data[:at] + bytes(len(data[at : at + 9])) + data[at + 9 :]


def of_every_line(data: bytes) -> Iterator[Damaged]:
    """Lines taken out, doubled and swapped."""
    lines = data.splitlines(keepends=True)
    for i, line in enumerate(lines):
        yield "line taken out", i + 1, b"".join(lines[:i] + lines[i + 1 :])
        yield "line doubled", i + 2, b"".join([*lines[: i + 1], line, *lines[i + 1 :]])
        if i + 1 < len(lines):
            yield "lines swapped", i + 1, b"".join([*lines[:i], lines[i + 1], line, *lines[i + 2 :]])


@pytest.mark.parametrize(
    "step", [61, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])], ids=["some", "every"]
)
def test_whatever_is_done_to_a_finished_log_verify_names_the_line(
    cc: Cc, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = cc.run("hello", "work", "--log", cc.log)
    assert code == 0, said
    assert verified(cc.log)[0] == 0
    data = cc.log.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(data) if byte == 10)]
    tried = 0
    for what, line, damaged in (*of_every_line(data), *at_every_byte(data, step)):
        cc.log.write_bytes(damaged)
        code, found = verified(cc.log)
        assert (code, found["ok"], found["line"]) == (1, False, line), (what, found)
        assert (found["offset"], found["good_events"]) == (starts[line - 1], max(0, line - 2)), what
        tried += 1
    cc.log.write_bytes(data)
    assert verified(cc.log)[0] == 0
    with capsys.disabled():
        print(f"\n  {tried} damages of a log of {len(data):,} bytes, each with its line named", end=" ")
    assert tried > 4 * len(data) // step


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


@pytest.fixture
def waiting(cc: Cc) -> "Iterator[subprocess.Popen[str]]":
    """A session in the middle of a tool call."""
    process = cc.start("wait", "work", "--log", cc.log)
    until(lambda: cc.log.exists() and b'"t":"tool_started"' in cc.log.read_bytes(), "the tool call")
    yield process
    process.kill()
    process.communicate()


def test_a_torn_last_line_is_said_to_be_torn_and_resume_loses_nothing_acknowledged(
    cc: Cc, waiting: "subprocess.Popen[str]"
) -> None:
    waiting.send_signal(signal.SIGKILL)
    waiting.wait()
    whole = cc.log.read_bytes()
    assert verified(cc.log)[0] == 0
    torn = whole.splitlines()[-1][:-40]
    cc.log.write_bytes(whole + torn)
    code, found = verified(cc.log)
    lines = whole.count(b"\n")
    assert (code, found["kind"], found["recoverable"]) == (1, "torn", True)
    assert (found["line"], found["offset"], found["good_events"]) == (lines + 1, len(whole), lines - 1)
    code, said = cc.run("go on", "work", "--resume", cc.log)
    assert code == 0, said
    assert cc.log.read_bytes().startswith(whole)
    assert b'"t":"session_resumed"' in cc.log.read_bytes()[len(whole) :]
    assert torn in cc.log.with_name("log.jsonl.torn").read_bytes()
    assert verified(cc.log)[0] == 0


def test_a_log_that_a_session_has_is_refused_with_the_way_on_and_that_way_works(
    cc: Cc, waiting: "subprocess.Popen[str]"
) -> None:
    code, said = cc.run("hello", "work", "--resume", cc.log)
    assert code == 1
    assert f"is held by process {waiting.pid} on " in said
    _, _, fork = said.partition("cc run NEWFOLDER --fork ")
    code, said = cc.run("hello", "new", "--fork", fork.split()[0])
    assert code == 0, said
    assert (cc.folder / "new" / "a.txt").read_text() == "a"
    assert waiting.poll() is None
