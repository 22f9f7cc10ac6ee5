"""Puts a case of a case set on the stage: its files in a folder, its calls run, and the prompt they lead to.

The calls of a case's history are run by the session's own tools, in the case's own workspace, so that what
the model sees of them is what it would have seen. Nothing is recorded here: see `teach` for the way
from a staged case into a session.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from continualcode.core.data import Arguments, Call, Message, ToolResult
from continualcode.core.errors import ConfigError, UsageError, nearest
from continualcode.core.evaluation.cases import Case, Cases, check_files
from continualcode.core.protocols import Sandbox, Tool
from continualcode.core.sandbox import NoSandbox
from continualcode.core.schema import check_arguments, normalise_arguments
from continualcode.core.transcript import Transcript
from continualcode.core.workspace import Workspace


@dataclass
class Bench:
    """What a tool may use while a case is staged: a ToolContext whose output nobody watches."""

    workspace: Workspace
    sandbox: Sandbox = NoSandbox("the commands of a case are its author's own")
    cancelled: threading.Event = field(default_factory=threading.Event)

    def show(self, text: str) -> None:
        """Not shown."""


def write_files(case: Case, folder: Path) -> None:
    """Create the case's files under `folder`. ConfigError names a path that leads out of it."""
    check_files(case, f"the case {case.prompt!r}")
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def conversation(case: Case, workspace: Workspace, tools: Mapping[str, Tool]) -> list[Message]:
    """The user's words, then each call of the history and what it gave; runs the calls.

    A call that fails is a fault of the case: ConfigError says which and why.
    """
    messages = [Message(role="user", text=case.prompt)]
    bench = Bench(workspace)
    for past in case.history:
        call = Call(tool=past.name, arguments=past.arguments)
        result = _run(call, bench, tools, case)
        workspace.note_seen(result.seen)
        extra = f"\n{result.feedback}" if result.feedback and not result.success else ""
        messages += [
            Message(role="assistant", call=call),
            Message(role="tool", text=result.output + extra),
        ]
    return messages


def prompt_messages(
    messages: Sequence[Message], transcript: Transcript, first: Callable[..., Any]
) -> list[Message]:
    """`messages` as the model would see them: what the plugins' `build_prompt` makes of them.

    `first` is `Session.first`; `transcript` gives the session's start and tools, and is not changed.
    """
    scratch = Transcript()
    scratch.started, scratch.tools = transcript.started, transcript.tools
    scratch.grammar, scratch.messages = transcript.grammar, list(messages)
    built = first("build_prompt", transcript=scratch)
    return list(built) if built is not None else list(messages)


def refuse_histories(cases: Cases, tools: Mapping[str, Tool]) -> None:
    """ConfigError where a past call, of any case, is of no such tool or its arguments do not fit."""
    for where, case in cases.each():
        for past in case.history:
            call = Call(tool=past.name, arguments=past.arguments)
            _fitting(call, tools, f"{where}: history: {past.name}")


def _fitting(call: Call, tools: Mapping[str, Tool], where: str) -> tuple[Tool, Arguments]:
    tool = tools.get(call.tool)
    if tool is None:
        raise ConfigError(f"{where}: there is no such tool; {nearest(call.tool, tools)}")
    arguments, _ = normalise_arguments(tool.spec, call.arguments)
    if (wrong := check_arguments(tool.spec, arguments)) is not None:
        raise ConfigError(f"{where}: {wrong}")
    return tool, arguments


def _run(call: Call, bench: Bench, tools: Mapping[str, Tool], case: Case) -> ToolResult:
    where = f"the case {case.prompt!r}: history: {call.tool}"
    tool, arguments = _fitting(call, tools, where)
    try:
        result = tool.run(arguments, bench)
    except UsageError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not result.success and call.tool != "bash":  # a failing command is information, not a fault
        raise ConfigError(f"{where}: it failed: {result.output.strip()[:300]}")
    return result
