"""A transformer small enough to train in milliseconds, its learner, and examples for it."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from continualcode.core.data import AdapterSpec, Example, Objective, Optimiser, StepReport
from continualcode.core.errors import UpdateError
from continualcode.core.testing import ScriptedPolicy
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.batch import Batch
from continualcode.plugins.models.local.constraint import holds
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.models.local.pieces import Pieces
from continualcode.plugins.models.local.prefix import Prefix

VOCABULARY = 50


class Listed:
    """A constraint whose grammar lists the allowed ids, position by position: `7 8|9|1 2 3`."""

    def masks(self, grammar: str, completion_ids: Sequence[int]) -> Tensor:
        """Packed bits, as the learner expects them."""
        bits = torch.zeros(len(completion_ids), 2, dtype=torch.int32)
        for row, allowed in zip(bits, grammar.split("|"), strict=True):
            for token in map(int, allowed.split()):
                bit = 1 << token % 32
                row[token // 32] |= bit - (1 << 32) if bit >= 1 << 31 else bit
        for place, token in enumerate(completion_ids):
            if not holds(bits[place], token):
                raise UpdateError(f"the grammar does not allow token {token} at position {place}")
        return bits


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs a real model, or more than a second")


def tiny_model() -> Any:
    """A random Llama: 2 layers, 16 wide, 50 tokens; sharp enough that its distributions differ."""
    with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]  # as is its context manager
        torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # torch leaves `seed` untyped
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=128,
            initializer_range=0.4,
        )
        model: Any = LlamaForCausalLM(config)
        return model.float()


def tiny_adapter(seed: int = 0, acts_on: Literal["all", "completion"] = "all") -> Adapter:
    """A fresh adapter on a fresh tiny model; its prompts end with the token 4."""
    return Adapter(tiny_model(), AdapterSpec(rank=4, alpha=4.0, seed=seed, acts_on=acts_on), header=(4,))


@pytest.fixture(autouse=True)
def one_thread() -> Generator[None]:
    """Threads only get in each other's way on tensors this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def new_model() -> Callable[[], Any]:
    """Makes fresh copies of the same tiny model."""
    return tiny_model


@pytest.fixture
def new_adapter() -> Callable[..., Adapter]:
    """Makes fresh adapters, by seed, on fresh copies of the same tiny model."""
    return tiny_adapter


class TinyPolicy(ScriptedPolicy):
    """Scripted in what it says, real in how it learns: steps and weights are those of a learner."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Any:
        return self.learner.prepare(examples, objective, optimiser)

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:  # type: ignore[override]  # other batches
        return self.learner.step(batch, stop_below=stop_below)

    def snapshot(self) -> Any:
        return self.learner.snapshot()

    def restore(self, snapshot: Any) -> None:
        self.learner.restore(snapshot)


@pytest.fixture
def tiny_policy(learner: Learner) -> TinyPolicy:
    return TinyPolicy(learner)


@pytest.fixture
def adapter() -> Adapter:
    return tiny_adapter()


def new_prefix(adapter: Adapter) -> Prefix:
    """A prefix of its own, which shares nothing."""
    return Prefix(adapter, Pieces(2**20), torch.device("cpu"))


@pytest.fixture
def new_learner() -> Callable[[Adapter], Learner]:
    """Makes a learner of an adapter."""
    return lambda adapter: Learner(adapter, Listed(), new_prefix(adapter))


@pytest.fixture
def learner(adapter: Adapter) -> Learner:
    return Learner(adapter, Listed(), new_prefix(adapter))


def sampled_logprobs(adapter: Adapter, prompt: Sequence[int], completion: Sequence[int]) -> tuple[float, ...]:
    """Log-probabilities of a completion, scored token by token: independent of the learner's own scoring."""
    found: list[float] = []
    with torch.no_grad():
        for place, token in enumerate(completion):
            ids = torch.tensor([[*prompt, *completion[:place]]])
            logits = adapter.model(input_ids=ids, use_cache=False).logits[0, -1]
            found.append(float(torch.log_softmax(logits.double(), -1)[token]))
    return tuple(found)


@pytest.fixture
def example(adapter: Adapter) -> Callable[..., Example]:
    """Builds an on-policy example: a prompt, a correction in the teacher's prompt, a completion."""

    def build(**changes: Any) -> Example:
        fields: dict[str, Any] = {
            "correction": "c1",
            "sample": "s1",
            "prompt_ids": (1, 2, 3, 4),
            "teacher_ids": (1, 2, 3, 30, 31, 32, 4),
            "completion_ids": (7, 8, 9, 10, 11),
            "temperature": 1.0,
            "grammar": None,
            **changes,
        }
        old = sampled_logprobs(adapter, fields["prompt_ids"], fields["completion_ids"])
        fields.setdefault("sampled_logprobs", old)
        return Example(**fields)

    return build
