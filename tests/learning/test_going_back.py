"""The gate goes back: an update ends at the last step at which what must stay does."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from continualcode.core.data import Example, Objective, Optimiser, StepReport, UpdatePlan
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

Build = Callable[..., Example]
DRIFT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.25)
"""By steps, in nats a probe."""


class Drifting:
    """A policy whose probes move by a tenth of a nat with each step; the sixth brings half of it back.

    earlier: how far they had moved before.
    """

    def __init__(self, policy: Any, kept: Sequence[float] = (1.0,) * 7, earlier: float = 0.0) -> None:
        self.policy = policy
        self.kept = kept
        self.earlier = earlier
        self.steps = 0

    def prepare(self, *given: Any) -> Any:
        return self.policy.prepare(*given)

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        report: StepReport = self.policy.step(batch, stop_below=stop_below)
        drift, kept = self.earlier + DRIFT[self.steps], self.kept[self.steps]
        self.steps += report.stepped
        return msgspec.structs.replace(report, drift=drift, kept=kept)

    def snapshot(self) -> Any:
        return self.policy.snapshot(), self.steps

    def restore(self, snapshot: Any) -> None:
        state, self.steps = snapshot
        self.policy.restore(state)


@pytest.fixture
def plan(example: Build) -> Callable[..., UpdatePlan]:
    """A correction that takes six steps."""

    def build(**settings: Any) -> UpdatePlan:
        given: dict[str, Any] = {"lr": 1e-2, "divergence_floor": 1e-4, "max_steps": 6}
        given |= {"gate_learned": 0.9}
        chosen = SdpoSettings(**{**given, **settings})
        optimiser = Optimiser(lr=chosen.lr)
        kept = msgspec.to_builtins(chosen)
        return UpdatePlan(
            trainer="sdpo",
            settings=kept,
            objective=Objective(),
            optimiser=optimiser,
            examples=(example(),),
        )

    return build


def test_it_ends_at_the_last_step_that_moved_little_enough(tiny_policy: Any, plan: Any) -> None:
    wrapped: Any = Drifting(tiny_policy)
    outcome = Sdpo().update(plan(gate_drift=0.2), wrapped)
    assert (outcome.steps, outcome.rejected) == (2, None)
    assert outcome.metrics["drift"] == pytest.approx(0.2)


def test_it_is_what_an_update_of_that_many_steps_is(tiny_policy: Any, plan: Any) -> None:
    wrapped: Any = Drifting(tiny_policy)
    outcome = Sdpo().update(plan(gate_drift=0.2), wrapped)
    ended = tiny_policy.learner.weights(), tiny_policy.learner.optimiser_state()
    tiny_policy.learner.reset()
    short = Sdpo().update(plan(gate=False, max_steps=outcome.steps), tiny_policy)
    assert (tiny_policy.learner.weights(), tiny_policy.learner.optimiser_state()) == ended
    assert short.after.divergence == outcome.after.divergence


@pytest.mark.parametrize(("back", "steps"), [("last", 5), ("first", 3)])
def test_or_the_last_at_which_enough_probes_stay(tiny_policy: Any, plan: Any, back: str, steps: int) -> None:
    """The fourth step lost too many, and the fifth brought them back."""
    wrapped: Any = Drifting(tiny_policy, kept=(1.0, 1.0, 0.9, 0.8, 0.5, 0.7, 0.5))
    outcome = Sdpo().update(plan(gate_drift=9.0, gate_kept=0.6, gate_back=back), wrapped)
    assert (outcome.steps, outcome.rejected) == (steps, None)


def test_a_plan_that_does_not_say_goes_before_the_first_that_moved_too_far(
    tiny_policy: Any, plan: Any
) -> None:
    wrapped: Any = Drifting(tiny_policy, kept=(1.0, 1.0, 0.9, 0.8, 0.5, 0.7, 0.5))
    logged = plan(gate_drift=9.0, gate_kept=0.6)
    old = {name: value for name, value in logged.settings.items() if name != "gate_back"}
    assert Sdpo().update(msgspec.structs.replace(logged, settings=old), wrapped).steps == 3


@pytest.mark.parametrize("settings", [{"gate_drift": 0.3}, {"gate_drift": None}, {"gate": False}])
def test_where_little_moved_or_nobody_asks_it_goes_nowhere(
    tiny_policy: Any, plan: Any, settings: dict[str, Any]
) -> None:
    wrapped: Any = Drifting(tiny_policy)
    assert Sdpo().update(plan(**settings), wrapped).steps == 6


def test_it_does_not_go_back_to_where_it_had_not_learned(tiny_policy: Any, plan: Any) -> None:
    """Nothing fits: then the last step stands, and is judged."""
    wrapped: Any = Drifting(tiny_policy)
    outcome = Sdpo().update(plan(gate_drift=0.2, gate_learned=0.3), wrapped)
    assert outcome.before.divergence * 0.3 < outcome.after.divergence
    assert outcome.steps == 6
    ended = tiny_policy.learner.weights()
    tiny_policy.learner.reset()
    Sdpo().update(plan(gate=False), tiny_policy)
    assert tiny_policy.learner.weights() == ended


def test_where_all_that_learned_moved_more_it_is_the_one_that_moved_least(
    tiny_policy: Any, plan: Any
) -> None:
    wrapped: Any = Drifting(tiny_policy)
    outcome = Sdpo().update(plan(gate_drift=0.05), wrapped)
    assert (outcome.steps, outcome.metrics["drift"]) == (1, pytest.approx(0.1))


def test_and_nowhere_where_the_last_step_moved_less(tiny_policy: Any, plan: Any) -> None:
    wrapped: Any = Drifting(tiny_policy)
    outcome = Sdpo().update(plan(gate_drift=0.05, gate_learned=0.6), wrapped)
    assert outcome.metrics["drift"] == pytest.approx(0.25) and outcome.steps == 6


def test_what_earlier_updates_moved_is_not_counted(tiny_policy: Any, plan: Any) -> None:
    wrapped: Any = Drifting(tiny_policy, earlier=0.7)
    outcome = Sdpo().update(plan(gate_drift=0.2), wrapped)
    assert (outcome.steps, outcome.rejected) == (2, None)
    assert outcome.metrics["drift"] == pytest.approx(0.9)


@pytest.mark.parametrize(("ends", "steps", "rejected"), [(0.5, 6, False), (0.4, 1, True)])
def test_nor_are_the_probes_that_they_lost(
    tiny_policy: Any, plan: Any, ends: float, steps: int, rejected: bool
) -> None:
    wrapped: Any = Drifting(tiny_policy, kept=(0.5,) + (0.4,) * 5 + (ends,))
    outcome = Sdpo().update(plan(gate_drift=9.0, gate_kept=0.6), wrapped)
    assert (outcome.steps, outcome.rejected is not None) == (steps, rejected)
    assert not rejected or "on 40% of unrelated prompts" in str(outcome.rejected)


def test_counted_from_the_base_model_they_are(tiny_policy: Any, plan: Any) -> None:
    wrapped: Any = Drifting(tiny_policy, kept=(0.5,) * 7, earlier=0.7)
    outcome = Sdpo().update(plan(gate_drift=0.2, gate_kept=0.6, gate_from="base"), wrapped)
    assert outcome.rejected is not None and outcome.steps == 1


@pytest.mark.parametrize(
    ("since", "steps"),
    [({"gate_drift", "gate_from"}, 6), ({"gate_from"}, 1)],
    ids=["no trail", "from the base"],
)
def test_a_plan_from_before_is_carried_out_as_it_was(
    tiny_policy: Any, plan: Any, since: set[str], steps: int
) -> None:
    logged = plan(gate_drift=0.2)
    old = {name: value for name, value in logged.settings.items() if name not in since}
    wrapped: Any = Drifting(tiny_policy, kept=(0.5,) * 7, earlier=0.7)
    outcome = Sdpo().update(msgspec.structs.replace(logged, settings=old), wrapped)
    assert outcome.steps == steps and outcome.rejected is not None
