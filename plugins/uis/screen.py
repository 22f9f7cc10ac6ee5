"""What a session looks like as lines of text: shared by the UIs `plain` and `script`.

Every record comes through `event` once it is durable; what a person would want to see of it is printed,
in a line or a few. Colours and lines that are updated in place only where stdout is a terminal and
NO_COLOR is not set.
"""

import json
import os
import sys

from continualcode.core.data import Call
from continualcode.core.events import (
    ContextCleared,
    CorrectionGiven,
    DecisionMade,
    PluginFailed,
    SampleTaken,
    SessionResumed,
    SessionStarted,
    ToolProposed,
    ToolRan,
    ToolStarted,
    TurnInterrupted,
    UpdateApplied,
    UpdateFailed,
    UpdateRejected,
    UpdateStarted,
)
from continualcode.core.safety_events import SafetyChosen
from continualcode.core.session import Session
from continualcode.eventlog import Record

MAX_LINES = 20
"""How many lines of a tool's output are shown; the model sees all of it."""

UNANSWERED = "Nobody is there to approve this call. Go on without it, or say what is needed."
"""What the model is told where a question meets the end of the input."""

STYLES = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Screen:
    """Prints a session. `terminal`: lines may be coloured and updated in place."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.colours = self.terminal and "NO_COLOR" not in os.environ
        self._open_line = False  # a line is being updated in place
        self._streamed = 0  # pieces of the completion so far
        self._running: str | None = None  # the line that a running tool has begun; None: no tool runs
        self._shown = 0  # lines of its output that are on the screen

    # -- The parts of the UI protocol that only show --------------------------------------------------

    def event(self, record: Record, session: Session) -> None:
        """Show what matters of a record."""
        match record:
            case SessionStarted() | SessionResumed():
                self._start(record, session)
            case SafetyChosen(by="settings"):  # /mode answers for itself
                self.say(f"commands: {record.line}", "yellow" if record.missing else "dim")
            case SampleTaken():
                self._clear()
                self._streamed = 0
            case ToolProposed(call=None):
                if record.how == "failed":
                    self.say(f"✗ the model said something that is no call: {record.why}", "red")
                else:
                    self.say(session.transcript.samples[record.sample].text)
            case ToolProposed(call=Call() as call):
                if not session.tools[call.tool].spec.ends_turn:
                    self.say(f"● {headline(call)}", "bold")
            case DecisionMade():
                self._decision(record, session)
            case ToolStarted():
                self._running, self._shown = "", 0
            case ToolRan():
                self._ran(record, session)
            case CorrectionGiven() if record.by not in ("user",) and not record.by.startswith("script:"):
                self.say(f"  correction ({record.kind}, {record.by}): {record.feedback}", "yellow")
            case UpdateStarted():
                self.progress("learning", 0, 0)
            case UpdateApplied():
                self._learned(record, session)
            case UpdateRejected():
                self.say(f"  not kept: {record.why}", "yellow")
                self.say(f"  the weights before it stand ({record.weights[:8]})", "dim")
            case UpdateFailed():
                self.say(
                    f"  nothing learned: {record.why}; the weights stand ({record.weights[:8]})", "yellow"
                )
            case TurnInterrupted():
                self._running = None
                self.say("Stopped. The session goes on: say what to do instead.", "yellow")
            case ContextCleared():
                self.say("The conversation starts anew; what was learned stays.", "dim")
            case PluginFailed():
                self.say(f"  plugin {record.plugin!r} failed in {record.hook}: {record.error}", "dim")
            case _:
                pass

    def text(self, piece: str) -> None:
        """A tool's output as it appears; while the model speaks, a count: its call is shown when whole."""
        if self._running is not None:
            *whole, self._running = (self._running + piece).split("\n")
            for line in whole:
                self.say(f"  │ {line}")
                self._shown += 1
        elif self.terminal:
            self._streamed += 1
            self._in_place(self.paint(f"  … {self._streamed}", "dim"))

    def progress(self, label: str, done: int, total: int) -> None:
        """One line in place on a terminal; elsewhere only when something is complete."""
        share = f" {done}/{total}" if 0 < total < 1000 else f" {100 * done // total}%" if total else " …"
        if self.terminal:
            self._in_place(self.paint(f"  {label}{share}", "dim"))
        elif total and done >= total:
            self.say(f"  {label}: done", "dim")

    def message(self, text: str) -> None:
        """A command's answer, or an error."""
        self.say(text)

    # -- Printing -------------------------------------------------------------------------------------

    def say(self, text: str, *styles: str) -> None:
        """A line, or several, below what is there."""
        self._clear()
        print(self.paint(text, *styles), flush=True)

    def paint(self, text: str, *styles: str) -> str:
        """`text` in colour, where there is colour."""
        if not self.colours or not styles:
            return text
        codes = ";".join(STYLES[style] for style in styles)
        return "\n".join(f"\033[{codes}m{line}\033[0m" for line in text.split("\n"))

    def diff(self, text: str) -> str:
        """A preview with the added and removed lines of a diff coloured."""
        styles = {"+": ("green",), "-": ("red",), "@": ("cyan",)}
        return "\n".join(self.paint(line, *styles.get(line[:1], ())) for line in text.splitlines())

    def _in_place(self, line: str) -> None:
        sys.stdout.write(f"\r\033[K{line}")
        sys.stdout.flush()
        self._open_line = True

    def _clear(self) -> None:
        if self._open_line:
            sys.stdout.write("\r\033[K")
            self._open_line = False

    # -- Records of several lines ---------------------------------------------------------------------

    def _start(self, record: SessionStarted | SessionResumed, session: Session) -> None:
        again = (
            f", resumed after {len(session.transcript.standing)} updates"
            if isinstance(record, SessionResumed)
            else ""
        )
        learning = "" if session.config.session.train else ", learning is off"
        self.say(
            f"{session.policy.model.name} (weights {record.weights[:8]}{again}{learning}) "
            f"in {session.workspace.root}"
        )
        self.say(f"log: {session.log.path}   /help shows the commands", "dim")

    def _decision(self, record: DecisionMade, session: Session) -> None:
        if record.by == "session":
            return
        who = "" if record.by == "user" else f" ({record.by})"
        if record.verdict == "deny":
            self.say(f"  ✗ denied{who}: {record.reason or 'no reason given'}", "red")
        elif record.arguments is not None:
            tool = session.transcript.call(record.call_id).call.tool
            self.say(
                f"  ✓ allowed{who}, edited: {headline(Call(tool=tool, arguments=record.arguments))}", "green"
            )
        elif who:
            self.say(f"  ✓ allowed{who}", "dim")

    def _ran(self, record: ToolRan, session: Session) -> None:
        call = session.transcript.call(record.call_id).call
        self._running = None
        if session.tools[call.tool].spec.ends_turn:
            self.say(record.output)
            return
        output = record.output if not self._shown else ""
        text = output if record.success else f"{output}\n{record.feedback or ''}".strip()
        if text or not self._shown:
            self.say(indented(text), *(() if record.success else ("red",)))

    def _learned(self, record: UpdateApplied, session: Session) -> None:
        before, after = record.divergence
        started = session.transcript.updates[record.update]
        unit = "nats" if started.objective.aggregation == "example_sum" else "nats a token"
        if not record.steps:
            self.say(
                f"  nothing to learn: {before:.2f} {unit} from the corrected model already; "
                f"the weights stand ({record.weights[:8]})",
                "cyan",
            )
            return
        steps = "1 step" if record.steps == 1 else f"{record.steps} steps"
        self.say(
            f"  learned in {record.seconds:.0f} s, {steps}: {before:.2f} → {after:.2f} {unit} "
            f"from the corrected model, weights {started.weights[:8]} → {record.weights[:8]}",
            "cyan",
        )


def headline(call: Call) -> str:
    """A call in one line: `edit_lines test.py 14 17 "assert …"`, long values shortened.

    >>> headline(Call(tool="read", arguments={"path": "a.py"}))
    'read a.py'
    """
    parts: list[str] = []
    for name, value in call.arguments.items():
        plain = isinstance(value, str) and value and not any(c.isspace() for c in value) and len(value) <= 60
        text = value if plain else json.dumps(value, ensure_ascii=False)
        shown = text if len(text) <= 60 else f"{text[:57]}…"
        parts.append(shown if name == "path" or len(call.arguments) == 1 else f"{name}={shown}")
    return " ".join([call.tool, *parts])


def indented(text: str) -> str:
    """The first lines of a text, set off, with how many more there are."""
    lines = text.splitlines() or ["(no output)"]
    more = [f"  │ … {len(lines) - MAX_LINES} more lines"] if len(lines) > MAX_LINES else []
    return "\n".join([*(f"  │ {line}" for line in lines[:MAX_LINES]), *more])
