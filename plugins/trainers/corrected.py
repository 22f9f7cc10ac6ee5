"""The rows of one correction on the prompt it was given on: what was rejected, and what is done instead."""

from collections.abc import Sequence
from itertools import zip_longest

import msgspec

from continualcode.core.data import Example, ToolSpec
from continualcode.core.errors import UpdateError
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn, Transcript
from continualcode.plugins.trainers.examples import retold
from continualcode.plugins.trainers.forms import Form, form
from continualcode.plugins.trainers.in_question import (
    grammar_of,
    keeping,
    spoken,
    tools_in_question,
    unheeded,
)
from continualcode.plugins.trainers.places import Move, move
from continualcode.plugins.trainers.settings import SdpoSettings
from continualcode.plugins.trainers.teacher_context import neutral_prompt, teacher_prompt

NARROWED = 2
"""How often what may be shown is narrowed down: to a tool, and to a place."""

COMPARED = ("forward_kl", "sampled")
"""Divergences with which a student may have more choice than its teacher."""


def corrected(
    correction: CorrectionGiven, transcript: Transcript, policy: Policy, settings: SdpoSettings
) -> list[Example]:
    """The rejected sample, the demonstration that the teacher gives instead, or both; raises UpdateError."""
    sample = _rejected(correction, transcript, policy, settings)
    rows = [sample] if settings.rows != "demonstration" else []
    if settings.rows != "sample":
        rows.append(_demonstration(sample, correction, transcript, policy, settings))
    return rows


def _demonstration(
    sample: Example,
    correction: CorrectionGiven,
    transcript: Transcript,
    policy: Policy,
    settings: SdpoSettings,
) -> Example:
    """What the teacher would do instead, among the tools in question; weighs 0 if it is what was rejected."""
    turn = transcript.sampled(correction.sample)
    imitated = settings.teacher == "completion"  # shown by the base model, learned as it stands
    neutral = neutral_prompt(turn, policy) if settings.guidance != 1.0 else ()
    most = settings.demonstration_tokens

    def shown(grammar: str | None, tokens: int = most) -> tuple[int, ...]:
        return policy.demonstrate(
            sample.teacher_ids,
            neutral,
            grammar,
            teacher="base" if imitated else settings.teacher,
            guidance=settings.guidance,
            max_tokens=tokens,
        ).token_ids

    asked = tools_in_question(turn, correction)
    tools = left = keeping(asked, turn, correction)
    whole = grammar = grammar_of(tools, turn, policy)
    instead = shown(grammar)
    can_force = grammar is not None and settings.divergence in COMPARED
    narrower = _narrower(instead, left, turn, correction, policy)
    for _ in range(NARROWED):
        if narrower and can_force:
            left, grammar = narrower, grammar_of(narrower, turn, policy)
            instead = shown(grammar)
            narrower = _narrower(instead, left, turn, correction, policy)
    if left is tools and len(asked) == 1 and len(instead) == most and _parting(instead, sample) is None:
        # Nothing is said of another tool: it may part from what was rejected later on.
        instead = shown(grammar, max(most, len(sample.completion_ids)))
    parting = _parting(instead, sample)
    forced = left is not tools
    among_all = len(left) < len(tools) or _among_all(whole, turn, correction, settings)
    return msgspec.structs.replace(
        sample,
        part="demonstration",
        completion_ids=instead[: (parting or 0) + most],
        weight=0.0 if parting is None or narrower else 1.0,
        sampled_logprobs=(),
        grammar=grammar,
        guidance=1.0 if imitated else settings.guidance,
        neutral_ids=() if imitated else neutral,
        student_grammar=turn.grammar if among_all else whole if forced else None,
        forced=forced,
    )


def directed(
    shown: Sequence[int], turn: SampledTurn, correction: CorrectionGiven, policy: Policy
) -> Form | Move | None:
    """Of which form the words want a call to be, or where they, or the completion `shown`, want it to go."""
    return form(turn, correction) or move(shown, turn, correction, policy)


def _narrower(
    ids: Sequence[int],
    tools: tuple[ToolSpec, ...],
    turn: SampledTurn,
    correction: CorrectionGiven,
    policy: Policy,
) -> tuple[ToolSpec, ...]:
    """What of `tools` the words ask for, where a completion does not do it; empty: it does.

    The model may not do what it reads, where the words say which tool it is to call, or where to.
    """
    if wanted := unheeded(ids, turn, correction, policy):
        return keeping(wanted, turn, correction)
    moves = directed(ids, turn, correction, policy)
    return moves.only(tools) if moves and not moves.heeded(ids, turn, policy) else ()


def _parting(instead: Sequence[int], rejected: Example) -> int | None:
    """The first token of `instead` that is another than the rejected one's; None: there is none."""
    pairs = enumerate(zip_longest(instead, rejected.completion_ids[: len(instead)]))
    return next((place for place, (one, other) in pairs if one != other), None)


def _among_all(
    grammar: str | None, turn: SampledTurn, correction: CorrectionGiven, settings: SdpoSettings
) -> bool:
    """Whether the student is compared among all tools, where the teacher chose among those in question.

    Not where one tool is in question: then the choice of tool is left as it is.
    """
    several = len(tools_in_question(turn, correction)) > 1
    return several and grammar != turn.grammar and settings.divergence in COMPARED


def _rejected(
    correction: CorrectionGiven, transcript: Transcript, policy: Policy, settings: SdpoSettings
) -> Example:
    """The sample as it was drawn."""
    turn = transcript.sampled(correction.sample)
    slots = transcript.slots(correction)
    if correction.solution is not None and not slots.solution:
        slots = msgspec.structs.replace(slots, solution=policy.format_call(correction.solution))
    slots = msgspec.structs.replace(slots, feedback=retold(slots.feedback, spoken(turn.messages), turn))
    context = policy.model.context
    longest = max(len(turn.completion_ids), settings.demonstration_tokens)
    room = min(context, settings.max_context or context) - longest
    try:
        teacher_ids = teacher_prompt(turn, slots, policy, room)
    except UpdateError as error:
        raise UpdateError(f"correction {correction.id}, sample {correction.sample}: {error}") from None
    return Example(
        correction=correction.id,
        sample=correction.sample,
        prompt_ids=turn.prompt_ids,
        teacher_ids=teacher_ids,
        completion_ids=turn.completion_ids,
        sampled_logprobs=turn.logprobs,
        temperature=turn.params.temperature,
        grammar=turn.grammar,
    )
