"""The trainable part of a local model: a LoRA adapter (Hu et al. 2021) on a base that never changes.

Each adapted linear layer computes W x + (alpha / rank) · B A x; only the factors A [rank, in] and
B [out, rank] are trained. At first B is zero, so the model is the base model, and A is uniform in
±1/√in, peft's own choice, but drawn here on the CPU from `AdapterSpec.seed` in the order of the names:
peft draws on the model's device from the process-wide generator, which would make the digest of an
untrained adapter depend on the machine and on whoever drew before.
"""

import hashlib
import math
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from continualcode.core.data import AdapterSpec
from continualcode.plugins.models.local.network import written
from continualcode.plugins.models.local.packing import Laid, Packed

Factors: TypeAlias = dict[str, Tensor]
"""Adapter tensors by name. Names that differ in `lora_A` and `lora_B` only are the factors of one layer."""


class Adapter:
    """A base model with one LoRA adapter. Takes `model` over: its linear layers are wrapped in place.

    first: the first layer that the adapter is on; those before it are the base model's, whatever is learned.
    """

    def __init__(self, model: Any, spec: AdapterSpec, header: Sequence[int] = ()) -> None:
        """`header`: the tokens that end every prompt of this model; the adapter acts from there on."""
        self.spec = spec
        self.header = tuple(header)
        layers = int(model.config.num_hidden_layers)
        self.first = min(layers - 1, layers - math.ceil(layers * spec.upper))
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,  # type: ignore[arg-type]  # peft divides by it and takes any number
            target_modules=_linear(model, spec.targets, self.first) if self.first else spec.targets,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        )
        # peft draws an initialisation, which reset() replaces, and asks transformers a question in old words.
        untyped: Any = torch.random
        with untyped.fork_rng(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            self.model: PeftModel = get_peft_model(model, config)
        self.model.eval()
        self._written = written(self.model)
        trainable = ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)
        self._parameters = dict(sorted(trainable))
        self.reset()

    def parameters(self) -> list[torch.nn.Parameter]:
        """The trainable tensors, in the order of their names."""
        return list(self._parameters.values())

    def names(self) -> list[str]:
        """Their names, in that order."""
        return list(self._parameters)

    # -- Reading and speaking ------------------------------------------------------------------------

    def reads(self, prompt: Sequence[int]) -> int:
        """How many tokens of `prompt`, from its start, the adapter does not act on."""
        return 0 if self.spec.acts_on == "all" else max(0, len(prompt) - max(1, len(self.header)))

    def forward(
        self,
        ids: Tensor,
        places: Tensor,
        cache: Any,
        mask: Tensor | None,
        keep: Tensor,
        below: Tensor | None = None,
    ) -> Tensor:
        """Next-token logits [len(keep), V] after the tokens `keep` of ids [n] at rotary positions `places`.

        cache: of transformers, with what came before; is added to. mask: bool [n, all], None: everything.
        below: what `below` gave for these tokens, so that the layers before `first` are done.
        """
        if self._written is not None:
            begin = 0 if below is None else self.first
            hidden = self._written.embedded(ids) if below is None else below
            layers = range(begin, int(self.model.config.num_hidden_layers))
            hidden = self._written.hidden(hidden, places, _remembering(cache), mask, layers)
            return self._written.logits(hidden[keep])
        out = self.model(
            input_ids=ids[None],
            position_ids=places[None],
            attention_mask=None if mask is None else mask[None, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        logits: Tensor = out.logits[0]
        return logits

    @torch.no_grad()
    def below(self, ids: Tensor, places: Tensor, cache: Any, mask: Tensor | None) -> Tensor | None:
        """What the layers before `first`, which nothing trains, make of tokens: [n, width].

        None where that cannot be had by itself, or there are no such layers.
        """
        if self._written is None or not self.first:
            return None
        hidden = self._written.embedded(ids)
        return self._written.hidden(hidden, places, _remembering(cache), mask, range(self.first))

    @contextmanager
    def watching(self) -> Generator[dict[str, Tensor]]:
        """Inside, forward passes leave what each factor A gives out, [n, rank], by A's name."""
        seen: dict[str, Tensor] = {}
        factors = {name: p for name, p in self._parameters.items() if "lora_A" in name}
        if self._written is not None:
            by_id: dict[int, Tensor] = {}
            self._written.watched = by_id
            try:
                yield seen
                seen |= {name: by_id[id(p)] for name, p in factors.items() if id(p) in by_id}
            finally:
                self._written.watched = None
            return
        model: Any = self.model  # peft's modules are untyped

        def keeping(name: str) -> Callable[[object, object, Tensor], None]:
            def keep(_module: object, _given: object, out: Tensor) -> None:
                seen[name] = out.detach()[0]

            return keep

        modules = (model.get_submodule(name.removesuffix(".weight")) for name in factors)
        hooks = [one.register_forward_hook(keeping(name)) for one, name in zip(modules, factors, strict=True)]
        try:
            yield seen
        finally:
            for hook in hooks:
                hook.remove()

    def logits(self, packed: Packed, at: Sequence[int]) -> Tensor:
        """The model's next-token logits after the nodes `at` of packed sequences: [len(at), V]."""
        return packed.logits(self.forward, at, self._device)

    def laid(self, packed: Packed, paths: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Laid:
        """Rows of a trie to be scored again and again, what no training changes computed; see `Laid`."""
        return packed.laid(self.below, paths, wanted, self._device)

    def states(self, packed: Packed, at: Sequence[int]) -> list[Tensor]:
        """Hidden states [len(at), width] after the nodes `at`: of the embedding, then of each layer."""
        return packed.states(self.model, at, self._device)

    @property
    def _device(self) -> torch.device:
        return self.parameters()[0].device

    # -- Weights by content --------------------------------------------------------------------------

    def digest(self) -> str:
        """sha256 over name, dtype, shape and bytes of each trainable tensor, in the order of the names."""
        return digest(self._parameters)

    def snapshot(self) -> Factors:
        """A copy of the trainable tensors as they are now."""
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Make the trainable tensors those of `snapshot`, bit for bit."""
        for name, parameter in self._parameters.items():
            parameter.copy_(snapshot[name])

    def initial(self) -> Factors:
        """The trainable tensors as the seed makes them, whatever has been trained since."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        made: Factors = {}
        for name, parameter in self._parameters.items():
            if "lora_A" in name:
                drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float32)
                made[name] = ((drawn * 2.0 - 1.0) / math.sqrt(parameter.shape[1])).to(parameter)
            else:
                made[name] = torch.zeros_like(parameter, requires_grad=False)
        return made

    def reset(self) -> None:
        """Go back to before any training, exactly."""
        self.restore(self.initial())

    # -- Other weights for a while -------------------------------------------------------------------

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Inside, the model is the base model."""
        with self.model.disable_adapter():
            yield

    @contextmanager
    def holding(self, factors: Mapping[str, Tensor]) -> Generator[None]:
        """Inside, the model has these factors, of whatever rank; nothing may be trained meanwhile.

        The scaling stays alpha / rank of the spec, so ΔW = (alpha / rank) · B A for them too.
        """
        own = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                parameter.data = factors[name]
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = own[name]


def _remembering(cache: Any) -> Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A cache of transformers, which is untyped, as `network.Remember`."""
    return lambda layer, keys, values: cache.update(keys, values, layer)


def _linear(model: Any, targets: str, first: int) -> list[str]:
    """The names of the linear layers that `targets` means, in the layers from `first` on."""
    found: list[str] = []
    for name, module in model.named_modules():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        wanted = targets == "all-linear" or re.fullmatch(targets, name)
        if isinstance(module, torch.nn.Linear) and wanted and layer and int(layer[1]) >= first:
            found.append(name)
    return found


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 in hex over name, dtype, shape and bytes of each tensor, in the order of the names."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().to("cpu").contiguous()
        sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        sha.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
