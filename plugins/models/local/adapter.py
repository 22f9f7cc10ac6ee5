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
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from continualcode.core.data import AdapterSpec
from continualcode.core.errors import ConfigError
from continualcode.plugins.models.local.bare import Bare, factor
from continualcode.plugins.models.local.graphs import Graphs, Slab
from continualcode.plugins.models.local.int8 import Int8
from continualcode.plugins.models.local.network import Memory, Written, written
from continualcode.plugins.models.local.packing import Laid, Packed, Past

Factors: TypeAlias = dict[str, Tensor]
"""Adapter tensors by name. Names that differ in `lora_A` and `lora_B` only are the factors of one layer."""


class Adapter:
    """A base model with one LoRA adapter. Takes `model` over: transformers' layers are wrapped in place.

    first: the first layer that the adapter is on; those before it are the base model's, whatever is learned.
    """

    def __init__(self, model: Any, spec: AdapterSpec, header: Sequence[int] = ()) -> None:
        """`model`: a `Bare` one, or one of transformers.

        `header`: the tokens that end every prompt of this model; the adapter acts from there on.
        """
        self.spec = spec
        self.header = tuple(header)
        self._layers = layers = int(model.config.num_hidden_layers)
        self.first = min(layers - 1, layers - math.ceil(layers * spec.upper))
        self._on = True
        self._model: Any = None
        self._bare = model if isinstance(model, Bare) else None
        self._parameters: dict[str, torch.nn.Parameter] = {}
        self._written: Written | None = None
        self._int8: Int8 | None = None
        self._graphs: Graphs | None = None
        if self._bare is None:
            self._wrap(model)
            self._written = written(self._model, lambda: self._on)
        else:
            self._begin(self._bare)
        self.reset()

    def _begin(self, bare: Bare) -> None:
        for name in _chosen(bare.linear(), self.spec.targets, self.first):
            out, into = bare.tensors[f"{name}.weight"].shape
            for which, shape in (("A", (self.spec.rank, into)), ("B", (out, self.spec.rank))):
                # In float32 whatever the base is in, as peft does it.
                empty = torch.empty(shape, device=bare.embedding.weight.device)
                self._parameters[factor(name, which)] = torch.nn.Parameter(empty)
        self._parameters = dict(sorted(self._parameters.items()))
        if not self._parameters:
            raise ConfigError(f"model.targets: {self.spec.targets!r} names no linear layer of this model")
        parts = bare.parts(self._parameters, self.spec.alpha / self.spec.rank)
        self._written = Written(parts, lambda: self._on)

    def _wrap(self, model: Any) -> None:
        from continualcode.plugins.models.local import general

        targets = self.spec.targets
        if self.first:
            linear = [n for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
            self._model = general.adapted(model, self.spec, _chosen(linear, targets, self.first))
        else:
            self._model = general.adapted(model, self.spec, targets)
        if self._bare is not None:
            general.sharing(self._model, self._bare.tensors, self._parameters)
            self._model.to(self._bare.embedding.weight.device)  # what is no weight
            self._switch(self._on)
        else:
            trainable = ((name, p) for name, p in self._model.named_parameters() if p.requires_grad)
            self._parameters = dict(sorted(trainable))

    @property
    def model(self) -> Any:
        """The model as peft's, of the same tensors; made when it is first asked for."""
        if self._model is None and self._bare is not None:
            self._wrap(self._bare.general())
        return self._model

    @property
    def embedding(self) -> torch.nn.Embedding:
        """What turns ids into states."""
        module: torch.nn.Embedding = (self._bare or self.model).get_input_embeddings()
        return module

    @property
    def is_written(self) -> bool:
        """Whether `network` has this model's forward pass written out."""
        return self._written is not None

    @property
    def vocabulary(self) -> int:
        """How many logits there are."""
        return self.embedding.num_embeddings

    @property
    def context(self) -> int:
        """How many tokens the model was made for."""
        return int((self._bare or self.model).config.max_position_embeddings)

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
        memory: Memory,
        mask: Tensor | None,
        keep: Tensor,
        below: Tensor | None = None,
    ) -> Tensor:
        """Next-token logits [len(keep), V] after the tokens `keep` of ids [n] at rotary positions `places`.

        memory: of what came before; is added to. mask: bool [n, all], None: everything.
        below: what `below` gave for these tokens, so that the layers before `first` are done.
        """
        if self._written is not None:
            whole = range(0 if below is None else self.first, self._layers)
            fixed = self._graphs if self._on and self._written.watched is None else None
            if fixed and below is not None and mask is not None and isinstance(memory, Past):
                hidden = fixed.learned(below, places, memory, mask)
            else:
                hidden = self._written.embedded(ids) if below is None else below
                hidden = self._written.hidden(hidden, places, memory, mask, whole)
            return self._written.logits(hidden[keep])
        from continualcode.plugins.models.local import general

        return general.logits(self.model, ids, places, memory, mask, keep)

    def capture(self, context: int, captured: bool = True) -> bool:
        """Have passes of fixed shapes from now on, where they can be had; see `graphs`."""
        if self._written is not None:
            own = self.parameters()
            self._graphs = Graphs(self._written, own, self.first, lambda: self._on, context, captured)
        return self._graphs is not None

    def stepped(self) -> None:
        """What the passes of a step gave is no longer needed."""
        if self._graphs:
            self._graphs.stepped()

    def slab(self) -> Slab | None:
        """Room for a sequence that `spoken` adds to; None: without graphs there is none."""
        return self._graphs.slab() if self._graphs else None

    def spoken(self, ids: Sequence[int], slab: Slab, last: int) -> Tensor:
        """Next-token logits [last, V] after the last of `ids`, which come after what is kept in `slab`."""
        assert self._written is not None and self._graphs is not None  # there is a slab
        hidden = self._graphs.hidden(ids, slab)
        return self._written.logits(hidden[len(ids) - last :])

    @torch.no_grad()
    def below(self, ids: Tensor, places: Tensor, memory: Memory, mask: Tensor | None) -> Tensor | None:
        """What the layers before `first`, which nothing trains, make of tokens: [n, width].

        None where that cannot be had by itself, or there are no such layers.
        """
        if self._written is None or not self.first:
            return None
        hidden = self._written.embedded(ids)
        return self._written.hidden(hidden, places, memory, mask, range(self.first))

    def pack(self, progress: Callable[[int, int], None]) -> None:
        """Have the base model's weights in int8 as well, for `quickly`; see `int8`."""
        self._int8 = Int8(self._written.parts, progress) if self._written is not None else None

    @contextmanager
    def quickly(self) -> Generator[None]:
        """Inside, a few tokens at once are computed with the weights in int8, where there are such."""
        written = self._written
        if written is None or self._int8 is None:
            yield
            return
        before, written.product = written.product, self._int8.product
        try:
            yield
        finally:
            written.product = before

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
        """Hidden states [len(at), width] after the nodes `at`: of the embedding, then of each layer.

        The last layer's as the output layer takes them, which is how transformers tells them.
        """
        if self._written is not None:
            return packed.states(partial(self._states, self._written), at, self._device)
        from continualcode.plugins.models.local import general

        return packed.states(partial(general.states, self.model), at, self._device)

    def _states(
        self, written: Written, ids: Tensor, places: Tensor, memory: Memory, mask: Tensor
    ) -> list[Tensor]:
        found = [written.embedded(ids)]
        for layer in range(self._layers):
            found.append(written.hidden(found[-1], places, memory, mask, range(layer, layer + 1)))
        return [*found[:-1], written.normed(found[-1])]

    @property
    def _device(self) -> torch.device:
        return self.parameters()[0].device

    # -- Weights by content --------------------------------------------------------------------------

    def digest(self) -> str:
        """sha256 over name, dtype, shape and bytes of each trainable tensor, in the order of the names."""
        return digest(self._parameters)

    def snapshot(self) -> Factors:
        """A copy of the trainable tensors as they are now."""
        return copied(self._parameters)

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
        before = self._on
        self._switch(False)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, on: bool) -> None:
        """Turn the adapter on or off, and in peft's modules where they were made."""
        self._on = on
        if self._model is not None:
            base = self._model.base_model
            (base.enable_adapter_layers if on else base.disable_adapter_layers)()

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


def _chosen(linear: Sequence[str], targets: str, first: int) -> list[str]:
    """Of the names of linear layers those that `targets` means, in the layers from `first` on."""
    found: list[str] = []
    for name in linear:
        layer = re.search(r"\.layers\.(\d+)\.", name)
        wanted = targets == "all-linear" or re.fullmatch(targets, name)
        if wanted and layer and int(layer[1]) >= first:
            found.append(name)
    return found


def copied(tensors: Mapping[str, Tensor]) -> Factors:
    """Copies of tensors; on a GPU in a few launches for all of them: times one is exact."""
    there = {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_cuda}
    lists: Any = torch  # what works on lists has no types
    copies: list[Tensor] = lists._foreach_mul([*there.values()], 1.0) if there else []
    here = {name: tensor.detach().clone() for name, tensor in tensors.items() if name not in there}
    return here | dict(zip(there, copies, strict=True))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 in hex over name, dtype, shape and bytes of each tensor, in the order of the names."""
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().to("cpu").contiguous()
        sha.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        sha.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
