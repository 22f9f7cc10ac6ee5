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
  moves what must stay, or does not learn, is rejected with its figures and taken back (the gate).

With `rows = "sample"`, guidance 1, a live teacher, rehearsal and anchors 0 it is the paper's.

Pure Python: the tensors are the policy's. An update is a function of the plan, which is logged, and of the
weights that it starts from.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.data import (
    Capability,
    Example,
    Objective,
    Optimiser,
    StepReport,
    UpdateOutcome,
    UpdatePlan,
)
from continualcode.core.errors import ConfigError, UpdateError
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Discerning, Policy, Trainer
from continualcode.core.replay import plan_of
from continualcode.core.transcript import SampledTurn, Transcript
from continualcode.plugins.trainers import suiting
from continualcode.plugins.trainers.anchors import anchors, weighed
from continualcode.plugins.trainers.attempts import attempts
from continualcode.plugins.trainers.budget import Budget
from continualcode.plugins.trainers.in_question import grammar_of, keeping, tools_in_question
from continualcode.plugins.trainers.rehearsal import rehearsed
from continualcode.plugins.trainers.siblings import PORTIONS, about, siblings
from continualcode.plugins.trainers.teacher_context import neutral_prompt, teacher_prompt

NAME = "sdpo"


class SdpoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[trainer]` in the configuration. See `Objective` and `Optimiser` for what they name.

    rows: learn on the teacher's demonstration, on the rejected sample, or on both. demonstration_tokens: the
    most that a demonstration has. anchors: the weight of what must stay, all of it together, where a
    correction weighs 1; 0: none. rehearsal: the share of earlier corrections that take part in an update.
    siblings: on how many other situations, alike to the model, a correction is learned as well; 0: none.
    in_turn, decisions, sharpness, slack: see `Objective`. whiten: see `Optimiser`. falling: the learning rate
    falls over `max_steps`.
    guidance: how strongly the teacher is guided (see `Example`); 1: not at all.

    max_steps: the most steps on one update. divergence_floor: an update is over when no more than this is
    left to learn, in nats: of the correction that is furthest off (of its completion with example_sum, else
    of a token), and of what the anchors have moved. Going on fits the one prompt, and the mistake comes back
    on others. divergence_target: stop as well when the divergence is this share of the first one.

    kl_budget: an update may move what the anchors hold by no more than this, the mean KL from the base model
    in nats an anchor: the step that would go beyond is taken back. None: as far as it goes.
    reward_weight: what the policy gradient on the turn's attempts counts for beside the divergence (GRPO);
    0: none.

    gate: reject an update if the divergence has not fallen to `gate_learned` of the first one, or if the
    model still does what it did on fewer than `gate_kept` of the probes (which need `anchors`).

    max_context: the most tokens of the teacher's prompt and the completion; None: the model's context.
    frozen_teacher: the digest of weights that this log has been through; None: those of the first update.
    """

    rows: Literal["demonstration", "sample", "both"] = "demonstration"
    siblings: Annotated[int, Meta(ge=0)] = 8
    demonstration_tokens: Annotated[int, Meta(ge=1)] = 32
    anchors: Annotated[float, Meta(ge=0.0)] = 3.0
    rehearsal: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    gate: bool = True
    gate_learned: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.5
    gate_kept: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.6
    guidance: Annotated[float, Meta(ge=1.0, le=8.0)] = 2.0
    divergence: Literal["forward_kl", "reverse_kl", "jsd", "sampled"] = "forward_kl"
    alpha: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    top_k: Annotated[int, Meta(ge=1)] | None = None
    ratio_clip: Annotated[float, Meta(gt=0.0)] = 2.0
    aggregation: Literal["token_mean", "example_mean", "example_sum"] = "example_sum"
    teacher: Literal["live", "base", "frozen", "ema", "trust_region", "completion", "other"] = "base"
    teacher_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.05
    frozen_teacher: str | None = None
    lr: Annotated[float, Meta(gt=0.0)] = 7e-5
    beta1: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.95
    eps: Annotated[float, Meta(gt=0.0)] = 1e-8
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.0
    grad_clip: Annotated[float, Meta(gt=0.0)] = 1.0
    fresh: bool = True
    whiten: Annotated[float, Meta(gt=0.0)] | None = 0.03
    falling: bool = True
    decisions: bool = True
    sharpness: Annotated[float, Meta(gt=0.0)] = 2.0
    slack: Annotated[float, Meta(ge=0.0)] = 0.02
    in_turn: Annotated[int, Meta(ge=0)] = 16
    max_steps: Annotated[int, Meta(ge=1)] = 10
    divergence_target: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    divergence_floor: Annotated[float, Meta(ge=0.0)] = 0.1
    kl_budget: Annotated[float, Meta(gt=0.0)] | None = None
    reward_weight: Annotated[float, Meta(ge=0.0)] = 0.0
    reward_clip: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2
    max_context: Annotated[int, Meta(ge=1)] | None = None


class Sdpo:
    """A trainer with fixed settings and no other state."""

    name = NAME

    def __init__(self, settings: SdpoSettings | None = None, given: Collection[str] = ()) -> None:
        """given: the settings that somebody chose; the others are the policy's to decide (`suited`)."""
        self._given = frozenset(given)
        self.settings = chosen = settings or SdpoSettings()
        if chosen.guidance != 1.0 and chosen.rows != "sample" and chosen.divergence == "reverse_kl":
            raise ConfigError(
                f"trainer.guidance {chosen.guidance} does not go with trainer.divergence reverse_kl: a "
                "guided teacher rules tokens out, and KL(S‖T) is infinite there; allowed are guidance 1, or "
                "forward_kl, jsd, sampled"
            )
        if chosen.kl_budget is not None and not chosen.anchors:
            raise ConfigError(
                f"trainer.kl_budget {chosen.kl_budget} is measured on the anchors, and trainer.anchors is 0: "
                "set both, or neither"
            )

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
        objective = Objective(
            divergence=settings.divergence,
            alpha=settings.alpha,
            top_k=settings.top_k,
            ratio_clip=settings.ratio_clip,
            aggregation=settings.aggregation,
            teacher=settings.teacher,
            teacher_rate=settings.teacher_rate,
            frozen_teacher=self._frozen(transcript, policy) if settings.teacher == "frozen" else None,
            reward_weight=settings.reward_weight,
            reward_clip=settings.reward_clip,
            decisions=settings.decisions,
            sharpness=settings.sharpness if settings.rows != "sample" else 1.0,
            slack=settings.slack,
            in_turn=settings.in_turn,
        )
        examples: list[Example] = []
        discerning = policy if isinstance(policy, Discerning) and settings.siblings else None
        parts = PORTIONS + settings.siblings if discerning is not None else 0
        for number, correction in enumerate(corrections):
            told = _told(progress, number * (1 + parts), len(corrections) * (1 + parts))
            told(-1)
            rows = self._rows(correction, transcript, policy)
            examples += rows
            if discerning is not None and rows[-1].part == "demonstration":
                turn = transcript.sampled(correction.sample)
                examples += siblings(rows[-1], correction, turn, policy, settings.siblings, told)
            examples += attempts(correction, transcript) if settings.reward_weight else []
        standing = [plan_of(transcript.updates[u], transcript).examples for u in transcript.standing]
        taken = about(row for rows in (examples, *standing) for row in rows)
        examples += rehearsed(examples, standing, settings.rehearsal)
        if settings.anchors:
            last = corrections[-1].sample
            turn = transcript.sampled(last)
            examples += weighed(anchors(turn, last, transcript, policy), taken, settings.anchors)
        return UpdatePlan(
            trainer=NAME,
            settings=msgspec.to_builtins(settings),
            objective=objective,
            optimiser=Optimiser(
                lr=settings.lr,
                beta1=settings.beta1,
                beta2=settings.beta2,
                eps=settings.eps,
                weight_decay=settings.weight_decay,
                grad_clip=settings.grad_clip,
                fresh=settings.fresh,
                whiten=settings.whiten if settings.anchors else None,
                over=settings.max_steps if settings.falling else 0,
            ),
            examples=tuple(examples),
        )

    def replan(self, plan: UpdatePlan, own: Collection[str], earlier: Sequence[UpdatePlan]) -> UpdatePlan:
        """The rows of `own`, those of `earlier` that are rehearsed with them, and what must stay."""
        rows = [row for row in plan.examples if row.correction in own]
        before = [one.examples for one in earlier]
        taken = about(row for each in (rows, *before) for row in each)
        rows += rehearsed(rows, before, self.settings.rehearsal)
        rows += weighed((row for row in plan.examples if not row.correction), taken, self.settings.anchors)
        return msgspec.structs.replace(plan, examples=tuple(rows))

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """Step until the plan's settings say stop: the plan's, as replay carries out what was logged."""
        settings = checked(SdpoSettings, plan.settings, "the plan's settings")
        batch = policy.prepare(plan.examples, plan.objective, plan.optimiser)
        steps, budget = 0, Budget(settings.kl_budget, plan, policy)
        budget.keep()
        before = report = policy.step(batch, stop_below=settings.divergence_floor)
        enough = max(settings.divergence_floor, settings.divergence_target * before.divergence)
        while report.stepped:
            steps += 1
            if progress is not None:
                progress(steps, settings.max_steps)
            if steps == settings.max_steps and not budget.limited:
                break
            budget.keep()
            report = policy.step(batch, stop_below=enough if steps < settings.max_steps else math.inf)
            if budget.overspent(report):
                budget.back()
                steps -= 1
                break
        if steps:
            # Only a look, at the probes as well: nothing is above infinity.
            report = policy.step(batch, stop_below=math.inf)
        share = report.divergence / before.divergence if before.divergence else 0.0
        return UpdateOutcome(
            steps=steps,
            before=before,
            after=report,
            metrics={
                "share": share,
                "grad_norm": before.grad_norm,
                "drift": report.drift,
                "kept": report.kept,
            },
            rejected=_judged(settings, share, report) if steps else budget.unaffordable(report),
        )

    def _rows(self, correction: CorrectionGiven, transcript: Transcript, policy: Policy) -> list[Example]:
        """The rejected sample, the demonstration that the teacher gives instead, or both."""
        sample = self._example(correction, transcript, policy)
        rows = [sample] if self.settings.rows != "demonstration" else []
        if self.settings.rows != "sample":
            rows.append(self._demonstration(sample, correction, transcript, policy))
        return rows

    def _demonstration(
        self, sample: Example, correction: CorrectionGiven, transcript: Transcript, policy: Policy
    ) -> Example:
        """What the teacher would do instead, among the tools in question."""
        settings, turn = self.settings, transcript.sampled(correction.sample)
        imitated = settings.teacher == "completion"  # shown by the base model, learned as it stands
        tools = keeping(tools_in_question(turn, correction), turn, correction)
        grammar = grammar_of(tools, turn, policy)
        neutral = neutral_prompt(turn, policy) if settings.guidance != 1.0 else ()
        shown = policy.demonstrate(
            sample.teacher_ids,
            neutral,
            grammar,
            teacher="base" if imitated else settings.teacher,
            guidance=settings.guidance,
            max_tokens=settings.demonstration_tokens,
        )
        return msgspec.structs.replace(
            sample,
            part="demonstration",
            completion_ids=shown.token_ids,
            sampled_logprobs=(),
            grammar=grammar,
            guidance=1.0 if imitated else settings.guidance,
            neutral_ids=() if imitated else neutral,
            student_grammar=turn.grammar if self._among_all(grammar, turn, correction) else None,
        )

    def _among_all(self, grammar: str | None, turn: SampledTurn, correction: CorrectionGiven) -> bool:
        """Whether the student is compared among all tools, where the teacher chose among those in question.

        Not where one tool is in question: then the choice of tool is left as it is.
        """
        several = len(tools_in_question(turn, correction)) > 1
        return several and grammar != turn.grammar and self.settings.divergence in ("forward_kl", "sampled")

    def _example(self, correction: CorrectionGiven, transcript: Transcript, policy: Policy) -> Example:
        turn = transcript.sampled(correction.sample)
        slots = transcript.slots(correction)
        if correction.solution is not None and not slots.solution:
            slots = msgspec.structs.replace(slots, solution=policy.format_call(correction.solution))
        context = policy.model.context
        longest = max(len(turn.completion_ids), self.settings.demonstration_tokens)
        room = min(context, self.settings.max_context or context) - longest
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

    def _frozen(self, transcript: Transcript, policy: Policy) -> str:
        """The digest of the frozen teacher: the configured one, the one of this log, or the weights now."""
        logged = (update.objective.frozen_teacher for update in transcript.updates.values())
        return self.settings.frozen_teacher or next(filter(None, logged), None) or policy.weights()


def _told(progress: Callable[[int, int], None] | None, before: int, most: int) -> Callable[[int], None]:
    """How far a correction's part of a plan is: its row at -1, then what is beside it."""
    return lambda done: progress(before + 1 + done, most) if progress is not None else None


def _judged(settings: SdpoSettings, share: float, after: StepReport) -> str | None:
    """Why the gate does not let an update through; None: it does."""
    if not settings.gate:
        return None
    if share > settings.gate_learned and after.divergence > settings.divergence_floor:
        return (
            f"not learned: {share:.0%} of the divergence from the teacher is left, "
            f"at most {settings.gate_learned:.0%} may be (trainer.gate_learned)"
        )
    if after.kept < settings.gate_kept:
        return (
            f"it changed too much else: on {after.kept:.0%} of unrelated prompts the model still does what "
            f"it did, at least {settings.gate_kept:.0%} must stay (trainer.gate_kept)"
        )
    return None


@hookimpl
def make_trainer(name: str, options: Mapping[str, Any]) -> Callable[[], Trainer] | None:
    """Answers to `sdpo`."""
    if name != NAME:
        return None
    return lambda: Sdpo(checked(SdpoSettings, options, "trainer"), options.keys())
