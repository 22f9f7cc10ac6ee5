"""The forward pass that is written out: what transformers and peft compute, within a stated tolerance."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from continualcode.core.data import AdapterSpec
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.network import FEW, Written, product, written
from continualcode.plugins.models.local.packing import Packed
from continualcode.plugins.models.local.pieces import BASE, Pieces
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Prefix, Split

CPU = torch.device("cpu")
IDS = [7, 8, 9, 7, 3, 30, 31, 8, 9, 5]


def made(config: Any, model: Any, **changes: Any) -> Adapter:
    """A random model whose heads share keys, with an adapter that has learned something."""
    sizes: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        **changes,
    }
    random: Any = torch.random  # has no types
    with random.fork_rng():
        random.manual_seed(0)
        random_one = model(config(**sizes)).float()
        for name, weight in random_one.named_parameters():
            if "norm" in name:  # else one that is left out would be no matter
                torch.nn.init.uniform_(weight, 0.5, 1.5)
    return moved(Adapter(random_one, AdapterSpec(rank=4, alpha=8.0)))


def llama(**changes: Any) -> Adapter:
    """See `made`."""
    return made(LlamaConfig, LlamaForCausalLM, **changes)


def qwen3() -> Adapter:
    """Norms of each head, and heads wider together than the model."""
    return made(Qwen3Config, Qwen3ForCausalLM, head_dim=16)


def moved(adapter: Adapter) -> Adapter:
    """With other factors than the first ones, which change nothing."""
    generator = torch.Generator().manual_seed(3)
    noise = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in adapter.snapshot().items()}
    adapter.restore(noise)
    return adapter


def qwen(make_policy: Callable[..., LocalPolicy]) -> Adapter:
    """A random Qwen2: biases on queries, keys and values; tied embeddings."""
    inside: Any = make_policy()
    return moved(inside._adapter)


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def adapter(request: pytest.FixtureRequest, make_policy: Callable[..., LocalPolicy]) -> Adapter:
    make = {"llama": llama, "qwen2": lambda: qwen(make_policy), "qwen3": qwen3}
    return make[request.param]()


def general(adapter: Adapter, ids: list[int]) -> Tensor:
    """Logits [T, V] by transformers and peft."""
    logits: Tensor = adapter.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits


def ours(adapter: Adapter, ids: list[int], *cuts: int) -> Tensor:
    """The same in several passes."""
    prefix, rows = Prefix(adapter, Pieces(2**30), CPU), list[Tensor]()
    prefix.start(ids, Split(0, "w", "w"))
    for start, end in zip((0, *cuts), (*cuts, len(ids)), strict=True):
        rows.append(prefix.logits(ids[:end], last=end - start))
    return torch.cat(rows)


@pytest.mark.parametrize("cuts", [(), (1,), (4, 5, 6)])
def test_it_scores_as_transformers_and_peft_do(adapter: Adapter, cuts: tuple[int, ...]) -> None:
    assert isinstance(written(adapter.model, lambda: True), Written)
    with torch.no_grad():
        theirs = general(adapter, IDS).log_softmax(-1)
    assert torch.allclose(ours(adapter, IDS, *cuts).log_softmax(-1), theirs, atol=1e-5)


def test_it_is_the_base_model_where_the_adapter_is_off(adapter: Adapter) -> None:
    with torch.no_grad(), adapter.disabled():
        theirs = general(adapter, IDS).log_softmax(-1)
    prefix = Prefix(adapter, Pieces(2**30), CPU)
    prefix.start(IDS, Split(len(IDS) - 1, BASE, BASE))
    assert torch.allclose(prefix.logits(IDS)[0].log_softmax(-1), theirs[-1], atol=1e-5)
    assert not torch.allclose(ours(adapter, IDS)[-1].log_softmax(-1), theirs[-1], atol=1e-2)


def test_it_holds_other_factors_of_another_rank(adapter: Adapter) -> None:
    doubled = {
        name: torch.cat([factor, factor], dim=0 if "lora_A" in name else 1)
        for name, factor in adapter.snapshot().items()
    }
    with torch.no_grad(), adapter.holding(doubled):
        theirs = general(adapter, IDS)
        assert torch.allclose(ours(adapter, IDS), theirs, atol=1e-4)


def test_its_gradient_is_theirs(adapter: Adapter) -> None:
    def gradients(loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, adapter.parameters()))

    packed = Packed.of(IDS)
    mine = gradients(adapter.logits(packed, range(len(IDS))).log_softmax(-1)[:, 7].sum())
    theirs = gradients(general(adapter, IDS).log_softmax(-1)[:, 7].sum())
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(mine, theirs, strict=True))


def test_in_bfloat16_it_is_as_close_as_that_is(make_policy: Callable[..., LocalPolicy]) -> None:
    """The dtype on a GPU; the factors stay in float32, as in peft."""
    inside: Any = make_policy(dtype="bfloat16")
    adapter = moved(inside._adapter)
    with torch.no_grad():
        theirs = general(adapter, IDS).float().softmax(-1)
    assert torch.allclose(ours(adapter, IDS).float().softmax(-1), theirs, atol=0.1)


def test_what_is_not_written_goes_the_general_way() -> None:
    adapter = llama(hidden_act="gelu")
    assert written(adapter.model, lambda: True) is None
    with torch.no_grad():
        theirs = general(adapter, IDS).log_softmax(-1)
    for cuts in ((), (4, 5)):
        assert torch.allclose(ours(adapter, IDS, *cuts).log_softmax(-1), theirs, atol=1e-5)


def test_its_hidden_states_are_those_that_transformers_tells(adapter: Adapter) -> None:
    packed = Packed.of(IDS)
    with torch.no_grad():
        ours = adapter.states(packed, [2, 5])
        theirs = adapter.model(input_ids=torch.tensor([IDS]), output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs)
    assert all(torch.allclose(a, b[0, [2, 5]], atol=1e-4) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("tokens", [1, *FEW, 9, 40])
@pytest.mark.parametrize("biased", [True, False])
def test_a_product_is_that_of_torch_whichever_way_round(tokens: int, biased: bool) -> None:
    made = torch.Generator().manual_seed(tokens)
    x, weight, bias = (torch.randn(shape, generator=made) for shape in ((tokens, 48), (32, 48), (32,)))
    x.requires_grad_()
    found, wanted = (of(x, weight, bias if biased else None) for of in (product, torch.nn.functional.linear))
    assert found.is_contiguous() and torch.allclose(found, wanted, atol=1e-5)
    gradients = (torch.autograd.grad((y * y).sum(), x)[0] for y in (found, wanted))
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-3)
