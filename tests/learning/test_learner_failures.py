"""What cannot be learned from is refused by name, and a failing step leaves everything as it was."""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.batch import Batch
from continualcode.plugins.models.local.learner import Learner

Build = Callable[..., Example]


def begun(learner: Learner, example: Example) -> Batch:
    """A batch after a step, with moments and an averaged teacher to lose."""
    batch = learner.prepare([example], Objective(teacher="ema"), Optimiser(lr=1e-2))
    assert learner.step(batch, stop_below=0.0).stepped
    return batch


def state(learner: Learner) -> tuple[str, str]:
    return learner.weights(), learner.optimiser_state()


# -- Examples that are refused -----------------------------------------------------------------------

OLD = (-1.0, -1.0, -1.0, -1.0, -1.0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sampled_logprobs": ()}, "5 completion tokens but 0 logprobs"),
        ({"sampled_logprobs": OLD[:4]}, "5 completion tokens but 4 logprobs"),
        ({"sampled_logprobs": (*OLD[:2], math.nan, *OLD[:2])}, "logprob nan at position 2"),
        ({"sampled_logprobs": (-math.inf, *OLD[:4])}, "logprob -inf at position 0"),
        ({"sampled_logprobs": (*OLD[:4], math.inf)}, "logprob inf at position 4"),
        ({"sampled_logprobs": (*OLD[:4], 0.5)}, "logprob 0.5 at position 4"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"weight": math.inf}, "weight inf"),
        ({"completion_ids": (), "sampled_logprobs": ()}, "at least one token"),
        ({"prompt_ids": ()}, "at least one token"),
        ({"teacher_ids": ()}, "at least one token"),
        ({"teacher_ids": (1, 50)}, "token 50 is outside the vocabulary of 50"),
        ({"completion_ids": (7, 8, 9, 10, -1)}, "token -1 is outside the vocabulary"),
        ({"teacher_ids": (1,) * 124}, "129 tokens, more than the model's context of 128"),
        ({"grammar": "7|9 12|9|10|11"}, "the grammar does not allow token 8 at position 1"),
    ],
)
def test_a_bad_example_is_refused_by_name(
    learner: Learner, example: Build, changes: dict[str, Any], said: str
) -> None:
    good, before = example(), state(learner)
    bad = msgspec.structs.replace(
        good, **{"sampled_logprobs": OLD, "correction": "c7", "sample": "s9", **changes}
    )
    with pytest.raises(UpdateError, match=f"correction c7, sample s9: .*{said}"):
        learner.prepare([good, bad], Objective(), Optimiser())
    assert state(learner) == before


def test_an_update_without_examples_is_refused(learner: Learner) -> None:
    with pytest.raises(UpdateError, match="at least one example"):
        learner.prepare([], Objective(), Optimiser())


# -- Steps that fail ---------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_the_example_and_the_position(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    batch = begun(learner, example(correction="c7", sample="s9"))
    batch.rows[0].teacher[3] = math.nan
    before = state(learner)
    with pytest.raises(UpdateError, match="correction c7, sample s9: the loss is nan at position 3"):
        learner.step(batch, stop_below=0.0)
    assert state(learner) == before
    assert all(p.grad is None for p in adapter.parameters())


def test_a_gradient_that_is_not_finite_names_the_example(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    def explode(gradient: Tensor) -> Tensor:
        return gradient * math.inf

    batch = begun(learner, example(correction="c7", sample="s9"))
    before = state(learner)
    trained: Any = adapter.parameters()[5]
    handle = trained.register_hook(explode)
    try:
        with pytest.raises(UpdateError, match="correction c7, sample s9: the gradient's norm is"):
            learner.step(batch, stop_below=0.0)
    finally:
        handle.remove()
    assert state(learner) == before
    assert learner.step(batch, stop_below=0.0).stepped


@pytest.mark.parametrize(
    ("optimiser", "said"),
    [
        (Optimiser(eps=0.0), "a step at lr 3e-05 made weights that are not finite"),  # A: 0/0 while B is 0
        (Optimiser(lr=1e39), r"torch could not take a step at lr 1e\+39: .*overflow"),
    ],
)
def test_a_step_that_cannot_be_taken_is_taken_back(
    learner: Learner, example: Build, optimiser: Optimiser, said: str
) -> None:
    before = state(learner)
    batch = learner.prepare([example()], Objective(teacher="ema"), optimiser)
    with pytest.raises(UpdateError, match=said):
        learner.step(batch, stop_below=0.0)
    assert state(learner) == before


def test_torchs_own_errors_name_the_example(adapter: Adapter, learner: Learner, example: Build) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    batch = begun(learner, example(correction="c7", sample="s9"))
    before = state(learner)
    handle = adapter.model.get_input_embeddings().register_forward_hook(fail)
    try:
        with pytest.raises(UpdateError, match="correction c7, sample s9: torch could not .*out of memory"):
            learner.step(batch, stop_below=0.0)
    finally:
        handle.remove()
    assert state(learner) == before


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_interrupt_leaves_nothing_behind(
    adapter: Adapter, learner: Learner, example: Build, where: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    batch = begun(learner, example())
    before = state(learner)
    if where == "forward":
        handle = adapter.model.get_input_embeddings().register_forward_hook(interrupt)
    else:
        trained: Any = adapter.parameters()[5]
        handle = trained.register_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            learner.step(batch, stop_below=0.0)
    finally:
        handle.remove()
    assert state(learner) == before
    assert all(p.grad is None for p in adapter.parameters())


def test_an_interrupt_between_two_tensors_of_a_step_is_taken_back(
    adapter: Adapter, learner: Learner, example: Build
) -> None:
    """AdamW changes tensor after tensor; an optimiser hook runs when it has changed them all."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    batch = begun(learner, example())
    before = state(learner)
    handle = register_optimizer_step_post_hook(interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            learner.step(batch, stop_below=0.0)
    finally:
        handle.remove()
    assert state(learner) == before
