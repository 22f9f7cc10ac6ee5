"""Calls that need no question, and calls that are out of the question: modes, and rules that persist.

| `session.approvals` | runs unasked |
|---|---|
| ask | what a rule covers |
| reads | and tools that cannot change anything |
| sandbox | and tools that stay within the workspace or the sandbox; refused where there is no sandbox |
| plan | tools that cannot change anything; all others are denied |

`/mode` changes it in a session. Rules are facts in the log, and files in the user's configuration folder
(`store`). A session begins by taking the stored ones into its log, and stores what is added or removed in it.
`matching` says what a rule covers.
"""

from collections.abc import Sequence
from pathlib import Path

from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import RuleAdded, RuleRemoved
from continualcode.core.protocols import Command
from continualcode.core.review import Ruling
from continualcode.core.safety_events import SafetyChosen
from continualcode.core.sandbox import chosen
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.approvals.matching import covering
from continualcode.plugins.approvals.store import RuleStore

MODES = {
    "ask": "only what a rule covers runs unasked",
    "reads": "tools that cannot change anything run unasked, and what a rule covers",
    "sandbox": "whatever stays in the workspace or the sandbox runs unasked, and what a rule covers",
    "plan": "tools that cannot change anything run unasked, all others are denied",
}

STORED = "stored"
"""Who adds and removes at the start of a session: the files."""


@hookimpl
def review_tool_call(call: Call, transcript: Transcript) -> Ruling | None:
    """Allow what a rule or the mode allows, and say which; no opinion on the rest, but in plan mode."""
    spec = next((tool for tool in transcript.tools if tool.name == call.tool), None)
    if spec is None:
        return None
    safety = transcript.safety
    mode = safety.approvals if safety is not None else "ask"
    if mode == "plan":
        if spec.reads_only:
            return Ruling(verdict="allow", by="mode:plan")
        able = ", ".join(t.name for t in transcript.tools if t.reads_only or t.ends_turn)
        why = "this is plan mode: nothing may be changed yet. Look around, and say what you would do"
        why = f"{why}. You can call {able}."
        return Ruling(verdict="deny", reason=why, by="mode:plan")
    if rules := covering(call, transcript.rules, Path(transcript.workspace)):
        return Ruling(verdict="allow", by=f"rule:{'+'.join(rules)}")
    if mode in ("reads", "sandbox") and spec.reads_only:
        return Ruling(verdict="allow", by=f"mode:{mode}")
    if mode == "sandbox" and spec.confined and safety is not None and not safety.missing:
        return Ruling(verdict="allow", by="mode:sandbox")
    return None


class ModeCommand:
    """`/mode`: how calls are decided from here on. Only what a person types gets here."""

    name = "mode"
    help = "what runs unasked: /mode ask, reads, sandbox, plan"

    def run(self, argument: str, session: Session) -> str:
        """Show the modes, or change to one. Raises UsageError where it is none, or needs a sandbox."""
        safety = session.transcript.safety
        if not argument:
            now = safety.approvals if safety is not None else "ask"
            rows = (("*" if name == now else " ", name, what) for name, what in MODES.items())
            return "\n".join(f"{mark} {name:<8} {what}" for mark, name, what in rows)
        if argument not in MODES:
            raise UsageError(f"/mode {argument}: there is no such mode; {nearest(argument, MODES)}")
        session.append(chosen(argument, session.sandbox, by="user"))
        return f"{argument}: {MODES[argument]}."


@hookimpl
def register_commands() -> list[Command]:
    """The command of this plugin."""
    return [ModeCommand()]


@hookimpl
def event_appended(record: Record, transcript: Transcript, session: Session) -> Sequence[Record] | None:
    """Take stored rules into the log as a session begins; store what is added or removed in it."""
    match record:
        case SafetyChosen():
            stored = RuleStore(session.workspace.root).rules()
            gone = [RuleRemoved(rule_id=key) for key in transcript.rules if key not in stored]
            new = [key for key in stored if key not in transcript.rules]
            return [*gone, *(RuleAdded(rule=stored[key].rule, by=STORED, rule_id=key) for key in new)]
        case RuleAdded() if record.by != STORED:
            RuleStore(session.workspace.root).add(record.rule, by=f"{record.by}, {session.log.path.name}")
        case RuleRemoved():
            RuleStore(session.workspace.root).remove(record.rule_id)
        case _:
            pass
    return None
