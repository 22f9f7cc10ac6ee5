"""Which earlier corrections an update undoes: by the rows that they were learned on, and by no others."""

from collections.abc import Sequence

from continualcode.core.data import Example, Objective, Optimiser, Part, UpdatePlan
from continualcode.core.testing import ScriptedPolicy
from continualcode.core.watching import Watch


def row(correction: str, part: Part, weight: float = 1.0) -> Example:
    return Example(
        correction=correction,
        sample="s",
        part=part,
        prompt_ids=(1,),
        teacher_ids=(1, 2),
        completion_ids=(3,),
        sampled_logprobs=(),
        temperature=1.0,
        grammar=None,
        weight=weight,
    )


def plan(*rows: Example) -> UpdatePlan:
    return UpdatePlan(
        trainer="sdpo", settings={}, objective=Objective(), optimiser=Optimiser(), examples=rows
    )


class Looked(ScriptedPolicy):
    """Keeps what it is asked to score."""

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser):  # type: ignore[no-untyped-def]  # the fake's own batch
        """As the fake does."""
        self.asked = tuple(examples)
        return super().prepare(examples, objective, optimiser)


def test_what_is_held_elsewhere_is_not_what_a_correction_taught() -> None:
    """A held row moves where a later correction changes other calls of the tool: that undoes nothing."""
    taught = [row("a", "demonstration"), row("a", "sibling")]
    beside = [row("a", "held"), row("a", "near", 0.0), row("", "anchor"), row("a", "demonstration", 0.0)]
    policy = Looked([])
    Watch(plan(row("c", "demonstration")), ["c"], [plan(*taught, *beside)], policy)
    assert policy.asked == tuple(taught)


def test_a_correction_is_known_by_the_update_that_took_it_up() -> None:
    first, again = row("a", "demonstration"), row("a", "rehearsed")
    own = row("b", "demonstration")
    policy = Looked([])
    Watch(plan(row("c", "demonstration")), ["c"], [plan(first), plan(own, again)], policy)
    assert policy.asked == (first, own)
