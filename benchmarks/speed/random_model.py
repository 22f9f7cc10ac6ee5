"""A folder with random weights of a real size: what speed depends on, where no weights can be had.

    python benchmarks/speed/random_model.py FOLDER --like qwen3-4b --tokenizer FOLDER-OF-A-MODEL

The sizes are those of public models' config.json; the tokenizer and its template are another model's, of no
more tokens than these have.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from continualcode.plugins.models.local.bare import Config

SIZES: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0,
        "vocab_size": 49152,
    },
    "qwen2.5-coder-0.5b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_hidden_layers": 24,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "vocab_size": 151936,
    },
    "qwen3-4b": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "vocab_size": 151936,
    },
}
SAME = {
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}


def write(folder: Path, like: str, tokenizer: Path) -> None:
    """Fill `folder`: weights in bfloat16 as initialised (normal, .02), norms 1, biases 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in tokenizer.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(file, folder)
    config = SIZES[like] | SAME
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in Config(**_known(config)).shapes().items():
        if len(shape) == 1:
            tensors[name] = torch.full(shape, 0.0 if name.endswith("bias") else 1.0, dtype=torch.bfloat16)
        else:
            drawn = torch.randn(shape, generator=generator, device=device) * 0.02
            tensors[name] = drawn.to(torch.bfloat16).cpu()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _known(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name in Config.__struct_fields__}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Writes a model of random weights; see the docstring.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--like", choices=SIZES, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, metavar="FOLDER")
    given = parser.parse_args()
    write(given.folder, given.like, given.tokenizer)
