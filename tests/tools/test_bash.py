"""`bash`: bounded in time and output, streamed, with nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import ToolResult
from continualcode.core.workspace import RunContext
from continualcode.plugins.tools.process import Bounded
from continualcode.plugins.tools.shell import Bash, plain

Do = Callable[..., ToolResult]


def alive(root: Path) -> list[str]:
    """The command lines of processes that work in `root`, zombies left out."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cwd").readlink() == root:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it is gone, not ours, or a zombie
            pass
    return found


def test_output_comes_back_in_order(do: Do) -> None:
    assert (
        do("bash", command="echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three").output
        == "one\ntwo\nthree"
    )


def test_output_is_streamed_as_it_comes(do: Do, streamed: list[str], context: RunContext) -> None:
    times: list[float] = []
    timed = RunContext(context.workspace, show_text=lambda text: times.append(time.monotonic()))
    Bash().run({"command": "echo one; sleep 0.4; echo two"}, timed)
    assert len(times) == 2
    assert times[1] - times[0] > 0.3
    do("bash", command="printf 'caf\\303'; sleep 0.1; printf '\\251\\n'")
    assert "".join(streamed) == "café\n"


def test_it_runs_in_the_workspace(root: Path, do: Do) -> None:
    assert do("bash", command="pwd -P").output == str(root)


def test_a_command_without_output_says_so(do: Do) -> None:
    result = do("bash", command="true")
    assert (result.success, result.output) == (True, "(no output; exit code 0)")


def test_a_failure_gives_the_exit_code_and_the_last_of_standard_error(do: Do) -> None:
    result = do("bash", command="echo out; echo why >&2; exit 3")
    assert not result.success
    assert sorted(result.output.split("\n")) == ["out", "why"]
    assert result.feedback == "exit code 3; standard error ends: why"


def test_a_failure_of_a_long_output_gives_the_end_of_standard_error(do: Do) -> None:
    result = do("bash", command="for i in $(seq 20); do echo err $i >&2; done; seq 100000; exit 1")
    assert result.feedback == "exit code 1\nstandard error ends:\n" + "\n".join(
        f"err {n}" for n in range(11, 21)
    )


def test_an_unknown_command_is_named(do: Do) -> None:
    result = do("bash", command="pyhton x.py")
    assert "pyhton: command not found" in result.output
    assert (result.feedback or "").startswith("exit code 127 (there is no such command)")


def test_a_crash_names_the_signal(do: Do) -> None:
    assert (do("bash", command="kill -SEGV $$").feedback or "").startswith("killed by signal SIGSEGV")


def test_huge_output_keeps_its_head_and_tail_in_little_memory(do: Do, streamed: list[str]) -> None:
    result = do("bash", command="seq 3000000")
    assert len(result.output) < 7000
    assert result.output.startswith("1\n2\n3\n")
    assert result.output.endswith("\n2999999\n3000000")
    assert "bytes left out) …\n" in result.output
    assert sum(map(len, streamed)) < 110_000
    assert "more output is not shown" in streamed[-1]


def test_a_command_has_no_input_and_no_terminal(do: Do) -> None:
    assert do("bash", command="cat; echo done").output == "done"
    assert (
        do("bash", command="test -t 1 || echo none; (echo < /dev/tty) 2>/dev/null || echo no tty").output
        == "none\nno tty"
    )


def test_the_environment_holds_no_secrets(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "BASH_ENV", "LD_PRELOAD"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("LANG", "C.UTF-8")
    names = {row.partition("=")[0] for row in do("bash", command="env").output.split("\n")}
    passed = {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
    }
    made = {
        "TERM",
        "NO_COLOR",
        "PAGER",
        "GIT_PAGER",
        "GIT_TERMINAL_PROMPT",
        "PYTHONUNBUFFERED",
        "CONTINUALCODE_COMMAND",
    }
    assert names <= passed | made | {"PWD", "SHLVL", "_", "OLDPWD"}
    assert {"PATH", "LANG", "TERM"} <= names


def test_output_cannot_steer_the_terminal(do: Do, streamed: list[str]) -> None:
    result = do("bash", command=r"printf '\033[31mred\033[0m \033]0;title\007x\a\r\ny\033'")
    assert result.output == "red x\\x07\ny\\x1b"
    assert "\x1b" not in "".join(streamed)


def test_progress_bars_become_lines() -> None:
    assert plain("10%\r20%\r\ndone\r\n") == "10%\n20%\ndone\n"


# -- Ending --------------------------------------------------------------------------------------------

GRANDCHILDREN = "(sleep 98 & (sleep 99 & wait) & wait) & sleep 97"


def test_a_timeout_ends_grandchildren_too(root: Path, do: Do) -> None:
    began = time.monotonic()
    result = do("bash", command=f"echo started; {GRANDCHILDREN}", timeout=1)
    assert time.monotonic() - began < 5
    assert not result.success
    assert result.output == "started"
    assert (result.feedback or "").startswith(
        "stopped: it was not done after 1 s (timeout). If it needs longer: bash("
    )
    assert "timeout=5)" in (result.feedback or "")
    assert alive(root) == []


def test_who_ignores_being_asked_is_made_to_end(root: Path, do: Do) -> None:
    began = time.monotonic()
    stubborn = "trap '' TERM; while true; do sleep 0.1; done"
    do("bash", command=f"({stubborn}) & {stubborn}", timeout=1)
    assert time.monotonic() - began < 6
    assert alive(root) == []


def test_who_is_asked_can_clean_up(root: Path, do: Do) -> None:
    do("bash", command="trap 'echo cleaned > cleaned; exit' TERM; sleep 50 & wait", timeout=1)
    assert (root / "cleaned").read_text() == "cleaned\n"


def test_who_left_the_group_is_found(root: Path, do: Do) -> None:
    do("bash", command="setsid sleep 96 & setsid nohup sleep 95 & sleep 94", timeout=1)
    assert alive(root) == []


def test_an_interrupt_from_another_thread_ends_it(root: Path, do: Do, context: RunContext) -> None:
    timer = threading.Timer(0.5, context.cancelled.set)
    timer.start()
    began = time.monotonic()
    result = do("bash", command=f"echo started; {GRANDCHILDREN}", timeout=60)
    timer.join()
    assert time.monotonic() - began < 5
    assert (result.success, result.output) == (False, "started")
    assert (result.feedback or "").startswith("interrupted after")
    assert alive(root) == []


def test_a_keyboard_interrupt_ends_it_and_goes_on(root: Path, do: Do) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        do("bash", command=GRANDCHILDREN, timeout=60)
    timer.join()
    assert time.monotonic() - began < 5
    assert alive(root) == []


def test_a_second_keyboard_interrupt_does_not_leave_it_behind(root: Path, do: Do) -> None:
    main = threading.main_thread().ident
    assert main is not None
    timers = [threading.Timer(after, signal.pthread_kill, (main, signal.SIGINT)) for after in (0.5, 0.8)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        do("bash", command="trap '' TERM; while true; do sleep 0.1; done", timeout=60)
    for timer in timers:
        timer.join()
    assert alive(root) == []


def test_a_background_child_does_not_hold_it_up_and_does_not_outlive_it(root: Path, do: Do) -> None:
    began = time.monotonic()
    result = do("bash", command="sleep 93 & echo started")
    assert time.monotonic() - began < 3
    assert result.success
    assert result.output.startswith("started\n(what it left running in the background was stopped")
    assert alive(root) == []


def test_a_command_that_closes_its_output_is_waited_for(root: Path, do: Do) -> None:
    assert do("bash", command="exec >&- 2>&-; sleep 0.5; touch done").success
    assert (root / "done").exists()


def test_our_own_processes_are_left_alone(root: Path, do: Do) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], cwd=root, stdin=subprocess.PIPE)
    try:
        do("bash", command="sleep 92", timeout=1)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


@pytest.mark.parametrize(("timeout", "instead"), [(0, 1), (-5, 1), (601, 600)])
def test_a_timeout_out_of_range_is_refused_with_one_that_is_not(do: Do, timeout: int, instead: int) -> None:
    result = do("bash", command="true", timeout=timeout)
    assert result.output == f"error: timeout must be from 1 to 600 seconds, not {timeout}."
    assert result.feedback == f'Try bash(command="true", timeout={instead}).'


def test_a_command_that_cannot_be_started_says_why(do: Do) -> None:
    result = do("bash", command="#" * 200_000)
    assert result.output == "error: the command cannot be started: Argument list too long."
    assert (
        do("bash", command="a\0b").output
        == "error: command holds a NUL character, which no command line can."
    )


def test_no_descriptor_is_left_open(do: Do) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        do("bash", command="echo x; sleep 91 &")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_preview_is_the_whole_command_with_nothing_hidden(preview: Callable[..., str]) -> None:
    command = "echo " + "x" * 500 + "\nrm -rf build\r\x1b[2K"
    assert preview("bash", command=command) == command[:-5] + "\\x0d\\x1b[2K"


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 20), st.integers(1, 20))
def test_bounded_keeps_the_first_and_the_last_bytes(pieces: list[bytes], head: int, tail: int) -> None:
    bounded, data = Bounded(head, tail), b"".join(pieces)
    for piece in pieces:
        bounded.add(piece)
    assert bounded.left_out == max(0, len(data) - head - tail)
    if not bounded.left_out:
        assert bounded.text(lambda n: "") == data.decode(errors="replace")
