"""Trains along a curriculum: as logged, or with corrections left out, weighted, or planned another way.

A plan's own rows and its anchors are data of the log. What a plan takes from earlier updates (rehearsal)
depends on which of those stand, so the trainer says it again (`Trainer.replan`) for the updates that stand
here. So to leave a correction out is exact: its rows go from its own update and from all later ones, an
update that took up nothing else is not run, the gate judges anew, and the weights are bit for bit those of a
log that never had it (on the same stack; the teacher, hence every demonstration, being the base model).

What is not undone: later samples were drawn from weights that had learned it, and what was said about it may
stand in the conversation before them. Updates on such samples are flagged `off_policy`.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from continualcode.core.carrying import Carrier
from continualcode.core.curriculum import Attempt, Choice, Course, Verdict, decide, in_order
from continualcode.core.data import Data, UpdateOutcome, UpdatePlan
from continualcode.core.errors import UpdateError
from continualcode.core.events import CorrectionGiven, UpdateApplied, UpdateStarted
from continualcode.core.models import require_same_model
from continualcode.core.protocols import Policy, Progress, Trainer
from continualcode.core.replay import TrainerOf, plan_of
from continualcode.core.store import WeightStore
from continualcode.core.transcript import Transcript
from continualcode.core.watching import Moved, Watch


class Changes(Data, frozen=True):
    """What is done otherwise than logged. trainer: another one; settings: laid over the logged ones.

    A trainer or settings given here make every plan anew, demonstrations included.
    """

    choice: Choice = Choice()
    trainer: str | None = None
    settings: dict[str, Any] = {}

    @property
    def replans(self) -> bool:
        """Whether plans are made anew from the corrections, instead of taken from the log."""
        return self.trainer is not None or bool(self.settings)

    def trainer_for(self, started: UpdateStarted) -> tuple[str, dict[str, Any]]:
        """Name and settings of the trainer for a logged update."""
        name = self.trainer or started.trainer
        # Another trainer begins from its own defaults: settings of one mean nothing to another.
        logged = started.settings if name == started.trainer else {}
        return name, {**logged, **self.settings}


class CorrectionUse(Data, frozen=True):
    """One correction of a log: whether it takes part and, if not, why. words: its first line."""

    log: str
    seq: int
    kind: str
    by: str
    words: str
    taken: bool
    why: str = ""
    weight: float = 1.0


class Undone(Data, frozen=True):
    """An earlier correction that an update undid: how far from its teacher before and after, in nats."""

    correction: CorrectionUse
    before: float
    after: float


class UpdateUse(Data, frozen=True):
    """One update of a log, as it went here.

    as_logged: same plan, and what came out had the same digest (or was rejected again). changed: trained, to
    other weights than logged. rejected: by the gate, here. failed: could not be planned or computed.
    left_out: nothing of its own was left. planned: a dry run. rows: how many of which part; `rehearsed`: of
    others.
    off_policy: a sample of its own corrections was drawn from other weights than those at hand. undoes: what
    it undid of earlier corrections, where that was measured.
    """

    log: str
    seq: int
    update: str
    outcome: Literal["as_logged", "changed", "rejected", "failed", "left_out", "planned"]
    corrections: tuple[CorrectionUse, ...]
    rows: dict[str, int] = {}
    off_policy: bool = False
    weights: str = ""
    steps: int = 0
    why: str = ""
    undoes: tuple[Undone, ...] = ()


class Retrained(Data, frozen=True):
    """What came of it. weights, optimiser: the digests that it ended in; empty in a dry run.

    trained: how many updates were trained for it; the others were kept from earlier runs.
    """

    updates: tuple[UpdateUse, ...]
    weights: str = ""
    optimiser: str = ""
    trained: int = 0

    def count(self, outcome: str) -> int:
        """How many updates came out so."""
        return sum(update.outcome == outcome for update in self.updates)


def retrained(
    courses: Sequence[Course],
    trainer_of: TrainerOf,
    policy: Policy | None,
    changes: Changes | None = None,
    progress: Progress | None = None,
    *,
    store: WeightStore | None = None,
    resume: bool = False,
    watch: bool = False,
) -> Retrained:
    """Give `policy` the weights of `courses` with `changes`, from the base; None: a dry run.

    store: where states are kept on the way; resume: whether to begin at those of an earlier run. watch:
    measure which earlier corrections each update undoes (`UpdateUse.undoes`); costs two looks at them.
    """
    changes = changes or Changes()
    attempts = in_order(courses)
    verdicts = decide(attempts, changes.choice)
    carrier: Carrier | None = None
    if policy is not None:
        for course in courses:
            require_same_model(course.started, policy)
        said = msgspec.json.encode(changes).decode() if changes != Changes() else ""
        carrier = Carrier(policy, trainer_of, store, resume=resume, changes=said)
    run = Run(trainer_of, carrier, changes, verdicts, progress, len(attempts), watch=watch)
    uses = [run.attempt(attempt) for attempt in attempts]
    if carrier is None:
        return Retrained(updates=tuple(uses))
    carrier.settle()
    state = carrier.policy.weights(), carrier.policy.optimiser_state()
    return Retrained(updates=tuple(uses), weights=state[0], optimiser=state[1], trained=carrier.trained)


class Run:
    """One pass over a curriculum; `standing` are the plans that were carried out so far."""

    def __init__(
        self,
        trainer_of: TrainerOf,
        carrier: Carrier | None,
        changes: Changes,
        verdicts: Mapping[str, Verdict],
        progress: Progress | None,
        total: int,
        *,
        watch: bool = False,
    ) -> None:
        self.standing: list[UpdatePlan] = []
        self._trainer_of = trainer_of
        self._carrier = carrier
        self._changes = changes
        self._verdicts = verdicts
        self._progress = progress
        self._label = f"of {total}"
        self._number = 0
        self._watch = watch
        self._uses: dict[str, CorrectionUse] = {}

    def attempt(self, attempt: Attempt) -> UpdateUse:
        """Run one update; what goes wrong leaves the weights as they were."""
        self._number += 1
        own = [c for c in attempt.own if self._verdicts[c.id].taken]
        self._uses |= {c.id: self._use(attempt, c) for c in attempt.own}
        use = UpdateUse(
            log=attempt.log,
            seq=attempt.started.seq,
            update=attempt.started.id,
            outcome="left_out",
            corrections=tuple(self._uses[c.id] for c in attempt.own),
            weights=self._carrier.weights if self._carrier else "",
        )
        if not own:
            return use
        if self._carrier is None and self._changes.replans:
            self._trainer_of(*self._changes.trainer_for(attempt.started))  # refuses what it does not know
            return msgspec.structs.replace(use, outcome="planned", why="its rows are planned anew")
        if self._carrier is None:
            plan = self._replanned(_logged(attempt, own), own)
            self.standing.append(plan)
            return msgspec.structs.replace(use, outcome="planned", rows=_counted(plan, own))
        drawn = {attempt.transcript.samples[c.sample].weights for c in own}
        use = msgspec.structs.replace(use, off_policy=drawn != {self._carrier.weights})
        try:
            plan = self._plan(attempt, own, self._carrier)
            use = msgspec.structs.replace(use, rows=_counted(plan, own))
            return self._carried_out(attempt, plan, use, self._carrier)
        except UpdateError as error:
            return msgspec.structs.replace(use, outcome="failed", why=str(error))

    def _carried_out(self, attempt: Attempt, plan: UpdatePlan, use: UpdateUse, carrier: Carrier) -> UpdateUse:
        show, label = self._progress, f"update {self._number} {self._label}"
        watch: Watch | None = None
        if self._watch:
            carrier.settle()  # the figures are of the weights at hand, remembered or not
            watch = Watch(plan, {c.id for c in attempt.own}, self.standing, carrier.policy)
        known = carrier.carry_out(plan, attempt, functools.partial(show, label) if show else None)
        undone: tuple[Moved, ...] = ()
        if known.rejected is None:
            self.standing.append(plan)
            if watch is not None:
                carrier.settle()
                undone = watch.undone(carrier.policy)
        logged = attempt.outcome
        applied = isinstance(logged, UpdateApplied)
        same = known.weights == logged.weights and applied == (known.rejected is None)
        return msgspec.structs.replace(
            use,
            outcome="as_logged" if same else "changed" if known.rejected is None else "rejected",
            weights=known.weights,
            steps=known.steps,
            why=known.rejected or "",
            undoes=tuple(Undone(correction=self._uses[id], before=b, after=a) for id, b, a in undone),
        )

    # -- Planning -----------------------------------------------------------------------------------

    def _plan(self, attempt: Attempt, own: Sequence[CorrectionGiven], carrier: Carrier) -> UpdatePlan:
        changes = self._changes
        if not changes.replans:
            return self._replanned(_logged(attempt, own), own)
        carrier.settle()  # a live teacher demonstrates with the weights at hand
        trainer = self._trainer_of(*changes.trainer_for(attempt.started))
        return self._replanned(trainer.plan(own, attempt.transcript, carrier.policy), own)

    def _replanned(self, plan: UpdatePlan, own: Sequence[CorrectionGiven]) -> UpdatePlan:
        """Rehearsal as of the updates that stand here; then each correction's weight."""
        trainer = self._trainer_of(plan.trainer, plan.settings)
        plan = trainer.replan(plan, {c.id for c in own}, self.standing)
        fresh = {c.id: self._verdicts[c.id].weight for c in own}  # rehearsed rows have their weight already
        return weighed(plan, fresh)

    def _use(self, attempt: Attempt, correction: CorrectionGiven) -> CorrectionUse:
        verdict = self._verdicts[correction.id]
        return CorrectionUse(
            log=attempt.log,
            seq=correction.seq,
            kind=correction.kind,
            by=correction.by,
            words=(correction.feedback.splitlines() or [""])[0],
            taken=verdict.taken,
            why=verdict.why,
            weight=verdict.weight,
        )


def weighed(plan: UpdatePlan, factors: Mapping[str, float]) -> UpdatePlan:
    """`plan` with the rows of each correction weighing so many times more; 1 where nothing is said."""
    rows = (
        msgspec.structs.replace(row, weight=row.weight * factors.get(row.correction, 1.0))
        for row in plan.examples
    )
    return msgspec.structs.replace(plan, examples=tuple(rows))


class Weighing:
    """A trainer whose plans weigh the rows of some corrections otherwise: factors, by correction."""

    def __init__(self, trainer: Trainer, factors: Mapping[str, float]) -> None:
        self._trainer = trainer
        self._factors = factors
        self.name = trainer.name
        self.needs = trainer.needs

    def plan(
        self,
        corrections: Sequence[CorrectionGiven],
        transcript: Transcript,
        policy: Policy,
        progress: Callable[[int, int], None] | None = None,
    ) -> UpdatePlan:
        """The trainer's, weighed. Rows that are rehearsed have their weight already."""
        return weighed(self._trainer.plan(corrections, transcript, policy, progress), self._factors)

    def replan(self, plan: UpdatePlan, own: Collection[str], earlier: Sequence[UpdatePlan]) -> UpdatePlan:
        """The trainer's."""
        return self._trainer.replan(plan, own, earlier)

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """The trainer's."""
        return self._trainer.update(plan, policy, progress)


def _logged(attempt: Attempt, own: Sequence[CorrectionGiven]) -> UpdatePlan:
    """The logged plan without the rows of others: those that are rehearsed come from the updates before.

    Not even resolved, so that what was forgotten (`cc log forget`) and is left out stands in nobody's way.
    """
    mine = {c.id for c in own} | {""}
    kept = tuple(ref for ref in attempt.started.examples if ref.correction in mine)
    return plan_of(msgspec.structs.replace(attempt.started, examples=kept), attempt.transcript)


def _counted(plan: UpdatePlan, own: Sequence[CorrectionGiven]) -> dict[str, int]:
    """Rows by part; those of corrections that are not `own` are rehearsed."""
    mine = {c.id for c in own}
    counted = Counter[str](
        "rehearsed" if row.correction and row.correction not in mine else row.part for row in plan.examples
    )
    return dict(counted)
