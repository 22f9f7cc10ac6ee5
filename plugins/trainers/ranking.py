"""What a correction is about: which situations are like the prompt that it was given on.

The base model says which of `SITUATIONS` are like that prompt, however it is worded (`rewording`), and half
as much which are like the correction's own words (`optional.Discerning`). They fall into four; what becomes
of them is in `siblings`:

    siblings   the kind of request that has the two nearest of all: one situation alone may be near by a word.
               Others that are as near (`CLEAR`), of whatever family; where several tools are in question
               those of their families that are half as near (`ALSO`), as well: half of them the nearest, and
               then what stands for each kind. Half as many again are statements and questions of these
               kinds: what is learned on orders alone does not reach those
    near       what is left of these, or then of their families
    beside     the nearest of the others
    the rest   what anchors hold on to

Not every request is of a known kind: where the prompt is like nothing of what leads (`ENOUGH`), no situation
is a sibling, or near.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from statistics import fmean
from typing import NamedTuple

from continualcode.core.optional import Discerning
from continualcode.plugins.trainers.probes import PROBES, probes_of
from continualcode.plugins.trainers.situations import KINDS, OTHERWISE, Kind, Situation

NEXT, NEAR = 14, 0.45
"""So many situations are siblings or by them, and all that have this share of the greatest likeness. On these
how a tool is called is not held either, as that may be what the correction is about."""

NEAREST = 2
"""A kind is as near as so many of its situations are in the mean, the nearest ones."""

CLEAR = 0.7
"""Kinds lead that have this share of the nearest one's likeness: less than that is clear, and what is not
clear is better learned on two kinds than on the wrong one (docs/learning.md)."""

ALSO = 0.5
"""Where several tools are in question, kinds of these families have siblings that have this share of it."""

ENOUGH = 0.2
"""The least likeness of the corrected prompt to the nearest situation of what leads; else of no kind."""

WORDS = 0.5
"""What likeness to the correction's words counts for, beside likeness to the prompt."""

FIRST, READ = 3, 10
"""So many of a kind's requests stand for it, and of so many kinds, the nearest, all are compared."""

PORTIONS = 8
"""In how many parts what stands for kinds is read."""

APART = frozenset((*PROBES, *OTHERWISE))
"""What a kind is not told by."""

PARTS = PORTIONS + READ
"""In how many parts situations are read at most."""


class Compared(NamedTuple):
    """Of situations and probes, how like they are: in all, and to the corrected prompt whatever was said."""

    alike: Mapping[Situation, float]
    to_prompt: Mapping[Situation, float]


class Ranked(NamedTuple):
    """Situations by what they are to a corrected prompt, the nearest first.

    outside: the nearest of each kind that is of no family that leads, where it is not too near (`NEAR`).
    """

    siblings: tuple[Situation, ...]
    near: tuple[Situation, ...]
    beside: tuple[Situation, ...]
    outside: tuple[Situation, ...]


def ranked(found: Compared, most: int, whole: bool, alone: bool = False) -> Ranked:
    """Siblings, at most `most` of them orders, and what is by them, of the situations that were compared.

    whole: several tools are in question. alone: requests were compared, whether a file was read or not.
    """
    alike = {one: near for one, near in found.alike.items() if one not in APART}
    order = sorted(alike, key=lambda one: -alike[one])
    leading = _leading(found)
    # Else a prompt is like what comes after a call only where it does as well.
    of = {kind: (kind.family, kind.begun and not alone) for kind in KINDS}
    families = {of[kind] for kind in leading}
    kin = [kind for kind in KINDS if of[kind] in families]
    by_kind = {kind: _nearness(kind, alike) for kind in kin}
    wide = [kind for kind in kin if by_kind[kind] >= ALSO * max(by_kind.values())]
    about = _requests(wide if whole else leading)
    may_be = {*_requests(kin if whole else ()), *_requests(leading)}
    if alone:  # what was read is their own then
        about = tuple(one for one in _requests(kin) if one.path) or about
    orders = _spread([one for one in order if one in about], most)[:most]
    otherwise = _otherwise(orders, found.alike)
    if alone:
        otherwise = [one for one in otherwise if one.path] or otherwise
    others = [one for one in order if one not in orders]
    top = max(alike[order[0]], 0.0)
    near = [one for one in others if one in may_be]
    beside = [
        one
        for place, one in enumerate(others, len(orders))
        if one not in may_be and (place < NEXT or alike[one] >= NEAR * top)
    ]
    nearest = {kind: next(one for one in order if one in kind.requests) for kind in KINDS}
    outside = [one for kind, one in nearest.items() if of[kind] not in families]
    outside = [one for one in order if one in outside and alike[one] < NEAR * top]
    return Ranked((*orders, *otherwise[: in_all(most) - most]), tuple(near), tuple(beside), tuple(outside))


def in_all(most: int) -> int:
    """How many siblings there are at most, orders and others, where `most` are orders."""
    return most + most // 2


def _spread(order: Sequence[Situation], most: int) -> list[Situation]:
    """Half of `most` in this order, then what stands for each kind that has none of these, then the rest."""
    near = list(order[: most // 2])
    others = [kind for kind in KINDS if set(kind.requests).isdisjoint(near)]
    kinds = [kind for one in order for kind in others if one in kind.requests]
    first = [*near, *dict.fromkeys(next(one for one in kind.requests if one in order) for kind in kinds)]
    return [*first, *(one for one in order if one not in first)]


def _otherwise(orders: Collection[Situation], alike: Mapping[Situation, float]) -> list[Situation]:
    """What the kinds of `orders` have that is put otherwise: the nearest of each kind, then the next."""
    kinds = [kind.otherwise for kind in KINDS if not set(kind.requests).isdisjoint(orders)]
    ranks = [sorted(filter(alike.__contains__, those), key=lambda one: -alike[one]) for those in kinds]
    rounds = ([one for one in nth if one is not None] for nth in zip_longest(*ranks))
    return [one for nth in rounds for one in sorted(nth, key=lambda one: -alike[one])]


def _leading(found: Compared) -> list[Kind]:
    """The kinds that a correction may be about, the nearest first; empty: it is about none that is known."""
    nearness = {kind: _nearness(kind, found.alike) for kind in KINDS}
    top = max(nearness.values())
    leading = [kind for kind in KINDS if nearness[kind] >= CLEAR * top > 0.0]
    nearest = max((found.to_prompt.get(one, 0.0) for one in _requests(leading)), default=0.0)
    return sorted(leading, key=lambda kind: -nearness[kind]) if nearest >= ENOUGH else []


def _nearness(kind: Kind, alike: Mapping[Situation, float]) -> float:
    near = (alike[one] for one in kind.requests if one in alike)
    return fmean(sorted(near, reverse=True)[:NEAREST])


def compared(
    policy: Discerning,
    render: Callable[[Situation], tuple[int, ...]],
    wordings: Sequence[tuple[int, ...]],
    words: tuple[int, ...],
    told: Callable[[int], None],
) -> Compared:
    """The likeness of what stands for each kind, of probes, and of all that is of the nearest kinds.

    render: a situation as a prompt. wordings: the corrected prompt, and its variants. words: the correction
    as a prompt; empty: nothing was said. As it takes a while the first time, what is new is read in
    `PORTIONS`, and then kind by kind: the same ones together every time. `told(part)` is called before each.
    """

    def likeness(to: Sequence[tuple[int, ...]], whose: Sequence[Situation]) -> dict[Situation, float]:
        return dict(zip(whose, policy.nearness(to, [render(one) for one in whose]), strict=True))

    def both(whose: Sequence[Situation]) -> Compared:
        to_prompt = likeness(wordings, whose)
        if not words:
            return Compared(to_prompt, to_prompt)
        to_words = likeness([words], whose)
        alike = {one: (near + WORDS * to_words[one]) / (1.0 + WORDS) for one, near in to_prompt.items()}
        return Compared(alike, to_prompt)

    first = [*(one for kind in KINDS for one in kind.requests[:FIRST]), *PROBES]
    for portion in range(PORTIONS):
        told(portion)
        likeness(wordings, first[portion::PORTIONS])
    alike = both(first).alike
    nearest = sorted(KINDS, key=lambda kind: -_nearness(kind, alike))[:READ]
    rest = [(*kind.requests[FIRST:], *kind.otherwise) for kind in nearest]
    for number, requests in enumerate(rest, PORTIONS):
        told(number)
        if requests:
            likeness(wordings, requests)
    return both([*first, *chain.from_iterable(rest)])


def _families(about: Iterable[Situation]) -> set[str]:
    wanted = set(about)
    return {kind.family for kind in KINDS if not wanted.isdisjoint(kind.requests)}


def _requests(kinds: Iterable[Kind]) -> tuple[Situation, ...]:
    return tuple(one for kind in kinds for one in kind.requests)


def probes_near(found: Compared, ranks: Ranked) -> list[Situation]:
    """The probes that a correction is or may be about, which it is meant to change."""
    top = max(found.alike.values())
    near = [one for one in PROBES if found.alike[one] >= NEAR * top > 0.0]
    return [*dict.fromkeys((*near, *probes_of(_families((*ranks.siblings, *ranks.near)))))]
