"""The adapter: a function of its seed, named by content, on a base that never changes."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import torch as safetensors
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.plugins.models.local.adapter import Adapter, digest
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.packing import Packed


def train(learner: Learner, example: Example, steps: int = 3) -> None:
    batch = learner.prepare([example], Objective(), Optimiser(lr=1e-2))
    for _ in range(steps):
        assert learner.step(batch, stop_below=0.0).stepped


def test_equal_seeds_make_equal_adapters_and_others_others(new_adapter: Callable[..., Adapter]) -> None:
    assert new_adapter(3).digest() == new_adapter(3).digest() != new_adapter(4).digest()


def test_making_an_adapter_draws_nothing_from_the_global_generator(
    new_adapter: Callable[..., Adapter],
) -> None:
    before = torch.get_rng_state()
    new_adapter()
    assert torch.equal(torch.get_rng_state(), before)


def test_an_untrained_adapter_computes_what_the_base_does(adapter: Adapter) -> None:
    with torch.no_grad():
        own = adapter.logits(Packed.of([1, 2, 3]), [2])
        with adapter.disabled():
            base = adapter.logits(Packed.of([1, 2, 3]), [2])
    assert torch.equal(own, base)


def test_the_output_layer_is_left_alone(adapter: Adapter) -> None:
    names = list(adapter.snapshot())
    assert names and not any("lm_head" in name for name in names)
    assert {name.split(".")[-4] for name in names} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }


def test_the_digest_is_over_name_type_shape_and_bytes_in_order() -> None:
    tensors = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor([3], dtype=torch.int64)}
    by_hand = hashlib.sha256(b"a torch.int64 (1,)\n" + tensors["a"].numpy().tobytes())
    by_hand.update(b"b torch.float32 (1, 2)\n" + tensors["b"].numpy().tobytes())
    assert digest(tensors) == by_hand.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        torch.ones(3, 2),
        torch.ones(2, 3, dtype=torch.float16),
        torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + 2**-23]]),
    ],
    ids=["shape", "type", "last bit"],
)
def test_the_digest_sees_shape_type_and_the_last_bit(other: Tensor) -> None:
    assert digest({"a": torch.ones(2, 3)}) != digest({"a": other})


def test_base_weights_are_bit_identical_after_updates(
    adapter: Adapter, learner: Learner, example: Callable[..., Example]
) -> None:
    def base() -> str:
        return digest({name: p for name, p in adapter.model.named_parameters() if not p.requires_grad})

    before, trained = base(), adapter.digest()
    train(learner, example(), 5)
    assert base() == before
    assert adapter.digest() != trained


def test_reset_is_exactly_before_any_training(
    adapter: Adapter, learner: Learner, example: Callable[..., Example]
) -> None:
    before = adapter.digest()
    train(learner, example())
    adapter.reset()
    assert adapter.digest() == before


def test_weights_saved_and_loaded_give_the_same_logits(
    adapter: Adapter,
    learner: Learner,
    example: Callable[..., Example],
    new_adapter: Callable[..., Adapter],
    tmp_path: Path,
) -> None:
    train(learner, example())
    file = str(tmp_path / "adapter.safetensors")
    # safetensors leaves the type of its paths open.
    safetensors.save_file(adapter.snapshot(), file)  # pyright: ignore[reportUnknownMemberType]  # as said above
    other = new_adapter(seed=9)
    other.restore(safetensors.load_file(file))  # pyright: ignore[reportUnknownMemberType]  # as said above
    assert other.digest() == adapter.digest()
    with torch.no_grad():
        assert torch.equal(
            other.logits(Packed.of([1, 2, 3]), [0, 1, 2]), adapter.logits(Packed.of([1, 2, 3]), [0, 1, 2])
        )


def test_logits_at_some_positions_are_those_of_the_whole_forward_pass(adapter: Adapter) -> None:
    with torch.no_grad():
        whole = adapter.model(input_ids=torch.tensor([[1, 2, 3, 4]])).logits[0]
        assert torch.allclose(adapter.logits(Packed.of([1, 2, 3, 4]), [3, 1]), whole[[3, 1]], atol=1e-5)


def test_held_factors_are_gone_after_an_error(adapter: Adapter, new_adapter: Callable[..., Adapter]) -> None:
    before, other = adapter.digest(), new_adapter(seed=9).snapshot()
    with pytest.raises(ZeroDivisionError), adapter.holding(other):
        assert adapter.digest() == digest(other)
        raise ZeroDivisionError
    assert adapter.digest() == before


def test_the_adapter_takes_gradients_again_after_it_was_disabled(adapter: Adapter) -> None:
    with adapter.disabled():
        pass
    assert all(p.requires_grad for p in adapter.parameters())
