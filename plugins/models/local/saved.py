"""Weights outside the process: one file that goes on bit for bit, and a folder for other programs.

state     safetensors: the adapter, AdamW's moments and the averaged teacher, so that training goes on
adapter   the folder that peft writes: `PeftModel.from_pretrained(base, folder)` loads it
"""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors import torch as of_torch
from torch import Tensor

from continualcode.core.errors import ReplayError
from continualcode.plugins.models.local.adapter import Adapter, Factors
from continualcode.plugins.models.local.batch import Snapshot
from continualcode.plugins.models.local.teachers import Ema, pairs


def save(snapshot: Snapshot, file: Path) -> None:
    """Write `snapshot`; either the whole file is there afterwards, or what was there before."""
    tensors: dict[str, Tensor] = {f"weights {name}": t for name, t in snapshot.weights.items()}
    tensors |= {f"moments {name}": t for name, t in snapshot.moments.items()}
    ema = snapshot.ema
    tensors |= {f"ema {name}": t for name, t in ema.factors.items()} if ema else {}
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        about = {"ema": json.dumps(None if ema is None else ema.error)}
        untyped: Any = of_torch  # as is its function
        untyped.save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, new, about)
        os.replace(new, file)
    finally:
        new.unlink(missing_ok=True)


def load(file: Path, device: str) -> Snapshot:
    """What `save` wrote, on `device`. Raises ReplayError where it cannot be read."""
    parts: dict[str, Factors] = {"weights": {}, "moments": {}, "ema": {}}
    try:
        opened: Any = safe_open
        with opened(file, "pt", device=device) as tensors:
            error = json.loads(tensors.metadata()["ema"])
            for key in tensors.keys():  # noqa: SIM118  # it is no mapping: keys() is all there is
                part, _, name = key.partition(" ")
                parts[part][name] = tensors.get_tensor(key)
    except (OSError, SafetensorError, KeyError) as damage:
        raise ReplayError(f"{file}: no saved weights can be read from it: {damage}") from damage
    return Snapshot(parts["weights"], parts["moments"], None if error is None else Ema(parts["ema"], error))


def export(adapter: Adapter, folder: Path) -> None:
    """Write the adapter as peft does: adapter_config.json and adapter_model.safetensors.

    One that acts on completions only is written as peft's aLoRA, invoked by the header of a completion.
    """
    config: Any = adapter.model.peft_config["default"]
    try:
        if adapter.spec.acts_on == "completion":
            config.alora_invocation_tokens = [*adapter.header]
        adapter.model.save_pretrained(str(folder), safe_serialization=True)
    finally:
        config.alora_invocation_tokens = None


def norms(factors: Factors, scaling: float) -> dict[str, float]:
    """‖ΔW‖ (Frobenius) of each adapted layer, by its name in the base model.

    Of B A without forming it: ‖BA‖² = Σ (BᵀB) ∘ (AAᵀ), in float64.
    """
    found: dict[str, float] = {}
    for name_a, name_b in pairs(factors):
        a, b = factors[name_a].detach().double(), factors[name_b].detach().double()
        squared = float(((b.T @ b) * (a @ a.T)).sum())
        layer = name_a.removeprefix("base_model.model.").partition(".lora_A")[0]
        found[layer] = scaling * max(0.0, squared) ** 0.5
    return found
