"""Corrections of different people that pull apart: `cc replay LOG… --conflicts`.

Two ways to find one. By what they say: one asks for the kind of call that the other forbids, in the same
situation (`plugins.feedback.contradictions`). By what they do: training the later one takes the weights away
from the earlier one's teacher (`core.watching`); that needs a training, not a dry run.

People are told apart by log and by who gave a correction. As it stands the later of two, in the order of
time, comes last; each conflict names the options that would settle it otherwise.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import msgspec

from continualcode.core.curriculum import Course, in_order
from continualcode.core.data import Data
from continualcode.core.retraining import CorrectionUse, Retrained
from continualcode.plugins.feedback.contradictions import opposed, wish

Place: TypeAlias = tuple[str, int]
"""A correction by its log and event."""


class Conflict(Data, frozen=True):
    """Two corrections that pull apart. said: by their words. before, after: see `Undone`; None: not measured.

    resolve: what each option of `cc replay` would do about it.
    """

    earlier: CorrectionUse
    later: CorrectionUse
    said: bool
    before: float | None = None
    after: float | None = None
    resolve: dict[str, str] = {}


def conflicting(courses: Sequence[Course], found: Retrained) -> list[Conflict]:
    """The conflicts among the corrections that took part, in the order of the later one."""
    learned = [u for u in found.updates if u.outcome in ("as_logged", "changed", "planned")]
    uses = [use for update in learned for use in update.corrections if use.taken]
    pairs: dict[tuple[Place, Place], Conflict] = {}
    for earlier, later in _opposed(courses, uses):
        pairs[_place(earlier), _place(later)] = Conflict(earlier=earlier, later=later, said=True)
    for update in learned:
        for undone, later in itertools.product(update.undoes, update.corrections):
            earlier = undone.correction
            if not later.taken or _person(earlier) == _person(later):
                continue
            key = _place(earlier), _place(later)
            known = pairs.get(key, Conflict(earlier=earlier, later=later, said=False))
            pairs[key] = msgspec.structs.replace(known, before=undone.before, after=undone.after)
    order = {_place(use): number for number, use in enumerate(uses)}
    keys = sorted(pairs, key=lambda key: (order[key[1]], order[key[0]]))
    return [msgspec.structs.replace(pairs[key], resolve=_resolve(pairs[key])) for key in keys]


def describe_conflicts(conflicts: Sequence[Conflict]) -> str:
    """For a person: both sides, the figures, and what would settle it."""
    if not conflicts:
        return "no conflicts found"
    lines = [f"{len(conflicts)} conflicts:"]
    for one in conflicts:
        lines += [f"  {_side(one.earlier)}", f"  {_side(one.later)}"]
        if one.said:
            lines += ["    one asks for what the other forbids"]
        if one.before is not None and one.after is not None:
            lines += [
                f"    the later undoes the earlier: {one.before:.2f} → {one.after:.2f} nats off its teacher"
            ]
        lines += [f"    {option}: {does}" for option, does in one.resolve.items()]
    return "\n".join(lines)


def _opposed(
    courses: Sequence[Course], uses: Sequence[CorrectionUse]
) -> Iterator[tuple[CorrectionUse, CorrectionUse]]:
    """Pairs of different people that say the opposite; the earlier first."""
    there = {_place(use): use for use in uses}
    wishes = [
        (there[attempt.log, correction.seq], asked)
        for attempt in in_order(courses)
        for correction in attempt.own
        if (attempt.log, correction.seq) in there
        and (asked := wish(correction, attempt.transcript)) is not None
    ]
    for (earlier, one), (later, other) in itertools.combinations(wishes, 2):
        if _person(earlier) != _person(later) and opposed(one, other):
            yield earlier, later


def _resolve(one: Conflict) -> dict[str, str]:
    earlier, later = (f"{use.log}@{use.seq}" for use in (one.earlier, one.later))
    return {
        f"--without {earlier}": f"keeps only {later}",
        f"--without {later}": f"keeps only {earlier}",
        f"--weight {later}=0.5": f"{later} is still learned last, half as strongly",
    }


def _side(use: CorrectionUse) -> str:
    return f"{use.log}@{use.seq} {use.kind}, {use.by}: {use.words}"


def _person(use: CorrectionUse) -> tuple[str, str]:
    return use.log, use.by


def _place(use: CorrectionUse) -> Place:
    return use.log, use.seq
