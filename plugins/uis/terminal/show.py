"""Each record as a person wants to see it in the scrollback: what was called, decided, done, learned."""

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from continualcode.core.data import Call
from continualcode.core.events import (
    ContextCleared,
    CorrectionGiven,
    DecisionMade,
    PluginFailed,
    PromptSubmitted,
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
from continualcode.core.workspace import at_home
from continualcode.eventlog import Record
from continualcode.plugins.uis.screen import headline
from continualcode.plugins.uis.terminal import credit
from continualcode.plugins.uis.terminal.again import where_it_was
from continualcode.plugins.uis.terminal.diff import is_diff, preview
from continualcode.plugins.uis.terminal.live import Activity
from continualcode.plugins.uis.terminal.render import clean, markdown, output
from continualcode.plugins.uis.terminal.status import count
from continualcode.plugins.uis.terminal.theme import Theme

THINKING, LEARNING = "thinking", "learning"


class Show:
    """Prints records, and says in `activity` what happens between them."""

    def __init__(self, console: Console, activity: Activity, theme: Theme) -> None:
        self._console = console
        self._activity = activity
        self._theme = theme

    def say(self, text: RenderableType, style: str = "", *, indent: int = 0) -> None:
        """Something for the scrollback; what is happening at the moment is below it, or over."""
        self._activity.end()
        shown = Text(clean(text), style) if isinstance(text, str) else text
        self._console.print(Padding(shown, (0, 0, 0, indent)) if indent else shown)

    def event(self, record: Record, session: Session) -> None:
        """Show what matters of a record, and what begins with it."""
        match record:
            case SessionStarted() | SessionResumed():
                self._start(record, session)
            case SafetyChosen(by="settings"):  # /mode answers for itself
                self.say(f"commands: {record.line}", "warn" if record.missing else "dim")
            case PromptSubmitted():
                self._activity.begin(THINKING, model=True)
            case SampleTaken():
                self._activity.end()
            case ToolProposed(call=None):
                self._said(record, session)
            case ToolProposed(call=Call() as call) if not session.tools[call.tool].spec.ends_turn:
                self.say(self._headline(call, session))
            case DecisionMade():
                self._decided(record, session)
            case ToolStarted() if not session.tools[record.call.tool].spec.ends_turn:
                self._activity.begin(f"running {record.call.tool}")
            case ToolRan():
                self._ran(record, session)
            case CorrectionGiven():
                if record.by != "user":
                    self.say(f"correction ({record.kind}, {record.by}): {record.feedback}", "warn", indent=2)
                if session.config.session.train:
                    self._learning()  # what to learn is worked out first, which takes a while, too
            case UpdateStarted():
                self._learning()
            case UpdateApplied():
                self.say(credit.learned(record, session, self._theme), indent=2)
                self._activity.begin(THINKING, model=True)
            case UpdateFailed():
                self.say(f"nothing learned: {record.why}; the weights stand", "warn", indent=2)
                self._activity.begin(THINKING, model=True)
            case TurnInterrupted():
                self.say("Stopped. The session goes on: say what to do instead.", "warn")
            case ContextCleared():
                self.say("The conversation starts anew; what was learned stays.", "dim")
            case PluginFailed():
                self.say(
                    f"plugin {record.plugin!r} failed in {record.hook}: {record.error}", "warn", indent=2
                )
            case UpdateRejected():
                self.say(credit.rejected(record), indent=2)
                self._activity.begin(THINKING, model=True)
            case _:
                pass

    def _learning(self) -> None:
        if not self._activity.active or not self._activity.label.startswith(LEARNING):
            self._activity.begin(LEARNING)

    # -- Records of several lines ---------------------------------------------------------------------

    def _start(self, record: SessionStarted | SessionResumed, session: Session) -> None:
        info = session.policy.model
        line = Text.assemble((info.name, "head"), f" in {at_home(session.workspace.root)}")
        if isinstance(record, SessionResumed):
            updates = len(session.transcript.standing)
            line.append(f", resumed after {count(updates, 'update')}", "learned")
        if not session.config.session.train:
            line.append(", learning is off", "warn")
        self.say(
            line.append(clean(f"\nlog: {at_home(session.log.path)}"), "dim")
        )  # one print: others may print, too
        if isinstance(record, SessionResumed):
            for part in where_it_was(session, self._theme.code):
                self.say(part)

    def _headline(self, call: Call, session: Session) -> Text:
        name, _, rest = clean(headline(call)).partition(" ")
        # A command stands whole below, and so does what is written: here only what it is about.
        if call.tool == "bash":
            rest = ""
        elif not session.tools[call.tool].spec.reads_only and "path" in call.arguments:
            rest = clean(str(call.arguments["path"]))
        return Text.assemble(("● ", "learned"), (name, "head"), f" {rest}" if rest else "")

    def _said(self, record: ToolProposed, session: Session) -> None:
        text = session.transcript.samples[record.sample].text
        if record.how == "failed":
            self.say(f"✗ the model said something that is no call: {record.why}", "no")
            self._activity.begin(THINKING, model=True)
        else:
            self.say(markdown(text, self._theme.code))

    def _decided(self, record: DecisionMade, session: Session) -> None:
        if record.by == "session":
            return
        call = session.transcript.call(record.call_id).call
        who = "you" if record.by == "user" else record.by
        quietly = "" if record.train else ", nothing is learned from it"
        if record.verdict == "deny":
            reason = f": {record.reason}" if record.reason else ""
            self.say(f"✗ denied by {who}{quietly}{reason}", "no", indent=2)
            self._activity.begin(THINKING, model=True)
            return
        if record.by != "user":
            self._would_do(call, session)
        edited = ", with edited arguments" if record.arguments is not None else ""
        self.say(f"✓ allowed by {who}{edited}{quietly}", "yes" if record.by == "user" else "dim", indent=2)

    def _would_do(self, call: Call, session: Session) -> None:
        """The change that a rule let through: nobody is asked, but everybody can see it."""
        try:
            text = session.tools[call.tool].preview(call.arguments, session)
        except Exception as error:  # a plugin's tool: as for a question, no preview is no reason to stop
            text = f"(no preview: {error})"
        if is_diff(text) or call.tool == "bash":
            self.say(preview(call, text, self._theme.code), indent=2)

    def _ran(self, record: ToolRan, session: Session) -> None:
        call = session.transcript.call(record.call_id).call
        self._activity.end()
        if session.tools[call.tool].spec.ends_turn:
            self.say(markdown(record.output, self._theme.code))
            return
        text = record.output if record.success else f"{record.output}\n{record.feedback or ''}".strip()
        self.say(output(text, style="" if record.success else "no"))
        self._activity.begin(THINKING, model=True)
