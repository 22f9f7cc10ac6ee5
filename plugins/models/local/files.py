"""Tensors in files of safetensors, whose functions have no types: the one place that calls them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors import torch as of_torch
from torch import Tensor

__all__ = ["SafetensorError", "read", "write"]


def read(file: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, mapped where they can be, and what was written with them.

    Raises OSError or SafetensorError.
    """
    opened: Any = safe_open
    with opened(file, "pt", device=device) as found:
        names = found.keys()
        return {name: found.get_tensor(name) for name in names}, found.metadata() or {}


def write(file: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a file; either the whole of it is there afterwards, or what was there before."""
    untyped: Any = of_torch
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        untyped.save_file(plain, new, dict(about))
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)
