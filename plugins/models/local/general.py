"""Models as transformers and peft compute them: the reference, and the way for all that is not written here.

Importing this takes seconds, so it is imported where it is needed: for architectures that `network` does not
know, and otherwise when an update first looks inside a model's own modules.
"""

import logging
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.utils import logging as transformers_logging

from continualcode.core.data import AdapterSpec
from continualcode.plugins.models.local.network import Memory


def load(folder: Path, dtype: torch.dtype) -> Any:
    """The causal language model in `folder`, frozen and in eval mode, on the CPU."""
    models: Any = AutoModelForCausalLM  # its own types say as much
    with quiet():
        model = models.from_pretrained(folder, local_files_only=True, dtype=dtype, attn_implementation="sdpa")
    return model.eval().requires_grad_(False)


def tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`."""
    tokenizers: Any = AutoTokenizer  # as above
    with quiet():
        return tokenizers.from_pretrained(folder, local_files_only=True)


@contextmanager
def quiet() -> Generator[None]:
    """Inside, transformers shows no progress bars and no advice; afterwards it is as it was."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers gives it no types
    transformers_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # transformers gives it no types


def adapted(model: Any, spec: AdapterSpec, targets: list[str] | str) -> PeftModel:
    """`model` with a LoRA adapter on the linear layers `targets`: they are wrapped in place."""
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft divides by it and takes any number
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    # peft draws an initialisation, which the adapter replaces, and asks transformers a question in old words.
    untyped: Any = torch.random
    with untyped.fork_rng(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        made: PeftModel = get_peft_model(model, config)
    return made.eval()


def sharing(model: PeftModel, base: Mapping[str, Tensor], factors: Mapping[str, torch.nn.Parameter]) -> None:
    """Put these tensors into the modules of `model`: one model, of which there are two views."""
    names = dict(model.named_parameters())
    for name, tensor in base.items():
        module, _, last = name.rpartition(".")
        wrapped = f"base_model.model.{module}.base_layer.{last}"
        names[wrapped if wrapped in names else f"base_model.model.{name}"].data = tensor
    for name, factor in factors.items():
        module, _, last = name.rpartition(".")
        setattr(model.get_submodule(module), last, factor)


def logits(
    model: Any, ids: Tensor, places: Tensor, memory: Memory, mask: Tensor | None, keep: Tensor
) -> Tensor:
    """See `network.Forward`."""
    out = model(
        input_ids=ids[None],
        position_ids=places[None],
        attention_mask=None if mask is None else mask[None, None],
        past_key_values=_cache(model, memory),
        use_cache=True,
        logits_to_keep=keep,
    )
    found: Tensor = out.logits[0]
    return found


def states(model: Any, ids: Tensor, places: Tensor, memory: Memory, mask: Tensor) -> list[Tensor]:
    """Hidden states [n, width] of the embedding, then of each layer, for a `Forward`'s arguments."""
    out = model(
        input_ids=ids[None],
        position_ids=places[None],
        attention_mask=mask[None, None],
        past_key_values=_cache(model, memory),
        use_cache=True,
        output_hidden_states=True,
        logits_to_keep=torch.zeros(1, dtype=torch.long, device=ids.device),
    )
    return [layer[0] for layer in out.hidden_states]


def _cache(model: Any, memory: Memory) -> DynamicCache:
    cache: Any = DynamicCache()
    cache.layers = [_Layer(memory, number) for number in range(int(model.config.num_hidden_layers))]
    return cache  # type: ignore[no-any-return]  # transformers has no types for it


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]  # says its base, which has no types
    """One layer of a `Memory`, as transformers asks it."""

    def __init__(self, memory: Memory, number: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers gives it no types
        self._memory, self._number = memory, number
        self._length = memory.length

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Put what is new behind what is kept; all of it."""
        return self._memory.update(key_states, value_states, self._number)

    def get_seq_length(self) -> int:
        """How many tokens the next ones come after."""
        return self._length
