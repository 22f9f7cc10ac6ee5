"""Which earlier corrections an update undoes, measured on the weights.

The rows of earlier corrections are held against their teacher as it is before the update: scored once, looked
at before it and after it, never stepped on. A correction that was learned is near its teacher; one that an
update undoes is then further away than it was. The figures are the divergence summed over a correction's
completions, in nats: a mean over tokens would hide a tool's name, where most of it is, behind the
arguments.

What is said is that it went away from its teacher, not why: a step too long does that, too.
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from continualcode.core.data import LESSONS, Example, StepReport, UpdatePlan
from continualcode.core.protocols import Policy

SHARE, NATS = 0.5, 0.5
"""A correction is undone where its divergence rises by more than this share of it, and these nats."""


class Moved(NamedTuple):
    """An earlier correction, by id, and its divergence in nats before and after the update."""

    correction: str
    before: float
    after: float


class Watch:
    """Looks at the rows of `earlier` updates' corrections, but for `own`: made before `plan` is carried out.

    Costs one pass of the teacher and two of the student over those rows; changes nothing of the policy.
    """

    def __init__(
        self, plan: UpdatePlan, own: Collection[str], earlier: Sequence[UpdatePlan], policy: Policy
    ) -> None:
        self._examples = _learned(earlier, own)
        if not self._examples:
            return
        self._batch = policy.prepare(self._examples, plan.objective, plan.optimiser)
        self._before = self._look(policy)

    def undone(self, policy: Policy) -> tuple[Moved, ...]:
        """Those that the update undid, worst first; asked after it."""
        return worse(self._before, self._look(policy)) if self._examples else ()

    def _look(self, policy: Policy) -> dict[str, float]:
        return by_correction(self._examples, policy.step(self._batch, stop_below=math.inf))


def by_correction(examples: Sequence[Example], report: StepReport) -> dict[str, float]:
    """The divergence of each correction in nats, summed over the completions of its rows.

    `report` is a look at a batch of exactly these examples.
    """
    found: dict[str, float] = {}
    for example, row in zip(examples, report.divergences, strict=True):
        found[example.correction] = found.get(example.correction, 0.0) + math.fsum(row)
    return found


def worse(before: dict[str, float], after: dict[str, float]) -> tuple[Moved, ...]:
    """The corrections whose divergence rose by more than `SHARE` of what it was and more than `NATS`.

    >>> worse({"a": 0.2, "b": 2.0}, {"a": 3.0, "b": 2.1})
    (Moved(correction='a', before=0.2, after=3.0),)
    """
    moved = (Moved(id, before[id], after[id]) for id in before)
    found = [one for one in moved if one.after - one.before > max(NATS, SHARE * one.before)]
    return tuple(sorted(found, key=lambda one: one.before - one.after))


def _learned(earlier: Sequence[UpdatePlan], own: Collection[str]) -> tuple[Example, ...]:
    """What each correction is learned on, from the update that took it up: later ones only rehearse it."""
    found: dict[str, list[Example]] = {}
    for plan in earlier:
        new: dict[str, list[Example]] = {}
        for row in plan.examples:
            known = row.correction in found or row.correction in own
            if row.part in LESSONS and row.weight and not known:
                new.setdefault(row.correction, []).append(row)
        found |= new
    return tuple(row for rows in found.values() for row in rows)
