"""The slash commands that every UI has; a plugin adds one with `register_commands`."""

from collections.abc import Callable
from dataclasses import dataclass

from continualcode import hookimpl
from continualcode.core.data import ToolSpec
from continualcode.core.decisions import decided, in_words
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import ContextCleared, NoteGiven, RuleRemoved, event_registry
from continualcode.core.protocols import Command
from continualcode.core.review import grants
from continualcode.core.session import Session
from continualcode.core.workspace import at_home
from continualcode.eventlog import read
from continualcode.plugins.commands.metrics import metrics
from continualcode.plugins.commands.model import model
from continualcode.plugins.commands.tag import tag

LAST_DECISIONS = 10


@dataclass(frozen=True)
class Simple:
    """A command made of a function."""

    name: str
    help: str
    act: Callable[[str, Session], str]

    def run(self, argument: str, session: Session) -> str:
        """Do it."""
        return self.act(argument, session)


def help_(argument: str, session: Session) -> str:
    """Every command with its line."""
    width = max(len(name) for name in session.commands)
    lines = [f"/{name:<{width}}  {session.commands[name].help}" for name in sorted(session.commands)]
    return "\n".join([*lines, "Anything else is said to the model. At a question: y, a, n WHY, e, s, !NOTE."])


def note(argument: str, session: Session) -> str:
    """Record a note; the model sees it, and the next correction carries it."""
    if not argument:
        raise UsageError("/note needs words: /note prefer small edits")
    session.append(NoteGiven(text=argument))
    return "Noted: the model sees it, and it joins your next correction."


def rules(argument: str, session: Session) -> str:
    """List the rules, or remove one."""
    held = session.transcript.rules
    verb, _, rule_id = argument.partition(" ")
    if verb == "remove":
        if rule_id not in held:
            raise UsageError(f"there is no rule {rule_id!r}; {nearest(rule_id, held)}")
        session.append(RuleRemoved(rule_id=rule_id))
        return f"Removed: {rule_id} holds no longer."
    if verb:
        raise UsageError(f"/rules {argument}: give nothing, or: remove ID")
    if not held:
        return "No rules: every call is asked about. Answer a question with `a` to add one."
    return "\n".join(f"{key}  always allow {grants(rule)}" for key, rule in held.items())


def clear(argument: str, session: Session) -> str:
    """Start the conversation anew."""
    session.append(ContextCleared())
    return "Weights and rules stay as they are."


def quit_(argument: str, session: Session) -> str:
    """End the session."""
    session.close("quit")
    return f"The log: {session.log.path}"


def tools(argument: str, session: Session) -> str:
    """The tools, with what they are for and how far they reach."""
    return "\n".join(f"{t.spec.name:<12}{t.spec.description}{_reach(t.spec)}" for t in session.tools.values())


def _reach(spec: ToolSpec) -> str:
    if spec.ends_turn:
        return ""
    return " (only looks)" if spec.reads_only else "" if spec.confined else " (may leave the workspace)"


def log(argument: str, session: Session) -> str:
    """Where the log is, and the last decisions in it; `all` of them."""
    if argument not in ("", "all"):
        raise UsageError(f"/log {argument}: give nothing, or: all")
    made = decided(read(session.log.path, event_registry(session.plugins.event_types())))
    shown = made if argument else made[-LAST_DECISIONS:]
    more = f" (of {len(made)}; /log all)" if len(shown) < len(made) else ""
    head = f"{at_home(session.log.path)}, {session.log.next_seq} events"
    return "\n".join([head, f"decisions{more}:" if made else "Nothing was decided yet.", *in_words(shown)])


@hookimpl
def register_commands() -> list[Command]:
    """The built-in commands."""
    return [
        Simple("help", "show the commands", help_),
        Simple("metrics", "what was done and learned so far", metrics),
        Simple("note", "say something in passing: /note TEXT", note),
        Simple("tag", "name the last correction, for replay to select: /tag NAME [SEQ]", tag),
        Simple("rules", "calls that are always allowed; /rules remove ID", rules),
        Simple("tools", "what the model can call", tools),
        Simple("model", "which model this is; /model NAME begins a session with another one", model),
        Simple("log", "where the log is, and who decided what", log),
        Simple("clear", "start the conversation anew; weights stay", clear),
        Simple("quit", "end the session", quit_),
    ]
