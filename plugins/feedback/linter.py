"""What a linter finds in a file after the model changed it, and did not find before.

Off by default. `[feedback] linter = true` uses ruff for .py; or, with one finding a line that begins with
`path:line`, and exit code 0 where there is nothing to say:

    [feedback.linter]
    commands = { ".py" = "ruff check --quiet {path}", ".sh" = "shellcheck -f gcc {path}" }
    seconds = 10

A command is asked about before its first run, and runs from then on by a rule of the log: configuration comes
with a project, so it is not the user's word. It runs as any command of the tool `bash`, so whatever stands in
front of that (a sandbox, a veto) stands in front of this. It runs twice a change: before, to know what the
model did not do, and after. Findings are the same if they are but for line and column.
"""

import re
import shlex
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple, cast

import msgspec

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.data import Call, Slots, ToolResult
from continualcode.core.errors import ConfigError, UsageError
from continualcode.core.events import CorrectionGiven, Rule, RuleAdded, ToolRan, ToolStarted
from continualcode.core.protocols import FeedbackType, Sandbox
from continualcode.core.review import Question, rule_id, strongest
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.core.workspace import Workspace
from continualcode.eventlog import Record

RUFF = "ruff check --no-cache --no-fix --quiet --output-format=concise {path}"
LEFT_OUT = "bytes left out"
"""What `bash` writes where it cut an output: what was found before is then not known."""


class LinterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[feedback.linter]`: by suffix, the command that prints a file's findings; and how long it may take."""

    commands: dict[str, str] = msgspec.field(default_factory=lambda: {".py": RUFF})
    seconds: int = 10


class Finding(NamedTuple):
    """A line of the linter's, and what it is about whatever the line number."""

    line: str
    about: str


class Before(NamedTuple):
    """What was found before the call ran; None: not known."""

    call_id: str
    path: str
    findings: Counter[str] | None


@dataclass
class Linter:
    """Trains on the changing sample, with the new findings as the environment."""

    options: LinterOptions | None
    kind: str = "linter"
    _before: Before | None = None
    _refused: set[str] = field(default_factory=set[str])
    _said: set[str] = field(default_factory=set[str])

    def notice(self, record: Record, transcript: Transcript) -> None:
        """Nothing: it needs the session, and so gives its corrections as an observer."""

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The linter's words, under a line that says whose they are."""
        return Slots(feedback=correction.feedback, environment=correction.environment)

    def observe(self, record: Record, transcript: Transcript, session: Session) -> Sequence[Record]:
        """Look at a file before a call that can change it, and after."""
        if self.options is None:
            return ()
        if isinstance(record, ToolStarted):
            return self._look_before(record, session)
        if isinstance(record, ToolRan):
            before, self._before = self._before, None
            if before is not None and before.call_id == record.call_id:
                return self._look_after(record, before, transcript, session)
        return ()

    def _look_before(self, started: ToolStarted, session: Session) -> Sequence[Record]:
        self._before = None
        spec = session.tools[started.call.tool].spec
        decision = session.transcript.decisions[started.call_id]
        path = _inside(started.call.arguments.get("path"), session.workspace)
        if path is None or spec.reads_only or decision.arguments is not None or not decision.train:
            return ()
        command = self._command(path)
        if command is None:
            return ()
        permitted, rules = self._permitted(command, session)
        if permitted:
            found = self._find(command, path, session) if _is_file(path, session) else []
            known = None if found is None else Counter(finding.about for finding in found)
            self._before = Before(started.call_id, path, known)
        return rules

    def _look_after(
        self, ran: ToolRan, before: Before, transcript: Transcript, session: Session
    ) -> Sequence[Record]:
        changed = any(c.path == before.path and c.before != c.after for c in ran.changes)
        command = self._command(before.path)
        if not changed or command is None or before.findings is None:
            return ()
        found = self._find(command, before.path, session)
        new = added(before.findings, found or [])
        if not new:
            return ()
        program = shlex.split(command)[0]
        said = f"The linter ({program}) finds this in {before.path} after the change, and did not before."
        return (
            CorrectionGiven(
                kind=self.kind,
                sample=transcript.call(ran.call_id).sample,
                call_id=ran.call_id,
                feedback=f"{said} Make the change so that it finds nothing new.",
                environment="\n".join(new),
                by="plugin:linter",
            ),
        )

    def _command(self, path: str) -> str | None:
        assert self.options is not None
        return self.options.commands.get(PurePosixPath(path).suffix)

    def _permitted(self, command: str, session: Session) -> tuple[bool, Sequence[Record]]:
        """Whether `command`, as configured, may run; asks once a session, and returns the rule of a yes."""
        call = Call(tool="bash", arguments={"command": command})
        if command in self._refused or "bash" not in session.tools:
            return False, ()
        rule = Rule(tool=call.tool, arguments=call.arguments)
        if rule in session.transcript.rules.values():
            return True, ()
        why = "the linter, as configured in [feedback.linter]: to be run before and after each such change"
        question = Question(call_id="", call=call, preview=command, reason=why, always=rule)
        answer = None if _forbidden(call, session) else session.ui.review(question, session)
        if answer is None or answer.verdict == "deny" or answer.arguments is not None:
            self._refused.add(command)
            session.ui.message(f"The linter will not run in this session: {command}")
            return False, ()
        return True, (RuleAdded(rule=rule, rule_id=rule_id(rule)),)

    def _find(self, command: str, path: str, session: Session) -> list[Finding] | None:
        """The findings in a file; None, said once a session, where the linter does not work."""
        assert self.options is not None
        text = command.replace("{path}", shlex.quote(f"./{path}"))
        call = Call(tool="bash", arguments={"command": text, "timeout": self.options.seconds})
        context = _Quiet(session.workspace, session.sandbox, session.cancelled)
        if _forbidden(call, session):
            return None
        result = session.first("run_tool", call=call, context=context)
        if not isinstance(result, ToolResult):
            result = session.tools["bash"].run(call.arguments, context)
        found = findings(result.output, path)
        if not found and not result.success:
            last = (result.feedback or result.output).strip().splitlines()[-1:]
            self._say_once(f"The linter does not work here ({command}): {''.join(last)}", session)
            return None
        if LEFT_OUT in result.output:
            return None
        return found

    def _say_once(self, text: str, session: Session) -> None:
        if text not in self._said:
            self._said.add(text)
            session.ui.message(text)


class _Quiet:
    """A ToolContext whose output nobody is shown: nobody asked for this command."""

    def __init__(self, workspace: Workspace, sandbox: Sandbox, cancelled: threading.Event) -> None:
        self.workspace = workspace
        self.sandbox = sandbox
        self.cancelled = cancelled

    def show(self, text: str) -> None:
        """Not shown."""


def findings(output: str, path: str) -> list[Finding]:
    """The lines about `path`: `path:line: what`, `path:line:column: what`.

    >>> findings("./a.py:3:1: F401 unused\\nFound 1 error.", "a.py")
    [Finding(line='a.py:3:1: F401 unused', about='F401 unused')]
    """
    form = re.compile(rf"(?:.*/)?{re.escape(path)}:(\d+(?::\d+)?(?:-\d+)?):?\s*(.*)")
    matched = (form.fullmatch(line.strip()) for line in output.splitlines())
    return [Finding(f"{path}:{m[1]}: {m[2]}", m[2]) for m in matched if m]


def added(before: Mapping[str, int], after: Sequence[Finding]) -> list[str]:
    """The lines of `after` that there were not as many of `before`; the last ones of those that are alike.

    >>> added({"E501 too long": 1}, findings("a.py:1: E501 too long\\na.py:9: E501 too long", "a.py"))
    ['a.py:9: E501 too long']
    """
    left = Counter(before)
    new: list[str] = []
    for finding in after:
        if left[finding.about] > 0:
            left[finding.about] -= 1
        else:
            new.append(finding.line)
    return new


def _forbidden(call: Call, session: Session) -> bool:
    """Whether some plugin denies the call; one that raises has denied."""
    replies = list(session.plugins.ask("review_tool_call", call=call, transcript=session.transcript))
    if any(reply.error is not None for reply in replies):
        return True
    return strongest(reply.answer for reply in replies).verdict == "deny"


def _inside(path: object, workspace: Workspace) -> str | None:
    """The path as the workspace names it; None where there is none, or it leads outside."""
    if not isinstance(path, str):
        return None
    try:
        return workspace.relative(path)
    except UsageError:
        return None


def _is_file(path: str, session: Session) -> bool:
    return session.workspace.resolve(path).is_file()


@hookimpl
def register_feedback(options: Mapping[str, Any]) -> list[FeedbackType]:
    """The kind `linter`; without options it only knows what to tell the teacher of logged corrections."""
    given = options.get("linter", False)
    if isinstance(given, Mapping):
        chosen = checked(LinterOptions, cast(Mapping[str, Any], given), "feedback.linter")
        for suffix, command in chosen.commands.items():
            if not suffix.startswith(".") or "{path}" not in command:
                raise ConfigError(
                    f"feedback.linter: commands: {suffix!r} = {command!r} must be a suffix with its dot, "
                    'such as ".py", and a command that says where the file goes, such as "ruff check {path}"'
                )
        return [Linter(chosen)]
    return [Linter(LinterOptions() if given is True else None)]


@hookimpl
def event_appended(record: Record, transcript: Transcript, session: Session) -> Sequence[Record]:
    """Before and after each call that can change a file."""
    linter = session.feedback.get("linter")
    return linter.observe(record, transcript, session) if isinstance(linter, Linter) else ()
