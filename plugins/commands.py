"""The slash commands that every UI has; a plugin adds one with `register_commands`."""

from collections.abc import Callable
from dataclasses import dataclass

from continualcode import hookimpl
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import ContextCleared, NoteGiven, RuleRemoved, UpdateApplied
from continualcode.core.protocols import Command
from continualcode.core.review import grants
from continualcode.core.session import Session


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


def metrics(argument: str, session: Session) -> str:
    """What the session has done so far, and what it learned last."""
    seen = session.transcript
    tokens = sum(len(s.token_ids) // 4 for s in seen.samples.values())
    seconds = sum(s.decode_seconds for s in seen.samples.values())
    denied = sum(d.verdict == "deny" for d in seen.decisions.values())
    updates = [o for o in seen.outcomes.values() if isinstance(o, UpdateApplied)]
    lines = [
        f"samples      {len(seen.samples)}, {tokens} tokens"
        + (f", {tokens / seconds:.1f} a second" if seconds else ""),
        f"calls        {len(seen.decisions)} decided, {denied} denied",
        f"corrections  {len(seen.corrections)}, {len(seen.pending())} not learned yet",
        f"updates      {len(updates)} applied, {len(seen.outcomes) - len(updates)} failed",
        f"weights      {session.policy.weights()[:12]}",
    ]
    if updates:
        before, after = updates[-1].divergence
        lines.append(
            f"last update  divergence {before:.4f} → {after:.4f} nats a token in {updates[-1].steps} steps"
        )
    return "\n".join(lines)


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
    """The tools, with what they are for."""
    return "\n".join(f"{t.spec.name:<12}{t.spec.description}" for t in session.tools.values())


def log(argument: str, session: Session) -> str:
    """Where the log is."""
    return f"{session.log.path}, {session.log.next_seq} events"


def model(argument: str, session: Session) -> str:
    """Which model this is."""
    info = session.policy.model
    adapter = f"LoRA rank {info.adapter.rank}"
    return f"{info.name}, base {info.base[:12]}, {adapter}, {info.dtype}, context {info.context}"


@hookimpl
def register_commands() -> list[Command]:
    """The built-in commands."""
    return [
        Simple("help", "show the commands", help_),
        Simple("metrics", "what was done and learned so far", metrics),
        Simple("note", "say something in passing: /note TEXT", note),
        Simple("rules", "calls that are always allowed; /rules remove ID", rules),
        Simple("tools", "what the model can call", tools),
        Simple("model", "which model this is", model),
        Simple("log", "where the log is", log),
        Simple("clear", "start the conversation anew; weights stay", clear),
        Simple("quit", "end the session", quit_),
    ]
