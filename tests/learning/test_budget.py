"""The KL budget: an update ends where what shall stay would move too far."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from continualcode.core.data import Example, Objective, Optimiser, UpdatePlan
from continualcode.core.errors import ConfigError
from continualcode.plugins.trainers.budget import spent
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

Build = Callable[..., Example]
FEW: dict[str, Any] = {"lr": 1e-2, "divergence_floor": 1e-4, "max_steps": 6, "gate": False, "in_turn": 0}


@pytest.fixture
def plan(example: Build) -> Callable[..., UpdatePlan]:
    """A correction and one anchor that is only held on to lightly, so that it moves."""

    def build(anchors: int = 1, **settings: Any) -> UpdatePlan:
        chosen = SdpoSettings(**{**FEW, **settings})
        same = {"teacher_ids": (1, 2, 3, 4), "completion_ids": (20, 21, 22), "sampled_logprobs": ()}
        anchor = example(correction="", part="anchor", weight=1e-3, **same)
        return UpdatePlan(
            trainer="sdpo",
            settings=msgspec.to_builtins(chosen),
            objective=Objective(in_turn=chosen.objective(None).in_turn),
            optimiser=Optimiser(lr=chosen.lr),
            examples=(example(), *[anchor] * anchors),
        )

    return build


def test_the_step_that_would_go_beyond_is_taken_back(
    tiny_policy: Any, plan: Callable[..., UpdatePlan]
) -> None:
    free = plan()
    far = spent(free, Sdpo().update(free, tiny_policy).after)
    tiny_policy.learner.reset()
    bounded = plan(kl_budget=far / 2)
    outcome = Sdpo().update(bounded, tiny_policy)
    assert 0 < outcome.steps < 6 and outcome.rejected is None
    assert 0.0 < spent(bounded, outcome.after) <= far / 2


def test_the_last_step_is_looked_at_too_where_rows_go_in_turn(
    tiny_policy: Any, plan: Callable[..., UpdatePlan]
) -> None:
    """A look has no anchors then, so with a budget all go in every step."""
    outcome = Sdpo().update(plan(anchors=20, kl_budget=1e-9, max_steps=1, in_turn=16), tiny_policy)
    assert outcome.steps == 0 and outcome.rejected is not None


def test_it_ends_as_an_update_of_that_many_steps_would(
    tiny_policy: Any, plan: Callable[..., UpdatePlan]
) -> None:
    far = spent(plan(), Sdpo().update(plan(), tiny_policy).after)
    tiny_policy.learner.reset()
    outcome = Sdpo().update(plan(kl_budget=far / 2), tiny_policy)
    ended = tiny_policy.learner.weights()
    tiny_policy.learner.reset()
    settings = {**plan().settings, "max_steps": outcome.steps}
    Sdpo().update(msgspec.structs.replace(plan(), settings=settings), tiny_policy)
    assert tiny_policy.learner.weights() == ended


def test_a_budget_that_is_never_spent_changes_nothing(
    tiny_policy: Any, plan: Callable[..., UpdatePlan]
) -> None:
    free = Sdpo().update(plan(), tiny_policy)
    ended = tiny_policy.learner.weights()
    tiny_policy.learner.reset()
    bounded = Sdpo().update(plan(kl_budget=1e6), tiny_policy)
    assert (bounded.steps, bounded.after) == (free.steps, free.after)
    assert tiny_policy.learner.weights() == ended


def test_what_no_step_can_be_paid_for_is_said_and_nothing_moves(
    tiny_policy: Any, plan: Callable[..., UpdatePlan]
) -> None:
    before = tiny_policy.learner.weights()
    outcome = Sdpo().update(plan(kl_budget=1e-9), tiny_policy)
    assert outcome.steps == 0 and tiny_policy.learner.weights() == before
    assert outcome.rejected is not None and "trainer.kl_budget" in outcome.rejected


def test_it_is_measured_on_anchors_so_it_needs_some() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.kl_budget 0\.5 .* trainer\.anchors is 0"):
        Sdpo(SdpoSettings(kl_budget=0.5, anchors=0.0))
