"""How a tool is called elsewhere: what must stay where a correction is about a call's arguments.

"Don't use rm, move it into trash/" is about one of the many things that go through `bash`. Learned alone it
changed them all: a 0.5B model asked for the date, or to commit, called `mv trash/…` then, and what anchors
hold, the choice of tool, was as it had been (docs/learning.md). So on requests of other kinds that take the
tool the base model's own call is held, as distributions are, up to the first token of its last argument. Not
further: what comes after `pytest` is what "use pytest -q" is about, whatever was asked for. And not where
that token is what was rejected: a file that begins with `print` as well.
"""

from collections.abc import Callable, Sequence

import msgspec

from continualcode.core.data import Call, Example, ToolSpec
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import grammar_of, through
from continualcode.plugins.trainers.settings import SdpoSettings
from continualcode.plugins.trainers.situations import Situation, messages, taking

HELD = 12
"""On how many requests."""

WEIGHT = 1.0
"""What they weigh together, where a correction weighs 1: with three times as much, which holds no more, a
correction carried over to half as many prompts that are like its own but of no known kind."""


def held(
    row: Example,
    tool: ToolSpec,
    turn: SampledTurn,
    outside: Sequence[Situation],
    policy: Policy,
    settings: SdpoSettings,
    told: Callable[[int], None],
) -> list[Example]:
    """The rows; together they weigh what a correction does.

    row: the demonstration of a correction that is about how `tool` is called. outside: situations that it is
    not about, the nearest first. `told(done)`, of `HELD`, is called where this can be stopped.
    """
    # Where a correction sends a call to a place (`places`), its row can go nowhere else: these can.
    row = msgspec.structs.replace(
        row, grammar=grammar_of((tool,), turn, policy), student_grammar=None, forced=False
    )
    openings = _openings(tool, policy)
    begun = _begun(row.completion_ids, openings, policy)
    if not begun or not settings.anchors:
        return []
    rejected = _begun(turn.completion_ids, openings, policy)
    rows: list[Example] = []
    asked = taking(tool.name, outside)[:HELD]
    for number, one in enumerate(asked):
        told(number)
        ids = policy.render(messages(turn, one), turn.tools)
        # Up to the first argument all calls are the same, so for a tool with one none has to be drawn.
        usual = _usual(ids, row, openings, rejected, policy, settings) if len(openings) > 1 else ()
        rows.append(
            msgspec.structs.replace(
                row,
                part="held",
                prompt_ids=ids,
                teacher_ids=ids,
                neutral_ids=(),
                completion_ids=usual or begun,
                weight=WEIGHT / len(asked),
                guidance=1.0,
            )
        )
    return rows


def _usual(
    ids: tuple[int, ...],
    row: Example,
    openings: Sequence[str],
    rejected: Sequence[int],
    policy: Policy,
    settings: SdpoSettings,
) -> tuple[int, ...]:
    """The base model's own call after `ids`, up to where it does what was rejected."""
    most = settings.demonstration_tokens
    call = policy.demonstrate(ids, (), row.grammar, teacher="base", guidance=1.0, max_tokens=most).token_ids
    begun = _begun(call, openings, policy)
    return _begun(call, openings[:-1], policy) if begun[-1:] == rejected[-1:] else begun


def _openings(tool: ToolSpec, policy: Policy) -> list[str]:
    """What is written before the value of each text argument, from the value before it on."""
    names = [name for name, of in tool.parameters.get("properties", {}).items() if of.get("type") == "string"]
    return policy.format_call(Call(tool=tool.name, arguments=dict.fromkeys(names, "?"))).split("?")[:-1]


def _begun(ids: Sequence[int], openings: Sequence[str], policy: Policy) -> tuple[int, ...]:
    """A call up to the first token of the last argument that it has; empty: it does not get to the first."""
    text, end, begun = "".join(policy.pieces(ids)), 0, tuple[int, ...]()
    for number, opening in enumerate(openings):
        found = text.find(opening, end)
        if found < 0 or (not number and found):
            break
        end = found + len(opening)
        begun = through(ids, end, policy) or begun
    return begun
