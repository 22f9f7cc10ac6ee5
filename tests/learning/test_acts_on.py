"""An adapter that acts on completions only: the prompt is read by the base model, whatever was learned.

The oracle is peft's own aLoRA with the same factors, which masks the adapter's part position by position.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser
from continualcode.plugins.models.local import saved
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.pieces import Pieces
from continualcode.plugins.models.local.prefix import Prefix, split

# peft asks transformers a question in old words when it makes or loads a model.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

HEADER = 4
CPU = torch.device("cpu")
words = st.lists(st.integers(5, 49), min_size=1, max_size=6)
Build = Callable[..., Example]


@pytest.fixture
def adapter(new_adapter: Callable[..., Adapter]) -> Adapter:
    """One that has learned something, so that it makes a difference."""
    adapter = new_adapter(acts_on="completion")
    generator = torch.Generator().manual_seed(3)
    noise = {n: t + 0.3 * torch.randn(t.shape, generator=generator) for n, t in adapter.snapshot().items()}
    adapter.restore(noise)
    return adapter


@pytest.fixture
def alora(adapter: Adapter, new_model: Callable[[], Any]) -> Any:
    """Peft's aLoRA with the factors of `adapter`, invoked by the header."""
    spec = adapter.spec
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=int(spec.alpha),
        target_modules=spec.targets,
        task_type="CAUSAL_LM",
        alora_invocation_tokens=[HEADER],
    )
    model: Any = get_peft_model(new_model(), config).eval()
    model.load_state_dict(adapter.snapshot(), strict=False)
    return model


def fresh(adapter: Adapter) -> Prefix:
    """Nothing read yet."""
    return Prefix(adapter, Pieces(2**20), CPU)


def alone(adapter: Adapter, ids: Sequence[int]) -> Tensor:
    """The logits after a prompt that nothing came before."""
    return started(fresh(adapter), adapter, ids).logits(ids)


def started(prefix: Prefix, adapter: Adapter, ids: Sequence[int]) -> Prefix:
    """The prefix, begun with a prompt as the sampler does it."""
    prefix.start(ids, split(adapter, ids, adapter.digest()), exact=False)
    return prefix


def scored(adapter: Adapter, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[Tensor]:
    """Logits [T, V] at each completion's tokens, all rows packed."""
    reading = fresh(adapter).reading([prompt for prompt, _ in rows])
    packed = reading.packed.onward()
    at: list[int] = []
    for prompt, completion in rows:
        rest = prompt[adapter.reads(prompt) :]
        path = packed.add([*rest, *completion], reading.ends[tuple(prompt)])
        at += path[len(rest) - 1 : -1]
    return list(torch.split(adapter.logits(packed, at), [len(completion) for _, completion in rows]))


def test_it_scores_as_pefts_alora_does(adapter: Adapter, alora: Any) -> None:
    @settings(max_examples=25)
    @given(st.lists(st.tuples(words, words), min_size=1, max_size=4))
    def law(rows: list[tuple[list[int], list[int]]]) -> None:
        asked = [((*prompt, HEADER), completion) for prompt, completion in rows]
        with torch.no_grad():
            for (prompt, completion), ours in zip(asked, scored(adapter, asked), strict=True):
                whole = alora(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
                theirs = whole[len(prompt) - 1 : -1]
                assert torch.allclose(ours.log_softmax(-1), theirs.log_softmax(-1), atol=1e-4)

    law()


def test_its_gradient_is_that_of_pefts_alora(adapter: Adapter, alora: Any) -> None:
    rows = [((11, 12, 13, HEADER), (7, 8, 9)), ((11, 12, 20, HEADER), (7, 8, 10))]
    torch.autograd.backward([one.log_softmax(-1)[:, 7].sum() for one in scored(adapter, rows)])
    for prompt, completion in rows:
        whole = alora(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        whole[len(prompt) - 1 : -1].log_softmax(-1)[:, 7].sum().backward()
    theirs = {name: p.grad for name, p in alora.named_parameters() if p.requires_grad}
    for name, parameter in zip(adapter.snapshot(), adapter.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, theirs[name], atol=1e-4), name


def test_what_is_read_does_not_depend_on_what_was_learned(adapter: Adapter) -> None:
    def read() -> list[Tensor]:
        return [t for pair in fresh(adapter).reading([(11, 12, 13, HEADER)]).packed.past for t in pair]

    learned = read()
    adapter.reset()
    assert all(torch.equal(one, other) for one, other in zip(learned, read(), strict=True))


def test_training_brings_it_to_its_teacher(
    new_adapter: Callable[..., Adapter], new_learner: Callable[[Adapter], Learner], example: Build
) -> None:
    def trained() -> tuple[str, float, float]:
        fresh = new_adapter(acts_on="completion")
        learner = new_learner(fresh)
        batch = learner.prepare([example()], Objective(), Optimiser(lr=1e-2))
        reports = [learner.step(batch, stop_below=0.0) for _ in range(30)]
        return fresh.digest(), reports[0].divergence, reports[-1].divergence

    digest, before, after = trained()
    assert after < before / 4
    assert trained() == (digest, before, after)


def test_a_retry_after_an_update_reads_nothing_anew(adapter: Adapter) -> None:
    prompt = [*range(10, 40), HEADER]
    prefix = fresh(adapter)
    started(prefix, adapter, prompt).logits([*prompt, 7, 8])
    adapter.reset()
    computed = prefix.computed
    retried = started(prefix, adapter, prompt).logits(prompt)
    assert prefix.computed == computed + 1  # the header
    assert torch.equal(retried, alone(adapter, prompt))


def test_what_was_said_is_read_once_it_is_part_of_a_prompt(adapter: Adapter) -> None:
    """Drawn with the adapter, then read without it: the longer prompt scores as if it had come alone."""
    first, prefix = [10, 11, 12, HEADER], fresh(adapter)
    started(prefix, adapter, first).logits([*first, 7, 8])
    second = [*first, 7, 8, 20, HEADER]
    assert torch.equal(started(prefix, adapter, second).logits(second), alone(adapter, second))


def test_what_is_exported_is_pefts_alora(
    adapter: Adapter, new_model: Callable[[], Any], tmp_path: Path
) -> None:
    saved.export(adapter, tmp_path)
    peft: Any = PeftModel  # whose arguments have no types
    loaded = peft.from_pretrained(new_model(), str(tmp_path)).eval()
    ids = torch.tensor([[10, 11, HEADER, 7, 8]])
    with torch.no_grad():
        theirs = loaded(input_ids=ids).logits[0, 2:-1]
        (ours,) = scored(adapter, [((10, 11, HEADER), (7, 8))])
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert adapter.model.peft_config["default"].alora_invocation_tokens is None  # type: ignore[attr-defined]  # a LoraConfig
