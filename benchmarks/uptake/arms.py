"""Other uses of the same correction, as trainers: what ours is compared with. A plugin, as users write them.

Each makes a plan of its own; carrying it out is the trainer sdpo's, so their logs replay without this file.

original    continualcode 0.6.0, read from its source (`train.py`): the denied sample, scored after the
            conversation and one more user turn that says the prompt again, the feedback under a heading and
            "Correctly solve the original question."; sampled-token advantages by the live model; summed over
            tokens; one Adam step at 4.9e-4 (what its own formula gives for its default model), betas .9 and
            .95, moments kept, no clipping, LoRA r = 32 on all tokens. Left out: its gain of 1 to 4 on the
            advantages, as the size of a first Adam step does not depend on it; the output layer's adapter;
            sampling at 0.7 while scoring at 1, which is kinder to it.
sft         supervised fine-tuning on the approved retry: the call that the user let pass after the denial
            becomes the target after the prompt of the denied one. Optimiser and stop as ours.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.data import Example, Message, Objective, Optimiser, UpdateOutcome, UpdatePlan
from continualcode.core.errors import UpdateError
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy, Trainer
from continualcode.core.transcript import Transcript
from continualcode.plugins.trainers.sdpo import NAME, Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

PLAIN: dict[str, Any] = {"rows": "sample", "guidance": 1.0, "anchors": 0.0, "rehearsal": 0.0, "gate": False}
"""Without what is ours."""

IMITATING: dict[str, Any] = {"teacher": "completion", "rows": "demonstration", "sharpness": 1.0}
"""With a call that was approved as the target."""

ORIGINAL: dict[str, Any] = {
    **PLAIN,
    "teacher": "live",
    "divergence": "sampled",
    "aggregation": "example_sum",
    "ratio_clip": 1e9,
    "lr": 4.9e-4,
    "grad_clip": 1e9,
    "fresh": False,
    "max_steps": 1,
    "divergence_floor": 0.0,
}


class Original:
    """The original's recipe."""

    name = "original"

    def __init__(self, settings: SdpoSettings) -> None:
        self._sdpo = Sdpo(settings)
        self.needs = self._sdpo.needs

    def plan(
        self,
        corrections: Sequence[CorrectionGiven],
        transcript: Transcript,
        policy: Policy,
        progress: Callable[[int, int], None] | None = None,
    ) -> UpdatePlan:
        """The plan of sdpo, with the original's words around the correction."""
        plan = self._sdpo.plan(corrections, transcript, policy, progress)
        rows = tuple(self._reframed(row, transcript, policy) for row in plan.examples)
        return msgspec.structs.replace(plan, examples=rows)

    def replan(self, plan: UpdatePlan, own: Collection[str], earlier: Sequence[UpdatePlan]) -> UpdatePlan:
        """As sdpo does."""
        return self._sdpo.replan(plan, own, earlier)

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """As sdpo does."""
        return self._sdpo.update(plan, policy, progress)

    def _reframed(self, row: Example, transcript: Transcript, policy: Policy) -> Example:
        turn, feedback = transcript.sampled(row.sample), transcript.corrections[row.correction].feedback
        asked = next(m.text for m in reversed(turn.messages) if m.role == "user")
        words = (
            f"{asked}\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback}\n\n"
            "\n\nCorrectly solve the original question.\n"
        )
        messages = [*turn.messages, Message(role="user", text=words)]
        return msgspec.structs.replace(row, teacher_ids=policy.render(messages, turn.tools))


class Sft:
    """Fine-tuning on what was approved instead."""

    name = "sft"

    def __init__(self, settings: SdpoSettings) -> None:
        self._sdpo = Sdpo(settings)
        self.needs = self._sdpo.needs

    def plan(
        self,
        corrections: Sequence[CorrectionGiven],
        transcript: Transcript,
        policy: Policy,
        progress: Callable[[int, int], None] | None = None,
    ) -> UpdatePlan:
        """A row for each correction that an approved call has answered."""
        settings = self._sdpo.settings
        rows = tuple(_imitated(c, transcript) for c in corrections if c.retry)
        if not rows:
            raise UpdateError("no call that follows the correction was drawn: there is nothing to imitate")
        return UpdatePlan(
            trainer=NAME,
            settings=msgspec.to_builtins(settings),
            objective=Objective(teacher="completion", aggregation=settings.aggregation),
            optimiser=Optimiser(
                lr=settings.lr, beta1=settings.beta1, beta2=settings.beta2, grad_clip=settings.grad_clip
            ),
            examples=rows,
        )

    replan = Original.replan
    update = Original.update


def _imitated(correction: CorrectionGiven, transcript: Transcript) -> Example:
    denied, retry = transcript.sampled(correction.sample), transcript.sampled(correction.retry)
    return Example(
        correction=correction.id,
        sample=correction.sample,
        part="demonstration",
        prompt_ids=denied.prompt_ids,
        teacher_ids=denied.prompt_ids,
        completion_ids=retry.completion_ids,
        sampled_logprobs=(),
        temperature=denied.params.temperature,
        grammar=denied.grammar,
    )


@hookimpl
def make_trainer(name: str, options: Mapping[str, Any]) -> Callable[[], Trainer] | None:
    """Answers to `original` and `sft`; settings are those of sdpo."""
    if name == "original":
        return lambda: Original(checked(SdpoSettings, {**ORIGINAL, **options}, "trainer"))
    if name == "sft":
        return lambda: Sft(checked(SdpoSettings, {**PLAIN, **IMITATING, **options}, "trainer"))
    return None
