"""The trainer `sdpo`: self-distillation from the user's corrections (Hübotter et al. 2026, arXiv 2601.20802).

For each correction, the sampled completion y is scored twice by the same network: as the student, after the
prompt x that the model saw, and as the teacher, after x with the correction in it. The student moves
towards the teacher's next-token distributions on y, so that it comes to do without the correction what it
would do with it. No reward, no critic, no pairs, and no text but the model's own.

    plan     corrections → examples (x, the teacher's prompt, y, its logprobs), an objective, an optimiser
    update   score the teacher; then step until the divergence from it has fallen to `divergence_target` of
             what it was, or `max_steps` are spent

As in the paper: the prompt, the completion and the stop-gradient teacher. Different, with the figures in
docs/learning.md: whole distributions, as the sampled token alone can push the denied token down but does not
say where to go; and several small steps, as the first Adam step on an untrained adapter moves every entry
by ±lr whatever the gradient's size. Left out: groups of attempts with rewards, older corrections mixed in
(replay of experience), and the second half of an approved retry, the retry itself as an example.

A limit: only what follows the sampled tokens is learned. Where the wanted call begins like an unwanted one,
as `edit_lines` does like `edit`, a denied `write` teaches the first token, which they share, and little of
the second. On Qwen2.5-Coder-0.5B six steps took P(edit or edit_lines) from .30 to .75, but P(edit_lines)
among the two only from .36 to .45; the teacher's is .95.

Pure Python: the tensors are the policy's. An update is a function of the plan, which is logged, and of the
weights that it starts from.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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
    UpdateOutcome,
    UpdatePlan,
)
from continualcode.core.errors import UpdateError
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy, Trainer
from continualcode.core.transcript import Transcript
from continualcode.plugins.trainers.teacher_context import teacher_prompt

NAME = "sdpo"


class SdpoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[trainer]` in the configuration. See `Objective` and `Optimiser` for what they name.

    max_steps: the most steps on one update. divergence_target: stop when the divergence has fallen to this
    share of the first one; 0 takes all steps. divergence_floor: nats a token at or below which there is
    nothing to learn (an Adam step on noise is as long as one on a signal). max_context: the most tokens of
    the teacher's prompt and the completion; None: the model's context. frozen_teacher: the digest of weights
    that this log has been through; None: those of the first update.
    """

    divergence: Literal["forward_kl", "reverse_kl", "jsd", "sampled"] = "forward_kl"
    alpha: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    top_k: Annotated[int, Meta(ge=1)] | None = None
    ratio_clip: Annotated[float, Meta(gt=0.0)] = 2.0
    aggregation: Literal["token_mean", "example_mean"] = "token_mean"
    teacher: Literal["live", "base", "frozen", "ema", "trust_region"] = "live"
    teacher_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.05
    frozen_teacher: str | None = None
    lr: Annotated[float, Meta(gt=0.0)] = 3e-5
    beta1: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.9
    beta2: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.95
    eps: Annotated[float, Meta(gt=0.0)] = 1e-8
    weight_decay: Annotated[float, Meta(ge=0.0)] = 0.0
    grad_clip: Annotated[float, Meta(gt=0.0)] = 1.0
    fresh: bool = True
    max_steps: Annotated[int, Meta(ge=1)] = 6
    divergence_target: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.1
    divergence_floor: Annotated[float, Meta(ge=0.0)] = 1e-4
    max_context: Annotated[int, Meta(ge=1)] | None = None


class Sdpo:
    """A trainer with fixed settings and no other state."""

    name = NAME

    def __init__(self, settings: SdpoSettings | None = None) -> None:
        self.settings = settings or SdpoSettings()

    @property
    def needs(self) -> frozenset[Capability]:
        """The teacher, and as much of the distributions as the objective looks at."""
        settings = self.settings
        teacher: dict[str, Capability] = {
            "live": "teacher:live",
            "base": "teacher:base",
            "frozen": "teacher:frozen",
            "ema": "teacher:ema",
            "trust_region": "teacher:trust_region",
        }
        looks_at: Capability = "full_distribution" if settings.top_k is None else "topk_distribution"
        if settings.divergence == "sampled":
            looks_at = "sampled_logprobs"
        return frozenset({teacher[settings.teacher], looks_at})

    def plan(
        self, corrections: Sequence[CorrectionGiven], transcript: Transcript, policy: Policy
    ) -> UpdatePlan:
        """One example a correction; raises UpdateError where one cannot be learned from."""
        settings = self.settings
        return UpdatePlan(
            trainer=NAME,
            settings=msgspec.to_builtins(settings),
            objective=Objective(
                divergence=settings.divergence,
                alpha=settings.alpha,
                top_k=settings.top_k,
                ratio_clip=settings.ratio_clip,
                aggregation=settings.aggregation,
                teacher=settings.teacher,
                teacher_rate=settings.teacher_rate,
                frozen_teacher=self._frozen(transcript, policy) if settings.teacher == "frozen" else None,
            ),
            optimiser=Optimiser(
                lr=settings.lr,
                beta1=settings.beta1,
                beta2=settings.beta2,
                eps=settings.eps,
                weight_decay=settings.weight_decay,
                grad_clip=settings.grad_clip,
                fresh=settings.fresh,
            ),
            examples=tuple(self._example(correction, transcript, policy) for correction in corrections),
        )

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """Step until the plan's settings say stop: the plan's, as replay carries out what was logged."""
        settings = checked(SdpoSettings, plan.settings, "the plan's settings")
        batch = policy.prepare(plan.examples, plan.objective, plan.optimiser)
        before = report = policy.step(batch, stop_below=settings.divergence_floor)
        enough = max(settings.divergence_floor, settings.divergence_target * before.divergence)
        steps = 0
        while report.stepped:
            steps += 1
            if progress is not None:
                progress(steps, settings.max_steps)
            # After the last step there is only a look: nothing is at or above infinity.
            report = policy.step(batch, stop_below=enough if steps < settings.max_steps else math.inf)
        return UpdateOutcome(
            steps=steps,
            before=before,
            after=report,
            metrics={
                "share": report.divergence / before.divergence if before.divergence else 0.0,
                "grad_norm": before.grad_norm,
            },
        )

    def _example(self, correction: CorrectionGiven, transcript: Transcript, policy: Policy) -> Example:
        turn = transcript.sampled(correction.sample)
        slots = transcript.slots(correction)
        if correction.solution is not None and not slots.solution:
            slots = msgspec.structs.replace(slots, solution=policy.format_call(correction.solution))
        context = policy.model.context
        room = min(context, self.settings.max_context or context) - len(turn.completion_ids)
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


@hookimpl
def make_trainer(name: str, options: Mapping[str, Any]) -> Callable[[], Trainer] | None:
    """Answers to `sdpo`."""
    if name != NAME:
        return None
    return lambda: Sdpo(checked(SdpoSettings, options, "trainer"))
