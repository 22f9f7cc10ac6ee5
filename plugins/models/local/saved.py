"""Weights outside the process: one file that goes on bit for bit, and a folder for other programs.

state     safetensors: the adapter, AdamW's moments and the averaged teacher, so that training goes on
adapter   the folder that peft writes: `PeftModel.from_pretrained(base, folder)` loads it
"""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from continualcode.core.errors import ReplayError
from continualcode.plugins.models.local import files
from continualcode.plugins.models.local.adapter import Adapter, Factors
from continualcode.plugins.models.local.batch import Snapshot
from continualcode.plugins.models.local.teachers import Ema, pairs


def save(snapshot: Snapshot, file: Path) -> None:
    """Write `snapshot`; either the whole file is there afterwards, or what was there before."""
    tensors: dict[str, Tensor] = {f"weights {name}": t for name, t in snapshot.weights.items()}
    tensors |= {f"moments {name}": t for name, t in snapshot.moments.items()}
    ema = snapshot.ema
    tensors |= {f"ema {name}": t for name, t in ema.factors.items()} if ema else {}
    files.write(file, tensors, {"ema": json.dumps(None if ema is None else ema.error)})


def load(file: Path, device: str) -> Snapshot:
    """What `save` wrote, on `device`. Raises ReplayError where it cannot be read."""
    parts: dict[str, Factors] = {"weights": {}, "moments": {}, "ema": {}}
    try:
        tensors, about = files.read(file, device)
        error = json.loads(about["ema"])
        for key, tensor in tensors.items():
            part, _, name = key.partition(" ")
            parts[part][name] = tensor
    except (OSError, files.SafetensorError, KeyError) as damage:
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
