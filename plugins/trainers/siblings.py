"""What a correction is about beside the prompt that it was given on, as the model itself sees it.

Learned on one prompt alone a correction stays with that prompt: more steps fit its words, and the mistake
comes back on others. So the base model says which of `SITUATIONS` are like the corrected prompt, however that
is worded (`rewording`), and half as much which are like the correction's own words (`optional.Discerning`),
and they fall into four:

    siblings   the kind of request that has the two nearest of all: one situation alone may be near by a word.
               Where others are as near, all those, if they are of one family; where several tools are in
               question, the whole family. The teacher is shown the correction there too, and what it would
               do instead is learned, if it is a call of the same tool as on the corrected prompt, and, where
               that is how the tool is called, says what parted the demonstration from what was rejected.
               Where those are few, the corrected prompt in other words makes up for it
    near       what is left of that kind: the correction may be about them or not, so nothing is learned or
               held there, now and later
    beside     the nearest of the others: the choice of tool is not held there while this correction is
               learned, as that would hold the siblings too. Later it is, else a dozen corrections leave
               nothing to hold. How the tool is called is held (`held`), where that is what is corrected, but
               on what is of the same family: "new code goes into src/" is about JavaScript as well
    the rest   what anchors hold on to

On 98 prompts of 49 rules one kind leads on 87, and on all but one of these it is the rule's own
(docs/learning.md). Not every request is of a known kind: where one of another family is about as near
(`CLEAR`), or the prompt like none of it (`ENOUGH`), no situation is a sibling, or near.

A correction that names a folder of the corrected prompt ("never change files in generated/") is about files
in that folder. Its siblings are the situations with a file, moved there; as they are they count as near.
Probes of the family that a correction is about do not count for the gate: it is meant to change them.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple, cast

import msgspec

from continualcode.core.data import Example, Message, Part
from continualcode.core.events import CorrectionGiven
from continualcode.core.optional import Discerning
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.held import HELD, held
from continualcode.plugins.trainers.in_question import called, tools_in_question
from continualcode.plugins.trainers.probes import PROBES, probes_of
from continualcode.plugins.trainers.rewording import reworded
from continualcode.plugins.trainers.settings import SdpoSettings
from continualcode.plugins.trainers.situations import KINDS, SITUATIONS, Kind, Situation, messages
from continualcode.plugins.trainers.teacher_context import NEUTRAL

LEAST = 0.2
"""Likeness, as a share of its nearest one's, from which on a situation of the kind is a sibling."""

CLOSE = 0.6
"""The same of all situations where a prompt is of no kind: how a tool is called is held on none that is so
close, as it may be what the correction is about."""

NEXT, NEAR = 14, 0.45
"""So many situations are siblings or by them, and all that have this share of the greatest likeness."""

NEAREST = 2
"""A kind is as near as so many of its situations are in the mean, the nearest ones."""

CLEAR = 0.85
"""Kinds lead that have this share of the nearest one's likeness; if of several families, it is about none."""

ENOUGH = 0.35
"""The least likeness of the corrected prompt to the nearest situation of its kind; else it is of no kind."""

WORDS = 0.5
"""What likeness to the correction's words counts for, beside likeness to the prompt."""

NAMED = 10
"""How many tokens a sibling's demonstration has at most where several tools are in question: the name of one.
Else it is as long as the corrected prompt's."""

FEW = 6
"""With fewer siblings than so many the corrected prompt's own variants stand in (`rewording`)."""

PORTIONS = 8
"""In how many parts the situations are read."""


class Ranked(NamedTuple):
    """Situations by what they are to a corrected prompt, the nearest first. outside: not of its family."""

    siblings: tuple[Situation, ...]
    near: tuple[Situation, ...]
    beside: tuple[Situation, ...]
    outside: tuple[Situation, ...]


def ranked(likeness: Sequence[float], to_prompt: Sequence[float], most: int, whole: bool) -> Ranked:
    """At most `most` siblings, and what is by them, from the likeness of each of `SITUATIONS`.

    to_prompt: the same to the corrected prompt alone, whatever was said.
    whole: siblings are of the whole family; else of the leading kinds.
    """
    alike = dict(zip(SITUATIONS, likeness, strict=True))
    order = sorted(SITUATIONS, key=lambda one: -alike[one])
    kind = _leading(alike, dict(zip(SITUATIONS, to_prompt, strict=True)), whole)
    least = LEAST * max((alike[one] for one in kind), default=0.0)
    siblings = [one for one in order if one in kind and alike[one] >= least][:most]
    others = [one for one in order if one not in siblings]
    top = max(alike[order[0]], 0.0)
    near = [one for one in others if one in kind]
    beside = [
        one
        for place, one in enumerate(others, len(siblings))
        if one not in kind and (place < NEXT or alike[one] >= NEAR * top)
    ]
    family = set(_of(_families(kind)))
    outside = [one for one in order if one not in family and (kind or alike[one] < CLOSE * top)]
    return Ranked(tuple(siblings), tuple(near), tuple(beside), tuple(outside))


def _leading(
    alike: Mapping[Situation, float], to_prompt: Mapping[Situation, float], whole: bool
) -> tuple[Situation, ...]:
    """What is of the kind that a correction is about; empty: of none that is known. whole: its family."""
    nearness = {kind: _nearness(kind, alike) for kind in KINDS}
    top = max(nearness.values())
    leading = [kind for kind, near in nearness.items() if near >= CLEAR * top > 0.0]
    families = {kind.family for kind in leading}
    found = _of(families) if whole else tuple(one for kind in leading for one in kind.requests)
    if len(families) == 1 and max(to_prompt[one] for one in found) >= ENOUGH:
        return found
    return ()


def _nearness(kind: Kind, alike: Mapping[Situation, float]) -> float:
    return fmean(sorted((alike[one] for one in kind.requests), reverse=True)[:NEAREST])


def parts(settings: SdpoSettings) -> int:
    """How many parts there are at most to what is beside a demonstration."""
    return PORTIONS + settings.siblings + FEW + HELD


def siblings(
    row: Example,
    correction: CorrectionGiven,
    turn: SampledTurn,
    policy: Policy,
    settings: SdpoSettings,
    told: Callable[[int], None],
) -> list[Example]:
    """The rows beside `row`, the demonstration on the corrected prompt: siblings, and what is near.

    `told(done)`, of `parts(settings)`, is called where this can be stopped.
    """
    most, asked = settings.siblings, tools_in_question(turn, correction)
    among = (*SITUATIONS, *PROBES)
    prompts = [policy.render(messages(turn, one), turn.tools) for one in among]
    again = reworded(turn.messages, correction.feedback, FEW)
    wordings = [row.prompt_ids, *(policy.render(variant, turn.tools) for variant in again)]
    likeness, to_prompt = _likeness(wordings, correction, turn, prompts, policy, told)
    found = ranked(likeness[: len(SITUATIONS)], to_prompt[: len(SITUATIONS)], most, whole=len(asked) > 1)
    kin = probes_of(_families((*found.siblings, *found.near)))
    probed = dict.fromkeys((*_probes_near(likeness), *kin))
    if folder := _folder(correction, turn):
        near = (*found.siblings, *found.near)
        moved = (_moved(one, folder) for one in (*near, *found.beside) if _file(one))
        found = Ranked(tuple(moved)[:most], near, found.beside, found.outside)
    name = called(row.completion_ids, turn, policy)
    tokens = len(row.completion_ids) if len(asked) == 1 else NAMED
    corrected = _corrected(row.completion_ids, turn.completion_ids)

    def learned(conversation: tuple[Message, ...], number: int) -> Example | None:
        """The row of a request; None: the teacher does not do there what was corrected."""
        told(PORTIONS + number)
        example = _sibling(row, conversation, correction, turn, policy, tokens)
        same_tool = called(example.completion_ids, turn, policy) == name
        heeds = same_tool and (len(asked) > 1 or _says(example.completion_ids, corrected))
        return example if heeds else None

    shown = [(one, learned(messages(turn, one), number)) for number, one in enumerate(found.siblings)]
    passed = [one for one, example in shown if example is None]
    rows = [example for _, example in shown if example is not None]
    again = again[: max(0, min(most, FEW) - len(rows))]
    rows += filter(None, (learned(variant, most + number) for number, variant in enumerate(again)))
    rows = [msgspec.structs.replace(each, weight=row.weight / len(rows)) for each in rows]
    if len(asked) == 1:
        rows += held(
            row, asked[0], turn, found.outside, policy, settings, lambda n: told(PORTIONS + most + FEW + n)
        )
    rows += [_idle("near", row, one, turn, policy) for one in (*passed, *found.near)]
    return rows + [_idle("beside", row, one, turn, policy) for one in (*found.beside, *probed)]


def _corrected(shown: Sequence[int], rejected: Sequence[int]) -> tuple[int, ...]:
    """The two tokens with which a demonstration parts from what was rejected."""
    pairs = enumerate(zip(shown, rejected, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(shown), len(rejected)))
    return tuple(shown[place : place + 2])


def _says(call: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether these tokens are in a call, one after the other."""
    return any(tuple(call[n : n + len(tokens)]) == tuple(tokens) for n in range(len(call)))


def _likeness(
    wordings: Sequence[tuple[int, ...]],
    correction: CorrectionGiven,
    turn: SampledTurn,
    prompts: Sequence[tuple[int, ...]],
    policy: Policy,
    told: Callable[[int], None],
) -> tuple[list[float], list[float]]:
    """The likeness of all of `prompts`, and that to the corrected prompt's `wordings` alone.

    They are read in portions: the first time that takes a while.
    """
    discerning = cast(Discerning, policy)
    for portion in range(PORTIONS):
        told(portion)
        discerning.nearness(wordings, prompts[portion::PORTIONS])
    to_prompt = discerning.nearness(wordings, prompts)
    if not (words := correction.feedback.strip()):
        return to_prompt, to_prompt
    said = policy.render(messages(turn, Situation(words)), turn.tools)
    to_words = discerning.nearness([said], prompts)
    both = [(one + WORDS * other) / (1.0 + WORDS) for one, other in zip(to_prompt, to_words, strict=True)]
    return both, to_prompt


def _families(about: Iterable[Situation]) -> set[str]:
    wanted = set(about)
    return {kind.family for kind in KINDS if not wanted.isdisjoint(kind.requests)}


def _of(families: Collection[str]) -> tuple[Situation, ...]:
    return tuple(one for kind in KINDS if kind.family in families for one in kind.requests)


def _probes_near(likeness: Sequence[float]) -> list[Situation]:
    """The probes that the correction may be about, from the likeness of situations and then of probes."""
    of_probes, top = likeness[len(SITUATIONS) :], max(likeness)
    return [one for one, alike in zip(PROBES, of_probes, strict=True) if alike >= NEAR * top > 0.0]


def about(examples: Iterable[Example], *, now: bool) -> set[tuple[int, ...]]:
    """The prompts that corrections are about, or may be: what no anchor holds on to.

    now: while they are learned; later, what was only beside them is held again.
    """
    free = ("held",) if now else ("held", "beside")
    return {row.prompt_ids for row in examples if row.correction and row.part not in free}


def _sibling(
    row: Example,
    asked: tuple[Message, ...],
    correction: CorrectionGiven,
    turn: SampledTurn,
    policy: Policy,
    tokens: int,
) -> Example:
    """The row of a request on which the teacher is shown the correction, of at most so many tokens."""
    ids, told, neutral = (
        policy.render((*asked, *said), turn.tools)
        for said in (
            (),
            (Message(role="user", text=correction.feedback.strip() or NEUTRAL),),
            (Message(role="user", text=NEUTRAL),),
        )
    )
    shown = policy.demonstrate(
        told, neutral, row.grammar, teacher="base", guidance=row.guidance, max_tokens=tokens
    )
    return msgspec.structs.replace(
        row,
        part="sibling",
        prompt_ids=ids,
        teacher_ids=told,
        neutral_ids=neutral if row.neutral_ids else (),
        completion_ids=shown.token_ids,
    )


def _idle(part: Part, row: Example, one: Situation, turn: SampledTurn, policy: Policy) -> Example:
    """A row on which nothing is learned."""
    ids = policy.render(messages(turn, one), turn.tools)
    return msgspec.structs.replace(
        row,
        part=part,
        prompt_ids=ids,
        teacher_ids=ids,
        neutral_ids=(),
        completion_ids=row.completion_ids[:1],
        weight=0.0,
        student_grammar=None,
        forced=False,
    )


def _folder(correction: CorrectionGiven, turn: SampledTurn) -> str:
    """A folder that the correction names and the conversation is about, with its slash; or empty."""
    conversation = [message for message in turn.messages if message.role != "system"]
    said = " ".join(f"{m.text} {m.call.arguments if m.call else ''}" for m in conversation)
    return next((f for f in re.findall(r"[\w.-]+/", correction.feedback) if f in said), "")


def _moved(one: Situation, folder: str) -> Situation:
    file = _file(one)
    path = folder + file.rpartition("/")[2]
    return Situation(one.text.replace(file, path), path if one.path else "", one.content)


def _file(one: Situation) -> str:
    """The file that a situation is about; empty: none."""
    named = re.search(r"[\w/-]*\w\.\w+", one.text)
    return one.path or (named[0] if named else "")
