"""What a correction is about: which situations are like the prompt that it was given on.

The base model says which of `SITUATIONS` are like that prompt, however it is worded (`rewording`), and half
as much which are like the correction's own words (`optional.Discerning`). They fall into four; what becomes
of them is in `siblings`:

    siblings   the kind of request that has the two nearest of all: one situation alone may be near by a word.
               Where others are as near, all those, if they are of one family; where several tools are in
               question, the whole family
    near       what is left of that kind
    beside     the nearest of the others
    the rest   what anchors hold on to

On 98 prompts of 49 rules one kind leads on 87, and on all but one of these it is the rule's own
(docs/learning.md). Not every request is of a known kind: where one of another family is about as near
(`CLEAR`), or the prompt like none of it (`ENOUGH`), no situation is a sibling, or near.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from continualcode.core.optional import Discerning
from continualcode.plugins.trainers.probes import PROBES, probes_of
from continualcode.plugins.trainers.situations import KINDS, SITUATIONS, Kind, Situation

CLOSE = 0.6
"""The share of the nearest one's likeness from which on, where a prompt is of no kind, how a tool is called
is not held on a situation, as that may be what the correction is about."""

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
    siblings = [one for one in order if one in kind][:most]
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


def compared(
    policy: Discerning,
    prompts: Sequence[tuple[int, ...]],
    wordings: Sequence[tuple[int, ...]],
    words: tuple[int, ...],
    told: Callable[[int], None],
) -> tuple[list[float], list[float]]:
    """The likeness of all of `prompts`, and that to the corrected prompt's `wordings` alone.

    words: the correction as a prompt; empty: nothing was said. Prompts are read in `PORTIONS`, as the first
    time that takes a while; `told(portion)` is called before each.
    """
    for portion in range(PORTIONS):
        told(portion)
        policy.nearness(wordings, prompts[portion::PORTIONS])
    to_prompt = policy.nearness(wordings, prompts)
    if not words:
        return to_prompt, to_prompt
    to_words = policy.nearness([words], prompts)
    both = [(one + WORDS * other) / (1.0 + WORDS) for one, other in zip(to_prompt, to_words, strict=True)]
    return both, to_prompt


def _families(about: Iterable[Situation]) -> set[str]:
    wanted = set(about)
    return {kind.family for kind in KINDS if not wanted.isdisjoint(kind.requests)}


def _of(families: Collection[str]) -> tuple[Situation, ...]:
    return tuple(one for kind in KINDS if kind.family in families for one in kind.requests)


def probes_near(likeness: Sequence[float], found: Ranked) -> list[Situation]:
    """The probes that a correction is or may be about, which it is meant to change.

    likeness: that of situations, and then of probes. found: the situations ranked by it.
    """
    of_probes, top = likeness[len(SITUATIONS) :], max(likeness)
    near = [one for one, alike in zip(PROBES, of_probes, strict=True) if alike >= NEAR * top > 0.0]
    return [*dict.fromkeys((*near, *probes_of(_families((*found.siblings, *found.near)))))]
