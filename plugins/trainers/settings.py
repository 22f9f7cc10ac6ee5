"""`[trainer]` of the trainer `sdpo`: what it asks of a policy, its objective and its optimiser."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from continualcode.core.config import options
from continualcode.core.data import Objective, Optimiser
from continualcode.core.errors import ConfigError


class SdpoSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings; see `Objective` and `Optimiser` for what they name.

    rows: learn on the teacher's demonstration, on the rejected sample, or on both. demonstration_tokens: the
    most that a demonstration has; where it parts from what was rejected later than that, the most after that.
    anchors: the weight of what must stay, all of it together, where a correction weighs 1; 0: none.
    rehearsal: the share of earlier corrections that take part in an update; of many fewer (`rehearsal.MOST`).
    retry: the share of a demonstration's weight with which it is learned where the model is asked again,
    after the denied call; 0: not there.
    siblings: on how many other requests a correction is learned as well: situations that the model finds
    alike, half as many again that are put as statements or questions, and where those are few the prompt in
    other words; 0: none.
    in_turn, decisions, sharpness, slack: see `Objective`. whiten: see `Optimiser`. falling: the learning rate
    falls over `max_steps`.
    guidance: how strongly the teacher is guided (see `Example`); 1: not at all.

    max_steps: the most steps on one update. divergence_floor: an update is over when no more than this is
    left to learn, in nats: of the correction that is furthest off (of its completion with example_sum, else
    of a token), and of what the anchors have moved. Going on fits the one prompt, and the mistake comes back
    on others. divergence_target: stop as well when the divergence is this share of the first one.

    kl_budget: an update may move what the anchors hold by no more than this, the mean KL from the base model
    in nats an anchor: the step that would go beyond is taken back. With one every step takes all rows, as all
    anchors are looked at. None: as far as it goes.
    reward_weight: what the policy gradient on the turn's attempts counts for beside the divergence (GRPO);
    0: none.

    gate: reject an update if the divergence has not fallen to `gate_learned` of the first one, or if the
    model still does what the base model did on fewer than `gate_kept` of the probes (which need `anchors`).
    gate_drift: before that, where so few stay, or the probes and the calls that are held have moved by more
    than so many nats in the mean, go back to a step at which it is not so, but not to where the correction
    was not learned yet; an update keeps its steps' states in memory for that. None: never.
    gate_back: to which: the last of all, or the last before the first at which it was so. Where it is so at
    each, to the one that moved least, or to the first.
    gate_from: what is counted of that: what the update did itself, since its start, or all that was done
    since the base model.

    max_context: the most tokens of the teacher's prompt and the completion; None: the model's context.
    frozen_teacher: the digest of weights that this log has been through; None: those of the first update.
    """

    rows: Literal["demonstration", "sample", "both"] = "demonstration"
    retry: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.5
    siblings: Annotated[int, Meta(ge=0)] = 8
    demonstration_tokens: Annotated[int, Meta(ge=1)] = 32
    anchors: Annotated[float, Meta(ge=0.0)] = 3.0
    rehearsal: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    gate: bool = True
    gate_learned: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.3
    gate_kept: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.6
    gate_drift: Annotated[float, Meta(gt=0.0)] | None = 0.1
    gate_back: Literal["last", "first"] = "last"
    gate_from: Literal["start", "base"] = "start"
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
    beta1: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.5
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
    divergence_floor: Annotated[float, Meta(ge=0.0)] = 0.05
    kl_budget: Annotated[float, Meta(gt=0.0)] | None = None
    reward_weight: Annotated[float, Meta(ge=0.0)] = 0.0
    reward_clip: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.2
    max_context: Annotated[int, Meta(ge=1)] | None = None

    @property
    def goes_back(self) -> bool:
        """Whether an update may end at an earlier step than its last."""
        return self.gate and self.gate_drift is not None

    def refuse_contradictions(self) -> None:
        """Raise ConfigError where two settings do not go together."""
        reverse = self.divergence == "reverse_kl" or (self.divergence == "jsd" and self.alpha == 1.0)
        named = self.divergence if self.divergence == "reverse_kl" else "jsd at trainer.alpha 1"
        if self.guidance != 1.0 and self.rows != "sample" and reverse:
            raise ConfigError(
                f"trainer.guidance {self.guidance} does not go with trainer.divergence {named}: a "
                "guided teacher rules tokens out, and KL(S‖T) is infinite there; allowed are guidance 1, or "
                "forward_kl, jsd below 1, sampled"
            )
        if self.teacher == "completion" and reverse:
            raise ConfigError(
                f"trainer.teacher completion does not go with trainer.divergence {named}: it is one token "
                "with probability 1, and KL(S‖T) is infinite everywhere else; allowed are forward_kl, jsd "
                "below 1, sampled"
            )
        if self.teacher == "completion" and self.rows != "demonstration":
            raise ConfigError(
                f"trainer.teacher completion does not go with trainer.rows {self.rows}: the rejected sample "
                "would be imitated; allowed is demonstration"
            )
        if self.kl_budget is not None and not self.anchors:
            raise ConfigError(
                f"trainer.kl_budget {self.kl_budget} is measured on the anchors, and trainer.anchors is 0: "
                "set both, or neither"
            )

    def objective(self, frozen_teacher: str | None) -> Objective:
        """What an update minimises. frozen_teacher: the digest of its weights, where there is one."""
        return Objective(
            divergence=self.divergence,
            alpha=self.alpha,
            top_k=self.top_k,
            ratio_clip=self.ratio_clip,
            aggregation=self.aggregation,
            teacher=self.teacher,
            teacher_rate=self.teacher_rate,
            frozen_teacher=frozen_teacher,
            reward_weight=self.reward_weight,
            reward_clip=self.reward_clip,
            decisions=self.decisions,
            sharpness=self.sharpness if self.rows != "sample" else 1.0,
            slack=self.slack,
            in_turn=self.in_turn if self.kl_budget is None else 0,
        )

    @property
    def optimiser(self) -> Optimiser:
        """How an update steps."""
        return Optimiser(
            lr=self.lr,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            grad_clip=self.grad_clip,
            fresh=self.fresh,
            whiten=self.whiten if self.anchors else None,
            over=self.max_steps if self.falling else 0,
        )


SINCE: dict[str, Any] = {"gate_drift": None, "gate_back": "first", "gate_from": "base"}
"""Settings that older plans lack, as they were carried out before there were these."""


def logged(given: Mapping[str, Any]) -> SdpoSettings:
    """The settings of a plan in a log: what they were made to do, they do again."""
    return options(SdpoSettings, {**SINCE, **given}, "the plan's settings")
