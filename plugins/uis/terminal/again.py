"""Where a session was that is gone on with: the last prompt, the calls that followed, and how it ended."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from continualcode.core.events import ToolProposed
from continualcode.core.session import Session
from continualcode.plugins.uis.screen import headline
from continualcode.plugins.uis.terminal.render import clean, markdown

MOST_CALLS = 6


def where_it_was(session: Session, code_theme: str) -> Iterator[RenderableType]:
    """The last turn of the conversation as it stands, in a few lines; nothing where there was none."""
    seen = session.transcript
    step = next((step for step in reversed(seen.steps)), None)
    if step is None or step.kind != "turn":
        return
    yield Text.assemble(("> ", "dim"), (clean(step.text).replace("\n", "\n… "), "dim"))
    turn = [seen.proposals[key] for key in seen.said if seen.proposals[key].seq > step.seq]
    answer = next((words for one in reversed(turn) if (words := _answer(one, session))), None)
    calls = [line for one in turn if (line := _call(one, session))]
    if len(calls) > MOST_CALLS:
        yield Padding(Text(f"… {len(calls) - MOST_CALLS} calls before", "dim"), (0, 0, 0, 2))
    yield from calls[-MOST_CALLS:]
    if answer is not None:
        yield markdown(answer, code_theme)
    else:
        yield Text("That turn came to no answer. Say how to go on.", "warn")


def _call(proposed: ToolProposed, session: Session) -> Text | None:
    call = proposed.call
    if call is None or session.tools[call.tool].spec.ends_turn:
        return None
    decision = session.transcript.decisions.get(proposed.id)
    result = session.transcript.results.get(proposed.id)
    mark, style = ("·", "dim")
    if decision is not None and decision.verdict == "deny":
        mark, style = ("✗", "no")
    elif result is not None:
        mark, style = ("✓", "yes") if result.success else ("✗", "warn")
    return Text.assemble(("● ", "dim"), (clean(headline(call)), "dim"), (f" {mark}", style))


def _answer(proposed: ToolProposed, session: Session) -> str | None:
    if proposed.how == "text":
        return session.transcript.samples[proposed.sample].text
    call, result = proposed.call, session.transcript.results.get(proposed.id)
    if call is not None and result is not None and session.tools[call.tool].spec.ends_turn:
        return result.output
    return None
