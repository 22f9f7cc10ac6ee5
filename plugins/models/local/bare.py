"""A Llama, Qwen2 or Qwen3 from its folder as tensors alone: in a fraction of a second, nothing to import.

transformers takes seconds to import, most of them for what no session uses. Its own classes are made from
the same tensors later, where something asks for a module (`Bare.general`). Only what is spelled out in
config.json and written in `network` comes from here; every other model goes through transformers (`loading`).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models.identity import weight_files
from continualcode.plugins.models.local import files
from continualcode.plugins.models.local.network import KNOWN, Layer, Linear, Norm, Parts

LINEAR = re.compile(r"model\.layers\.(\d+)\.(?:self_attn|mlp)\.[a-z]+_proj")
"""The names of the linear layers that an adapter may be on."""


class Config(msgspec.Struct, frozen=True):
    """What must be in config.json: nothing is left to a default of transformers that may change."""

    architectures: tuple[str, ...]
    hidden_act: str
    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    num_key_value_heads: int
    rms_norm_eps: float
    tie_word_embeddings: bool
    vocab_size: int
    rope_parameters: dict[str, Any] | None = None
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    head_dim: int | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    pretraining_tp: int = 1
    use_sliding_window: bool = False
    layer_types: tuple[str, ...] = ()
    partial_rotary_factor: float = 1.0
    quantization_config: dict[str, Any] | None = None

    @property
    def width(self) -> int:
        """Of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def theta(self) -> float | None:
        """The base of the rotary positions; None where they are not the plain ones."""
        given = self.rope_parameters
        if given is None:
            return None if self.rope_scaling else self.rope_theta
        plain = given.keys() == {"rope_type", "rope_theta"} and given["rope_type"] == "default"
        return given["rope_theta"] if plain else None

    @property
    def plain(self) -> bool:
        """Whether `network` has all of it written out."""
        return (
            len(self.architectures) == 1
            and self.architectures[0] in KNOWN
            and self.hidden_act == "silu"
            and self.theta is not None
            and self.pretraining_tp == 1
            and not self.use_sliding_window
            and set(self.layer_types) <= {"full_attention"}
            and self.partial_rotary_factor == 1.0
            and self.quantization_config is None
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that such a model consists of."""
        wide, inner, size = self.hidden_size, self.intermediate_size, self.width
        queries, keys = size * self.num_attention_heads, size * self.num_key_value_heads
        biased = self.architectures[0] == "Qwen2ForCausalLM" or self.attention_bias
        heads_normed = self.architectures[0] == "Qwen3ForCausalLM"
        found = {"model.embed_tokens.weight": (self.vocab_size, wide), "model.norm.weight": (wide,)}
        if not self.tie_word_embeddings:
            found["lm_head.weight"] = (self.vocab_size, wide)
        for number in range(self.num_hidden_layers):
            at = f"model.layers.{number}"
            for norm in ("input_layernorm", "post_attention_layernorm"):
                found[f"{at}.{norm}.weight"] = (wide,)
            if heads_normed:
                found |= {f"{at}.self_attn.{one}_norm.weight": (size,) for one in "qk"}
            for name, out, into, bias in (
                ("self_attn.q_proj", queries, wide, biased),
                ("self_attn.k_proj", keys, wide, biased),
                ("self_attn.v_proj", keys, wide, biased),
                ("self_attn.o_proj", wide, queries, self.attention_bias),
                ("mlp.gate_proj", inner, wide, self.mlp_bias),
                ("mlp.up_proj", inner, wide, self.mlp_bias),
                ("mlp.down_proj", wide, inner, self.mlp_bias),
            ):
                found[f"{at}.{name}.weight"] = (out, into)
                if bias:
                    found[f"{at}.{name}.bias"] = (out,)
        return found


class Bare:
    """A model as tensors by their names; `general` makes it again as transformers does, slowly."""

    def __init__(self, config: Config, tensors: Mapping[str, Tensor], general: Callable[[], Any]) -> None:
        self.config = config
        self.tensors = tensors
        self.general = general
        embeddings: Any = torch.nn.Embedding  # whose way to make one has no types
        self.embedding: torch.nn.Embedding = embeddings.from_pretrained(tensors["model.embed_tokens.weight"])

    def parameters(self) -> Iterable[Tensor]:
        """Its tensors, as a module has them."""
        return self.tensors.values()

    def get_input_embeddings(self) -> torch.nn.Embedding:
        """What turns ids into states, by transformers' name for it."""
        return self.embedding

    def linear(self) -> list[str]:
        """The names of its linear layers."""
        return [m[0] for name in self.tensors if (m := LINEAR.match(name)) and name.endswith(".weight")]

    def parts(self, factors: Mapping[str, Tensor], scaling: float) -> Parts:
        """The network, with these factors of an adapter in it."""
        config, tensors = self.config, self.tensors
        device = tensors["model.norm.weight"].device
        steps = torch.arange(0, config.width, 2, dtype=torch.float) / config.width
        assert config.theta is not None  # it is plain
        speeds = (1.0 / (config.theta**steps)).to(device)

        @torch.no_grad()
        def rotary(x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
            turned = places[..., None].float() * speeds
            both = torch.cat((turned, turned), dim=-1)
            return both.cos().to(x.dtype), both.sin().to(x.dtype)

        def linear(name: str) -> Linear:
            a, b = (factors.get(factor(name, which)) for which in "AB")
            return Linear(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"), a, b, scaling)

        def norm(name: str) -> Norm:
            return Norm(tensors[f"{name}.weight"], config.rms_norm_eps)

        def norm_if_any(name: str) -> Norm | None:
            return norm(name) if f"{name}.weight" in tensors else None

        def layer(at: str) -> Layer:
            attention, mlp = f"{at}.self_attn", f"{at}.mlp"
            return Layer(
                before=norm(f"{at}.input_layernorm"),
                q=linear(f"{attention}.q_proj"),
                k=linear(f"{attention}.k_proj"),
                v=linear(f"{attention}.v_proj"),
                o=linear(f"{attention}.o_proj"),
                between=norm(f"{at}.post_attention_layernorm"),
                gate=linear(f"{mlp}.gate_proj"),
                up=linear(f"{mlp}.up_proj"),
                down=linear(f"{mlp}.down_proj"),
                of_q=norm_if_any(f"{attention}.q_norm"),
                of_k=norm_if_any(f"{attention}.k_norm"),
            )

        head = "model.embed_tokens" if config.tie_word_embeddings else "lm_head"
        return Parts(
            embed=self.embedding,
            rotary=rotary,
            layers=[layer(f"model.layers.{number}") for number in range(config.num_hidden_layers)],
            norm=norm("model.norm"),
            head=Linear(tensors[f"{head}.weight"], None, None, None, 0.0),
            width=config.width,
            groups=config.num_attention_heads // config.num_key_value_heads,
            scale=config.width**-0.5,
        )


def factor(linear: str, which: str) -> str:
    """The name that peft gives the factor A or B of a linear layer."""
    return f"base_model.model.{linear}.lora_{which}.default.weight"


def load(
    name: str, folder: Path, dtype: torch.dtype, device: torch.device, general: Callable[[], Any]
) -> Bare | None:
    """The model in `folder`, or None where transformers must make it. general: how it would.

    Its tensors lie in the file where they can (mapped): they are read when they are used. Raises
    ModelUnavailable where a file is damaged.
    """
    try:
        config = msgspec.convert(json.loads((folder / "config.json").read_bytes()), Config)
    except (OSError, ValueError):  # transformers may know more, or say better what is wrong
        return None
    if not config.plain:
        return None
    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        try:
            tensors |= files.read(file)[0]
        except (OSError, files.SafetensorError) as error:
            raise ModelUnavailable(f"{name}: {file} cannot be read: {error}") from error
    if {key: tuple(tensor.shape) for key, tensor in tensors.items()} != config.shapes():
        return None
    if not all(tensor.is_floating_point() for tensor in tensors.values()):
        return None
    return Bare(config, {key: t.to(device, dtype) for key, t in tensors.items()}, general)
