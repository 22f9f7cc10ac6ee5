"""The trainer `sdpo`: self-distillation from the user's corrections (Hübotter et al. 2026, arXiv 2601.20802).

The model that sees a correction teaches the model that does not. A completion is scored twice by the same
network: as the student, after the prompt x that the model saw, and as the teacher, after x with the
correction in it; the student moves towards the teacher's next-token distributions, so that it comes to do
without the correction what it would do with it. No reward, no critic, no pairs.

    plan     corrections → rows: what to learn, what was learned before, what must stay; an objective
    update   score the teacher; step until the divergence from it is small, or `max_steps` are spent; look at
             what stayed; reject what did not come out well

Where it differs from the paper, with figures in docs/learning.md:

- The row is the teacher's own completion (`rows`: demonstration), which branches off the rejected one where
  the teacher disagrees first. After that token the rejected one only teaches how to go on wrongly.
- Half of it is learned where the model is asked again after the denial (`retry`): that comes after a call,
  where what is learned right after a request does not reach.
- The teacher is guided: what the correction's words change, next to words that say nothing, is taken
  `guidance` times. A small model shown a correction follows it by half, or just does anything else.
- Student and teacher are compared among the tools in question (`in_question`): a correction that names no
  other tool is about how the rejected one was called.
- Whole distributions, and several small steps: the first Adam step on an untrained adapter moves every entry
  by ±lr whatever the gradient's size.
- The teacher is the base model, which does not move: what one correction teaches does not depend on what
  others did, and cannot run away over many updates.
- Beside the divergence there may be a reward (`attempts`): which calls of the turn were let through.
- Older corrections are rehearsed (`rehearsal`), unrelated choices anchored (`anchors`), and an update that
  moves what must stay goes back some steps; one that does not learn, or moves too much all the same, is
  rejected with its figures and taken back (the gate).

With `rows = "sample"`, guidance 1, a live teacher, rehearsal and anchors 0 it is the paper's.

Pure Python: the tensors are the policy's. An update is a function of the plan, which is logged, and of the
weights that it starts from.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.data import (
    LESSONS,
    Capability,
    Example,
    StepReport,
    UpdateOutcome,
    UpdatePlan,
)
from continualcode.core.events import CorrectionGiven
from continualcode.core.optional import Discerning
from continualcode.core.protocols import Policy, Trainer
from continualcode.core.replay import plan_of
from continualcode.core.transcript import Transcript
from continualcode.plugins.trainers import suiting
from continualcode.plugins.trainers.anchors import anchors, weighed
from continualcode.plugins.trainers.attempts import attempts
from continualcode.plugins.trainers.budget import Budget
from continualcode.plugins.trainers.corrected import corrected
from continualcode.plugins.trainers.rehearsal import rehearsed
from continualcode.plugins.trainers.retry import with_retry
from continualcode.plugins.trainers.settings import SdpoSettings, logged
from continualcode.plugins.trainers.siblings import about, parts, siblings
from continualcode.plugins.trainers.trail import Trail

NAME = "sdpo"

UNMOVED = StepReport(stepped=False, loss=0.0, divergence=0.0, grad_norm=0.0, advantages=(), divergences=())
"""Where nothing that must stay has moved."""

UNHEEDED = (
    "nothing to learn: shown the correction, the model would make the same call again "
    "(other words may help, or an edit of the call)"
)
"""Why there was no step, where every demonstration is what was rejected."""


class Sdpo:
    """A trainer with fixed settings and no other state."""

    name = NAME

    def __init__(self, settings: SdpoSettings | None = None, given: Collection[str] = ()) -> None:
        """given: the settings that somebody chose; the others are the policy's to decide (`suited`)."""
        self._given = frozenset(given)
        self.settings = settings or SdpoSettings()
        self.settings.refuse_contradictions()

    @property
    def needs(self) -> frozenset[Capability]:
        """The teacher, and as much of the distributions as the objective looks at."""
        return suiting.needed(self.settings)

    def suited(self, capabilities: frozenset[Capability]) -> tuple[Trainer, str]:
        """What nobody chose, chosen for such a policy; see `suiting`."""
        choice = suiting.chosen(capabilities, self._given)
        return Sdpo(msgspec.structs.replace(self.settings, **choice), self._given), suiting.said(choice)

    def plan(
        self,
        corrections: Sequence[CorrectionGiven],
        transcript: Transcript,
        policy: Policy,
        progress: Callable[[int, int], None] | None = None,
    ) -> UpdatePlan:
        """The rows of each correction, of earlier ones, and of what must stay; raises UpdateError by name."""
        settings = self.settings
        examples: list[Example] = []
        discerning = policy if isinstance(policy, Discerning) and settings.siblings else None
        beside = parts(settings) if discerning is not None else 0
        for number, correction in enumerate(corrections):
            told = _told(progress, number * (1 + beside), len(corrections) * (1 + beside))
            told(-1)
            *rows, row = corrected(correction, transcript, policy, settings)
            examples += rows
            if row.part == "demonstration" and row.weight:
                examples += with_retry(row, correction, transcript, policy, settings)
                if discerning is not None:
                    turn = transcript.sampled(correction.sample)
                    examples += siblings(row, correction, turn, policy, settings, told)
            else:
                examples.append(row)
            examples += attempts(correction, transcript) if settings.reward_weight else []
        standing = [plan_of(transcript.updates[u], transcript).examples for u in transcript.standing]
        stays: list[Example] = []
        if settings.anchors and _teaches(examples):
            last = corrections[-1].sample
            stays = anchors(transcript.sampled(last), last, transcript, policy)
        frozen = self._frozen(transcript, policy) if settings.teacher == "frozen" else None
        return UpdatePlan(
            trainer=NAME,
            settings=msgspec.to_builtins(settings),
            objective=settings.objective(frozen),
            optimiser=settings.optimiser,
            examples=self._among(examples, standing, stays),
        )

    def replan(self, plan: UpdatePlan, own: Collection[str], earlier: Sequence[UpdatePlan]) -> UpdatePlan:
        """The rows of `own`, those of `earlier` that are rehearsed with them, and what must stay."""
        rows = [row for row in plan.examples if row.correction in own]
        stays = [row for row in plan.examples if not row.correction]
        examples = self._among(rows, [one.examples for one in earlier], stays)
        return msgspec.structs.replace(plan, examples=examples)

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """Step until the plan's settings say stop: the plan's, as replay carries out what was logged."""
        settings = logged(plan.settings)
        if not _teaches(plan.examples):
            return UpdateOutcome(steps=0, before=UNMOVED, after=UNMOVED, rejected=UNHEEDED)
        batch = policy.prepare(plan.examples, plan.objective, plan.optimiser)
        steps, budget = 0, Budget(settings.kl_budget, plan)
        trail = Trail(policy, keeping=budget.limited or settings.goes_back)

        def told() -> None:
            if progress is not None:
                progress(steps, settings.max_steps)

        def look() -> StepReport:
            """At the probes as well, and no step: nothing is above infinity."""
            return policy.step(batch, stop_below=math.inf)

        def look_back() -> StepReport:
            told()  # whoever is told can stop this
            return look()

        trail.keep(0)
        began = look() if settings.gate and settings.gate_from == "start" else UNMOVED
        before = report = policy.step(batch, stop_below=settings.divergence_floor)
        learned = settings.gate_learned * before.divergence
        enough = max(settings.divergence_floor, settings.divergence_target * before.divergence)
        while report.stepped:
            steps += 1
            told()
            if steps == settings.max_steps and not budget.limited:
                break
            trail.keep(steps)
            report = policy.step(batch, stop_below=enough if steps < settings.max_steps else math.inf)
            if budget.overspent(report):
                steps -= 1
                trail.back(steps)
                break
            if report.divergence > learned:
                trail.drop_before(steps)  # the gate would not have those
        if steps:
            report = look()
            if settings.goes_back and _far(settings, began, report):
                trail.keep(steps)
                steps, report = trail.retreat(
                    report,
                    far=lambda seen: _far(settings, began, seen),
                    fits=lambda seen: seen.divergence <= learned,
                    look=look_back,
                    forward=settings.gate_back == "first",
                )
        share = report.divergence / before.divergence if before.divergence else 0.0
        unheeded = sum(row.part == "demonstration" and not row.weight for row in plan.examples)
        return UpdateOutcome(
            steps=steps,
            before=before,
            after=report,
            metrics={
                "share": share,
                "grad_norm": before.grad_norm,
                "drift": report.drift,
                "kept": report.kept,
                **({"unheeded": float(unheeded)} if unheeded else {}),
            },
            rejected=_judged(settings, began, share, report) if steps else budget.unaffordable(report),
        )

    def _among(
        self, rows: list[Example], earlier: Sequence[Sequence[Example]], stays: Iterable[Example]
    ) -> tuple[Example, ...]:
        """The rows of new corrections among what is rehearsed of `earlier` updates, and what `stays`."""
        own, before = about(rows, now=True), about((row for each in earlier for row in each), now=False)
        again = rehearsed(rows, earlier, self.settings.rehearsal)
        return (*rows, *again, *weighed(stays, own, before, self.settings.anchors))

    def _frozen(self, transcript: Transcript, policy: Policy) -> str:
        """The digest of the frozen teacher: the configured one, the one of this log, or the weights now."""
        logged = (update.objective.frozen_teacher for update in transcript.updates.values())
        return self.settings.frozen_teacher or next(filter(None, logged), None) or policy.weights()


def _teaches(rows: Iterable[Example]) -> bool:
    """Whether any row of a new correction weighs something."""
    return any(row.part in LESSONS and row.weight for row in rows)


def _told(progress: Callable[[int, int], None] | None, before: int, most: int) -> Callable[[int], None]:
    """How far a correction's part of a plan is: its row at -1, then what is beside it."""
    return lambda done: progress(before + 1 + done, most) if progress is not None else None


def _far(settings: SdpoSettings, began: StepReport, seen: StepReport) -> bool:
    """Whether what must stay has moved too far since the update `began`."""
    drifted = settings.gate_drift is not None and seen.drift - began.drift > settings.gate_drift
    return drifted or seen.kept < min(settings.gate_kept, began.kept)


def _judged(settings: SdpoSettings, began: StepReport, share: float, after: StepReport) -> str | None:
    """Why the gate does not let an update through; None: it does."""
    if not settings.gate:
        return None
    if share > settings.gate_learned and after.divergence > settings.divergence_floor:
        return (
            f"not learned: {share:.0%} of the divergence from the teacher is left, "
            f"at most {settings.gate_learned:.0%} may be (trainer.gate_learned)"
        )
    if after.kept < min(settings.gate_kept, began.kept):
        return (
            f"it changed too much else: on {after.kept:.0%} of unrelated prompts the model still does what "
            f"it did, on {began.kept:.0%} before; at least {settings.gate_kept:.0%} must stay "
            "(trainer.gate_kept)"
        )
    return None


@hookimpl
def make_trainer(name: str, options: Mapping[str, Any]) -> Callable[[], Trainer] | None:
    """Answers to `sdpo`."""
    if name != NAME:
        return None
    return lambda: Sdpo(checked(SdpoSettings, options, "trainer"), options.keys())
