"""A KL budget: how far an update may move what the anchors hold; the step that goes beyond is taken back."""

import math

from continualcode.core.data import StepReport, UpdatePlan


class Budget:
    """Says what was spent. With no limit nothing ever is."""

    def __init__(self, limit: float | None, plan: UpdatePlan) -> None:
        self._limit, self._plan = limit, plan

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._limit is not None

    def overspent(self, report: StepReport) -> bool:
        """Whether the weights that `report` looked at are beyond the limit."""
        return self._limit is not None and spent(self._plan, report) > self._limit

    def unaffordable(self, report: StepReport) -> str | None:
        """Why no step was taken, if it was for the budget."""
        if not self.overspent(report):
            return None
        return (
            f"not learned: the first step alone moves unrelated prompts by more than {self._limit} nats "
            "(trainer.kl_budget; a smaller trainer.lr takes smaller steps)"
        )


def spent(plan: UpdatePlan, report: StepReport) -> float:
    """The mean KL of the anchors from the base model, in nats an anchor; 0 if there are none."""
    moved = [
        math.fsum(row)
        for example, row in zip(plan.examples, report.divergences, strict=True)
        if example.part == "anchor" and row  # those whose turn it was
    ]
    return math.fsum(moved) / len(moved) if moved else 0.0
