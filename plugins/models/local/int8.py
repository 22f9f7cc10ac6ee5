"""The base model's weights in int8, for sampling alone: a token reads a quarter of the bytes.

`model.sampling_weights = "int8"`. Each row of a matrix has a scale (its largest weight over 127), each token
one of its own, made as it comes: the arithmetic of FBGEMM that torch ships (x86) or of QNNPACK (ARM). The
adapter stays in float32. So what is sampled is drawn from another distribution than the one that is trained,
by .005 nats a token in the mean (benchmarks/speed): its logprobs are logged as drawn, and where a sample is
learned on, the importance ratio counts them. Prompts, teachers, demonstrations, steps and the exact choice of
tool (`cc eval`) are computed as ever, and nothing that was spoken this way counts as read later.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from continualcode.core.errors import ConfigError
from continualcode.plugins.models.local.network import FEW, Linear, Parts, product


class Int8:
    """The matrices of a network, packed. Takes a quarter of their bytes beside them, and seconds to make."""

    def __init__(self, parts: Parts, progress: Callable[[int, int], None]) -> None:
        packed: dict[int, Any] = {}
        layers = [one for layer in parts.layers for one in layer if isinstance(one, Linear)]
        for done, linear in enumerate((*layers, parts.head)):
            progress(done, len(layers) + 1)
            packed[id(linear.weight)] = _packed(linear.weight)
        self._packed = packed

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """W x + bias for x [n, in], in int8 where n is a few; else as it is."""
        if len(x) >= FEW.stop:
            return product(x, weight, bias)
        # Seven bits for the token: with eight, FBGEMM overflows where it adds pairs in 16 bits.
        seven = torch.backends.quantized.engine != "qnnpack"
        out: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed[id(weight)], reduce_range=seven)
        return out if bias is None else out + bias


def refuse_int8(device: torch.device, dtype: torch.dtype, written: bool) -> None:
    """ConfigError where `model.sampling_weights = "int8"` cannot be had. written: by `network`."""
    engines = [name for name in torch.backends.quantized.supported_engines if name not in ("none", "onednn")]
    why = (
        f"the model is on {device.type}: it is for a CPU"
        if device.type != "cpu"
        else f"the base model is in {str(dtype).removeprefix('torch.')}: it is for float32"
        if dtype != torch.float32
        else "the forward pass of this model is not written out: it is for Llama, Qwen2 and Qwen3"
        if not written
        else "this torch has no kernels for it"
        if not engines
        else ""
    )
    if why:
        raise ConfigError(f'model.sampling_weights: "int8" cannot be had, as {why}; allowed here is "full"')


def _packed(weight: Tensor) -> Any:
    scales = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny).double() / 127.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that these types will move to another package
        zeros = torch.zeros(len(weight), dtype=torch.long)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(rounded, None)
