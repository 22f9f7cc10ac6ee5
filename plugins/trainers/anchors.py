"""What must stay as it is while something is learned: prompts that corrections are not about.

A correction moves more than what it is about: learned alone, "run it with bash" also changes what the model
does when asked to show a file (docs/learning.md has the figures). So each update holds on to the base
model's choice of tool on `ANCHORS`, and is judged on `PROBES`, on which nothing is trained. Both are short
requests of the kinds that a coding agent gets, in other words than any benchmark's.

The completions of probes are the base model's own, up to the tool's name; of anchors, any call's beginning,
as their distributions are held, at the token that says which tool. They are made once a session and taken
from the log's earlier plans after that: they do not depend on what was learned.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

import msgspec

from continualcode.core.data import Call, Example, Message, Part
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn, Transcript, denial
from continualcode.eventlog import unpack_u32
from continualcode.plugins.trainers.in_question import grammar_of, through
from continualcode.plugins.trainers.probes import PROBES
from continualcode.plugins.trainers.situations import KINDS, Situation, begun, file_of, is_begun, messages

FAMILIES = [[*kinds] for _, kinds in groupby(KINDS, key=lambda kind: kind.family)]

REQUESTS = tuple(kind.requests[0] for kinds in FAMILIES for kind in kinds[::2])
"""Held on to right after the request, or after the file that goes with it was read: one of every second kind
of a family. A step takes some of them in turn, so more cost nothing there; but each is scored in a session's
first update, and whitens every one."""

BEGUN = frozenset(REQUESTS[::2])
"""Those that are held on to after a call where a correction is learned there, as what is learned there moves
little right after a request; not all, as it moves some."""

REFUSED = tuple(kind.requests[1] for kind in KINDS[::12])
"""Held on to after a call that was denied, as a demonstration is learned after one (`retry`): else the model
did after any denial what it had been taught after the last (docs/learning.md, *The retry*)."""

ANCHORS = (*REQUESTS, *REFUSED)
"""Held on to, where no correction is about them."""

DENIALS = ("No, not like that.", "That is wrong.", "Not this one.", "Don't.")
"""In which those are denied. They ask for nothing, so that what is held is what any denial leads to."""

NAMED = 10
"""How many tokens a completion has, most often at most: a call, up to its tool's name."""

NAME = 3
"""How many it has at least after the first one of the name, however long the call's beginning is."""


def anchors(turn: SampledTurn, sample: str, transcript: Transcript, policy: Policy) -> list[Example]:
    """A row for each anchor and probe, in the session's own system message and tools; see `weighed`.

    turn, sample: the corrected one, whose grammar the rows share.
    """
    drawn = _drawn_before(transcript)
    opening = _opening(turn, policy)
    most = max(NAMED, len(opening) + NAME)
    rows: list[Example] = []
    parts: tuple[tuple[Part, Sequence[Situation]], ...] = (
        ("anchor", ANCHORS),
        ("probe", PROBES),
    )
    for part, situations in parts:
        for one in situations:
            ids = policy.render(held_on(one, turn), turn.tools)
            completion = drawn.get(ids) or (opening if part == "anchor" else ())
            if not completion:
                completion = policy.demonstrate(
                    ids, ids, turn.grammar, teacher="base", guidance=1.0, max_tokens=most
                ).token_ids
            rows.append(
                Example(
                    correction="",
                    sample=sample,
                    part=part,
                    prompt_ids=ids,
                    teacher_ids=ids,
                    completion_ids=completion,
                    sampled_logprobs=(),
                    temperature=turn.params.temperature,
                    grammar=turn.grammar,
                )
            )
    return rows


def held_on(one: Situation, turn: SampledTurn) -> tuple[Message, ...]:
    """The conversation in which a situation is held on to where `turn` is corrected."""
    if one not in REFUSED:
        return messages(turn, begun(one) if one in BEGUN and is_begun(turn) else one)
    number, calls = REFUSED.index(one), _calls(one)
    denied = Message(role="assistant", call=calls[number % len(calls)])
    return (*messages(turn, one), denied, denial(DENIALS[number % len(DENIALS)]))


def _calls(one: Situation) -> tuple[Call, ...]:
    """Calls that somebody may have denied."""
    path = file_of(one) or "README.md"
    return (
        Call(tool="bash", arguments={"command": "ls"}),
        Call(tool="write", arguments={"path": path, "content": ""}),
        Call(tool="read", arguments={"path": path}),
    )


def _opening(turn: SampledTurn, policy: Policy) -> tuple[int, ...]:
    """A call of the first tool up to the first token of its name; empty where no grammar says how it begins.

    The token that the base model would take there is not needed: an anchor holds its distribution.
    """
    grammar = grammar_of(turn.tools[:1], turn, policy)
    if turn.grammar is None or grammar is None:
        return ()
    ids = policy.render(messages(turn, Situation("")), turn.tools)
    most = 2 * NAMED  # some tokenizers spell `<tool_call>` in five tokens
    call = policy.demonstrate(ids, ids, grammar, teacher="base", guidance=1.0, max_tokens=most).token_ids
    name = turn.tools[0].name
    return through(call, policy.format_call(Call(tool=name, arguments={})).index(name), policy)


def weighed(
    rows: Iterable[Example],
    own: Collection[tuple[int, ...]],
    earlier: Collection[tuple[int, ...]],
    weight: float,
) -> list[Example]:
    """Anchors that weigh `weight` together; probes weigh 1 each.

    own, earlier: prompts that the update's corrections are or may be about, and those before it. Nothing
    holds on to the base model on any of them; what earlier ones are about this update may not change either,
    so that probes are looked at there.
    """
    rows = list(rows)
    off = {"anchor": {*own, *earlier}, "probe": set(own)}
    held = max(1, sum(row.part == "anchor" and row.prompt_ids not in off["anchor"] for row in rows))
    share = {"anchor": weight / held, "probe": 1.0}
    return [
        msgspec.structs.replace(row, weight=0.0 if row.prompt_ids in off[row.part] else share[row.part])
        for row in rows
    ]


def _drawn_before(transcript: Transcript) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Completions of anchors and probes by prompt, from the plans of this log."""
    return {
        transcript.expand(ref.prompt): tuple(unpack_u32(ref.completion))
        for update in transcript.updates.values()
        for ref in update.examples
        if ref.part in ("anchor", "probe") and ref.prompt is not None
    }
