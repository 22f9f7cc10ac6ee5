"""Which earlier corrections an update undoes: by the rows that they were learned on, and by no others."""

from collections.abc import Callable, Sequence
from typing import Any

from continualcode.core.data import Example, Objective, Optimiser, UpdatePlan
from continualcode.core.testing import ScriptedPolicy
from continualcode.core.watching import Watch

Build = Callable[..., Example]


def plan(*rows: Example) -> UpdatePlan:
    return UpdatePlan(
        trainer="sdpo", settings={}, objective=Objective(), optimiser=Optimiser(), examples=rows
    )


class Looked(ScriptedPolicy):
    """Keeps what it is asked to score."""

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Any:
        """As the fake does."""
        self.asked = tuple(examples)
        return super().prepare(examples, objective, optimiser)


def test_what_is_held_elsewhere_is_not_what_a_correction_taught(example: Build) -> None:
    """A held row moves where a later correction changes other calls of the tool: that undoes nothing."""
    taught = [example(correction="a", part=part) for part in ("demonstration", "sibling")]
    beside = [
        example(correction="a", part="held"),
        example(correction="a", part="near", weight=0.0),
        example(correction="", part="anchor"),
        example(correction="a", part="demonstration", weight=0.0),
    ]
    policy = Looked([])
    Watch(plan(example(correction="c")), ["c"], [plan(*taught, *beside)], policy)
    assert policy.asked == tuple(taught)


def test_a_correction_is_known_by_the_update_that_took_it_up(example: Build) -> None:
    first, again = (example(correction="a", part=part) for part in ("demonstration", "rehearsed"))
    own = example(correction="b", part="demonstration")
    policy = Looked([])
    Watch(plan(example(correction="c")), ["c"], [plan(first), plan(own, again)], policy)
    assert policy.asked == (first, own)
