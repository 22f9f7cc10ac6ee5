"""`bash`: a shell command in the workspace, bounded in time and output, with a small clean environment.

The parent's environment stays behind, because it holds keys: a command gets the variables of `PASSED`
and those of `SET`, nothing else. It runs in the session's sandbox, where there is one (docs/safety.md);
otherwise it may do what the user may do.
"""

import os
import re
import shutil
import signal
from collections.abc import Mapping

from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.protocols import ToolContext
from continualcode.core.schema import flat_schema
from continualcode.plugins.tools.process import Outcome, run_group
from continualcode.plugins.tools.refusal import Refused, attempt, call
from continualcode.plugins.tools.text import visible

DEFAULT_SECONDS = 60
MAX_SECONDS = 600
HEAD, TAIL = 2000, 4000
"""How many bytes of the beginning and of the end of the output the model sees; errors stand at the end."""

MAX_STREAMED = 100_000
"""How many characters of output the person sees as it comes."""

PASSED = (
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
)
"""Variables that a command inherits."""

SET: Mapping[str, str] = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "PYTHONUNBUFFERED": "1",  # so that output streams and keeps its order
}
"""Variables that every command gets: nobody is there to page, to answer or to look at colours."""

BASH = ToolSpec(
    name="bash",
    description="Run a shell command in the workspace.",
    confined=True,
    parameters=flat_schema(
        {"command": ("string", "the command")},
        {"timeout": ("integer", f"seconds it may take; default {DEFAULT_SECONDS}, at most {MAX_SECONDS}")},
    ),
)

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LAST_ERRORS = 10


class Bash:
    """Runs the command, shows its output as it comes, and returns its head and tail."""

    spec = BASH

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Run it to its end or to the timeout; an interrupt ends its whole process group."""
        return attempt(lambda: _run(arguments, context))

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """The command, whole; characters that would hide a part of it are spelled out."""
        return visible(arguments["command"])


def _run(arguments: Arguments, context: ToolContext) -> ToolResult:
    command: str = arguments["command"]
    seconds = arguments.get("timeout", DEFAULT_SECONDS)
    if not 1 <= seconds <= MAX_SECONDS:
        again = call("bash", command=command, timeout=max(1, min(seconds, MAX_SECONDS)))
        raise Refused(f"timeout must be from 1 to {MAX_SECONDS} seconds, not {seconds}.", f"Try {again}.")
    if "\0" in command:
        raise Refused("command holds a NUL character, which no command line can.", "Leave it out.")
    try:
        outcome = _start(command, seconds, context)
    except OSError as error:
        raise Refused(
            f"the command cannot be started: {error.strerror}.",
            "Make it shorter, or put it into a file with write and run that.",
        ) from None
    held = None if context.sandbox.missing else context.sandbox.line
    return _result(outcome, command, seconds, held)


def _start(command: str, seconds: int, context: ToolContext) -> Outcome:
    with context.sandbox.enter(_argv(command)) as argv:
        return run_group(
            argv,
            folder=context.workspace.root,
            environment={**{name: os.environ[name] for name in PASSED if name in os.environ}, **SET},
            seconds=seconds,
            cancelled=context.cancelled,
            show=_Shown(context),
            head=HEAD,
            tail=TAIL,
        )


def _argv(command: str) -> list[str]:
    """The process to start: bash without the user's start-up files, or sh where there is no bash."""
    bash = shutil.which("bash")
    return [bash, "--noprofile", "--norc", "-c", command] if bash else ["/bin/sh", "-c", command]


class _Shown:
    """Passes output on to the person, up to a bound, with nothing in it that could steer a terminal."""

    def __init__(self, context: ToolContext) -> None:
        self._context = context
        self._left = MAX_STREAMED

    def __call__(self, text: str) -> None:
        if self._left <= 0:
            return
        self._context.show(visible(plain(text[: self._left])))
        self._left -= len(text)
        if self._left <= 0:
            self._context.show("\n… (more output is not shown; the command goes on)\n")


def plain(text: str) -> str:
    """Output without colours and cursor movements, carriage returns as newlines."""
    return re.sub(r"\r+\n?", "\n", _ESCAPES.sub("", text))


def _result(outcome: Outcome, command: str, seconds: int, sandbox: str | None) -> ToolResult:
    output = visible(plain(outcome.output)).rstrip("\n")
    if outcome.stopped and outcome.ending == "exit":
        output += "\n(what it left running in the background was stopped: nothing outlives a command)"
    if outcome.ending == "exit" and outcome.code == 0:
        return ToolResult(output=output.lstrip("\n") or "(no output; exit code 0)")
    why = _why(outcome, command, seconds, sandbox)
    return ToolResult(output=output or "(no output)", success=False, feedback=why)


def _why(outcome: Outcome, command: str, seconds: int, sandbox: str | None) -> str:
    """Why it counts as failed, the end of its standard error, and what to do where that is known."""
    if outcome.ending == "cancelled":
        return f"interrupted after {outcome.seconds:.0f} s"
    if outcome.ending == "timeout":
        why = f"stopped: it was not done after {seconds} s (timeout)"
        if seconds < MAX_SECONDS:
            longer = call("bash", command=command, timeout=min(MAX_SECONDS, seconds * 5))
            why += f". If it needs longer: {longer}"
    elif outcome.code < 0:
        why = f"killed by signal {_signal(-outcome.code)}"
    else:
        why = f"exit code {outcome.code}{_hint(outcome.code)}"
    errors = [line for line in visible(plain(outcome.errors)).splitlines() if line.strip()]
    if sandbox is not None and _HELD.search("\n".join(errors)):
        why += f"; the command ran in a sandbox ({sandbox})"
    if outcome.left_out and errors:
        return why + "\nstandard error ends:\n" + "\n".join(errors[-_LAST_ERRORS:])
    # The whole of it is in the output already: the last line, which says most, is enough here.
    return f"{why}; standard error ends: {errors[-1]}" if errors else why


_HELD = re.compile(
    "Read-only file system|Permission denied|Operation not permitted|resource busy|resolve host"
    "|name resolution|Network is unreachable|/(?:home|root|run|tmp|Users)/"
)
"""What a command says that has run into the walls of its sandbox."""


def _hint(code: int) -> str:
    """What a shell means by an exit code."""
    if code > 128:
        return f" (killed by signal {_signal(code - 128)})"
    return {126: " (it cannot be executed)", 127: " (there is no such command)"}.get(code, "")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
