"""Which correction broke a case: a binary search over the weights that a log has been through.

Broken means, of a control, that the call which it expects is no longer the more probable outcome; of a rule,
that the mistake has become more probable than with the base model, by more than a threshold.

The ends are measured first: what is broken with the base, or not broken by the whole log, has no correction
to blame. Between them ⌈log₂ n⌉ evaluations find one for n updates. Where a case is broken and mended more
than once, what is found is one of those that break it: whole before it, broken after it, both measured.

Weights of a probe come from the nearest state in the store: at most `store.EVERY` - 1 updates are trained.
"""

from collections.abc import Callable, Collection
from statistics import fmean

import msgspec

from continualcode.core.curriculum import Course
from continualcode.core.data import Data
from continualcode.core.errors import ReplayError, UsageError, nearest
from continualcode.core.evaluation.cases import CaseRule, Cases, Control
from continualcode.core.evaluation.measure import Ruler
from continualcode.core.protocols import Policy, Progress
from continualcode.core.replay import TrainerOf
from continualcode.core.retraining import Retrained, UpdateUse, retrained
from continualcode.core.store import WeightStore

EVEN = 0.5
"""A control is broken where the expected call is less probable than this."""


class Probe(Data, frozen=True):
    """One evaluation: after how many of the updates that moved the weights, with which.

    figures: by case, P(the expected call) of a control, P(the mistake) of a rule. broken: those that are.
    """

    updates: int
    weights: str
    figures: dict[str, float]
    broken: tuple[str, ...]


class Bisection(Data, frozen=True):
    """What was found. update: after which the case is broken, with its corrections; None: none is to blame.

    why: of None. updates: how many moved the weights. evaluations: without those of the two ends.
    before, after: the weights around the update. prompts: what the controls among the cases ask.
    """

    update: UpdateUse | None
    updates: int
    evaluations: int
    base: Probe
    last: Probe
    before: Probe | None = None
    after: Probe | None = None
    why: str = ""
    prompts: dict[str, str] = {}


def first_broken(n: int, broken: Callable[[int], bool]) -> int:
    """A k in 1..n with `broken(k)` but not `broken(k - 1)`, where 0 is known to be whole and n broken.

    Calls `broken` at most ⌈log₂ n⌉ times, never for 0 or n. The first such k, if what breaks stays broken.

    >>> first_broken(16, lambda k: k >= 11)
    11
    """
    whole, bad = 0, n
    while bad - whole > 1:
        middle = (whole + bad) // 2
        if broken(middle):
            bad = middle
        else:
            whole = middle
    return bad


def watched(cases: Cases, names: Collection[str] = ()) -> tuple[dict[str, CaseRule], dict[str, Control]]:
    """The rules and the controls (`control N`, as numbered in the file) to look at, by name.

    Without `names`: the controls that say what they expect. UsageError where a case cannot be seen to break.
    """
    rules = {rule.name: rule for rule in cases.rule}
    controls = {f"control {number}": one for number, one in enumerate(cases.control, 1)}
    for name in names:
        if name not in rules and name not in controls:
            raise UsageError(f"there is no case {name!r}; {nearest(name, [*rules, *controls])}")
        if name in rules and not rules[name].held_out:
            raise UsageError(f"the rule {name!r} has no [[rule.held_out]] to be measured on")
        if name not in rules and controls[name].expects is None:
            raise UsageError(f"{name!r} does not say what it `expects`: it cannot be seen to break")
    if names:
        return {n: rules[n] for n in names if n in rules}, {n: c for n, c in controls.items() if n in names}
    expecting = {name: one for name, one in controls.items() if one.expects is not None}
    if not expecting:
        raise UsageError(
            "no [[control]] says what it `expects`, so none can be seen to break; name a rule with --case: "
            f"{', '.join(rules) or 'there is none'}"
        )
    return {}, expecting


class Bisector:
    """A search through one log's weights, on `ruler`'s policy. threshold: by how much a rule may worsen."""

    def __init__(
        self,
        course: Course,
        cases: Cases,
        ruler: Ruler,
        policy: Policy,
        trainer_of: TrainerOf,
        store: WeightStore,
        *,
        threshold: float = 0.2,
        names: Collection[str] = (),
        progress: Progress | None = None,
        said: Callable[[Probe], None] = lambda probe: None,
    ) -> None:
        self._course = course
        self._rules, self._controls = watched(cases, names)
        self._ruler, self._policy, self._trainer_of, self._store = ruler, policy, trainer_of, store
        self._threshold, self._progress, self._said = threshold, progress, said
        self._worst: dict[str, float] = {}
        self._probes: dict[int, Probe] = {}
        self._moved: list[int] = []

    def run(self) -> Bisection:
        """Measure both ends, then search. Raises ReplayError where the log has learned nothing."""
        every = self._trained(len(self._course.attempts)).updates
        self._policy.reset()
        weights = self._policy.weights()
        for place, use in enumerate(every):
            if use.weights != weights:
                self._moved.append(place)
            weights = use.weights
        n = len(self._moved)
        if not n:
            raise ReplayError(
                f"{self._course.name}: no correction in it has moved the weights: nothing to search"
            )
        base = self._probe(0)
        prompts = {name: one.prompt for name, one in self._controls.items()}
        found = Bisection(update=None, updates=n, evaluations=0, base=base, last=base, prompts=prompts)
        if len(base.broken) == len(base.figures):
            return msgspec.structs.replace(found, why="broken with the base model already")
        last = self._probe(n)
        found = msgspec.structs.replace(found, last=last)
        searched = set(last.broken) - set(base.broken)
        if not searched:
            return msgspec.structs.replace(found, why="not broken with the weights that the log ends in")
        k = first_broken(n, lambda at: bool(searched & set(self._probe(at).broken)))
        return msgspec.structs.replace(
            found,
            update=every[self._moved[k - 1]],
            evaluations=len(self._probes) - 2,
            before=self._probe(k - 1),
            after=self._probe(k),
        )

    def _probe(self, updates: int) -> Probe:
        """The cases on the weights after so many updates; measured once."""
        if updates not in self._probes:
            self._trained(self._moved[updates - 1] + 1 if updates else 0)
            figures = self._measured()
            if not updates:
                self._worst = {
                    name: EVEN if name in self._controls else figure + self._threshold
                    for name, figure in figures.items()
                }
            probe = Probe(
                updates=updates,
                weights=self._policy.weights(),
                figures=figures,
                broken=tuple(name for name, figure in figures.items() if self._is_broken(name, figure)),
            )
            self._probes[updates] = probe
            self._said(probe)
        return self._probes[updates]

    def _trained(self, attempts: int) -> Retrained:
        """Give the policy the weights after so many of the log's updates."""
        part = self._course._replace(attempts=self._course.attempts[:attempts])
        return retrained(
            [part], self._trainer_of, self._policy, None, self._progress, store=self._store, resume=True
        )

    def _measured(self) -> dict[str, float]:
        cases = Cases(rule=tuple(self._rules.values()), control=tuple(self._controls.values()))
        found = self._ruler.measure(cases, progress=self._progress)
        rules = {name: fmean(one.violates for one in rows) for name, rows in found.rules.items()}
        rights = (one.right or 0.0 for one in found.controls)
        return rules | dict(zip(self._controls, rights, strict=True))

    def _is_broken(self, name: str, figure: float) -> bool:
        return figure < self._worst[name] if name in self._controls else figure > self._worst[name]
