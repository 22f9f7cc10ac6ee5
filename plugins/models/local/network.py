"""The forward pass of Llama, Qwen2 and Qwen3 with a LoRA adapter, written out on the model's own weights.

transformers and peft go through some thirty modules a layer, and repeat keys and values for each query head
of a group. Here it is the arithmetic alone, and the heads of a group are queries of one head. Equal to theirs
up to the order of sums (tests/models/test_network.py). Other architectures, and options of these that are not
written here, go the general way.

Shapes: n tokens, V in the vocabulary; heads as [1, heads, n, width].
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

KNOWN = ("LlamaForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures whose layers are what is written here."""


FEW = range(2, 9)
"""So many tokens go through a matrix the other way round, on a CPU: as four at least, no slower than two."""


class Memory(Protocol):
    """Keys and values of tokens that came before, layer by layer; is added to."""

    @property
    def length(self) -> int:
        """How many tokens the next ones come after."""
        ...

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Take new keys and values of a layer; all that the tokens may see, the new ones last."""
        ...


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W x + bias for x [n, in]. They change places where that takes half the time (benchmarks/speed)."""
    if len(x) not in FEW or x.device.type != "cpu":
        return functional.linear(x, weight, bias)
    four = functional.pad(x, (0, 0, 0, max(0, 4 - len(x))))
    out = (weight @ four.t()).t()[: len(x)].contiguous()
    return out if bias is None else out + bias


Product: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""How W x + bias is computed."""


def attention(q: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, scale: float) -> Tensor:
    """What queries [1, heads, n, width] find among keys and values; seen [n, all]: added to the scores."""
    return functional.scaled_dot_product_attention(q, keys, values, attn_mask=seen, scale=scale)


Attention: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
"""How attention is computed."""


class Linear(NamedTuple):
    """A linear layer and its LoRA factors; None where the adapter is not on it."""

    weight: Tensor
    bias: Tensor | None
    a: Tensor | None
    b: Tensor | None
    scaling: float

    def low(self, x: Tensor) -> Tensor:
        """A x, in the precision of x, [n, in]: the factors are rounded to it, what they learn is not."""
        assert self.a is not None  # asked only of adapted layers
        return functional.linear(x, self.a.to(x.dtype))

    def __call__(self, x: Tensor, low: Tensor | None, product: Product) -> Tensor:
        """W x + bias, and scaling · B A x of the adapter, where there is a `low` = A x."""
        out = product(x, self.weight, self.bias)
        if low is None or self.b is None:
            return out
        return torch.addmm(out, low, self.b.to(low.dtype).t(), alpha=self.scaling)


class Norm(NamedTuple):
    """A normalisation by the root of the mean square."""

    weight: Tensor
    variance_epsilon: float

    def __call__(self, x: Tensor) -> Tensor:
        """Of x [..., width]."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.variance_epsilon)


class Layer(NamedTuple):
    """One layer's weights. of_q, of_k: norms of each head, where a model has them (Qwen3)."""

    before: Norm
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    between: Norm
    gate: Linear
    up: Linear
    down: Linear
    of_q: Norm | None = None
    of_k: Norm | None = None


class Parts(NamedTuple):
    """A network: `rotary` gives cos and sin [1, n, width] for states [1, n, …] at places [1, n].

    width: of a head. groups: query heads for each head of keys. scale: of attention's scores.
    """

    embed: torch.nn.Module
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    layers: Sequence[Layer]
    norm: Norm
    head: Linear
    width: int
    groups: int
    scale: float


class Written:
    """The forward pass of a network. adapted: says whether the adapter is on.

    watched: where it is a dict, what each factor A gives out goes in, by the id of A. product, attention: how
    these are computed.
    """

    def __init__(self, parts: Parts, adapted: Callable[[], bool]) -> None:
        self.watched: dict[int, Tensor] | None = None
        self.product: Product = product
        self.attention: Attention = attention
        self.parts = parts
        self._adapted = adapted

    @property
    def dtype(self) -> torch.dtype:
        """The precision of what goes from layer to layer."""
        return self.parts.head.weight.dtype

    def embedded(self, ids: Tensor) -> Tensor:
        """What goes into the first layer: [n, width]."""
        embedded: Tensor = self.parts.embed(ids)
        return embedded

    def hidden(
        self, hidden: Tensor, places: Tensor, memory: Memory, mask: Tensor | None, layers: range
    ) -> Tensor:
        """What `layers` make of hidden states [n, width] of tokens at rotary positions `places` [n].

        mask: bool [n, all], what each token sees; None: everything.
        """
        cos, sin = self.parts.rotary(hidden[None], places[None])
        seen = None
        if mask is not None:  # once for all layers and heads: what kernels add to the scores
            seen = torch.zeros(mask.shape, dtype=hidden.dtype, device=mask.device)
            seen = seen.masked_fill_(~mask, float("-inf")).repeat(self.parts.groups, 1)
        for number in layers:
            layer = self.parts.layers[number]
            x = layer.before(hidden)
            q, k, v = (self._heads(self._linear(one, x)) for one in (layer.q, layer.k, layer.v))
            q, k = (head if norm is None else norm(head) for head, norm in ((q, layer.of_q), (k, layer.of_k)))
            turned = _turned(torch.cat((q, k), dim=1), cos, sin)
            keys, values = memory.update(turned[:, q.shape[1] :], v, number)
            attended = self._attended(turned[:, : q.shape[1]], keys, values, seen)
            hidden = hidden + self._linear(layer.o, attended)
            x = layer.between(hidden)
            inner = functional.silu(self._linear(layer.gate, x)) * self._linear(layer.up, x)
            hidden = hidden + self._linear(layer.down, inner)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [n, V] from the last layer's hidden states [n, width]."""
        if not len(hidden):
            return torch.zeros((0, len(self.parts.head.weight)), dtype=hidden.dtype, device=hidden.device)
        return self.parts.head(self.normed(hidden), None, self.product)

    def normed(self, hidden: Tensor) -> Tensor:
        """The last layer's hidden states [n, width] as the output layer takes them."""
        return self.parts.norm(hidden)

    def _linear(self, linear: Linear, x: Tensor) -> Tensor:
        if linear.a is None or not self._adapted():
            return linear(x, None, self.product)
        low = linear.low(x)
        if self.watched is not None:
            self.watched[id(linear.a)] = low.detach()
        return linear(x, low, self.product)

    def _heads(self, x: Tensor) -> Tensor:
        """[n, heads · width] as heads."""
        return x.view(1, len(x), -1, self.parts.width).transpose(1, 2)

    def _attended(self, q: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None) -> Tensor:
        """What attention finds, [n, heads · width]. The heads of a group are as many queries of one head.

        But where a gradient is wanted of a GPU: its deterministic kernel takes the heads alone at a time.
        """
        shared, n = keys.shape[1], q.shape[2]
        if q.is_cuda and q.requires_grad:
            keys, values = (self._for_each(x) for x in (keys, values))
            shared = q.shape[1]
            seen = None if seen is None else seen[:n]
        packed = q.reshape(1, shared, -1, self.parts.width)
        found = self.attention(packed, keys, values, seen, self.parts.scale)
        return found.reshape(-1, n, self.parts.width).transpose(0, 1).reshape(n, -1)

    def _for_each(self, x: Tensor) -> Tensor:
        """Keys or values [1, shared, n, width] once for each query head."""
        _, shared, n, width = x.shape
        return x[:, :, None].expand(1, shared, self.parts.groups, n, width).reshape(1, -1, n, width)


def written(model: Any, adapted: Callable[[], bool]) -> Written | None:
    """The forward pass of a peft model, where it is one of those written here; else None. See `Written`."""
    config = model.get_base_model().config
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    plain = (
        type(model.get_base_model()).__name__ in KNOWN
        and config.hidden_act == "silu"
        and not getattr(config, "use_sliding_window", False)
        and not getattr(config, "pretraining_tp", 1) > 1
        and "dynamic" not in str(rope.get("rope_type", "default"))
    )
    try:
        return Written(_of(model), adapted) if plain else None
    except AttributeError:  # a linear layer is something else
        return None


def _of(model: Any) -> Parts:
    base = model.get_base_model()
    core, config = base.model, base.config
    return Parts(
        embed=core.embed_tokens,
        rotary=core.rotary_emb,
        layers=[_layer(each) for each in core.layers],
        norm=_norm(core.norm),
        head=_linear(base.lm_head),
        width=int(core.layers[0].self_attn.head_dim),
        groups=config.num_attention_heads // config.num_key_value_heads,
        scale=float(core.layers[0].self_attn.scaling),
    )


def _layer(layer: Any) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        before=_norm(layer.input_layernorm),
        q=_linear(attention.q_proj),
        k=_linear(attention.k_proj),
        v=_linear(attention.v_proj),
        o=_linear(attention.o_proj),
        between=_norm(layer.post_attention_layernorm),
        gate=_linear(mlp.gate_proj),
        up=_linear(mlp.up_proj),
        down=_linear(mlp.down_proj),
        of_q=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        of_k=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
    )


def _linear(module: Any) -> Linear:
    if not hasattr(module, "base_layer"):  # one that the adapter is not on
        return Linear(module.weight, module.bias, None, None, 0.0)
    base = module.base_layer
    a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
    return Linear(base.weight, base.bias, a, b, float(module.scaling["default"]))


def _norm(module: Any) -> Norm:
    return Norm(module.weight, module.variance_epsilon)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads at their rotary positions; cos, sin [1, n, width]."""
    half = x.shape[-1] // 2
    return x * cos[:, None] + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin[:, None]
