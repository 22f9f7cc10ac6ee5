"""Logits of an exported adapter by transformers and peft alone: nothing of this package is imported.

    python benchmarks/replay/plain_peft.py BASE ADAPTER ROWS.json OUT.pt

ROWS.json: a list of [prompt ids, completion ids]. OUT.pt: for each, logits [completion, vocabulary] with the
adapter, and without it.
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main() -> None:
    """See the module's docstring."""
    base, adapter, rows, out = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    read = json.loads(Path(rows).read_text())

    def logits() -> list[torch.Tensor]:
        found = []
        for prompt, completion in read:
            ids = torch.tensor([[*prompt, *completion]])
            with torch.no_grad():
                found.append(model(input_ids=ids).logits[0, len(prompt) - 1 : -1].clone())
        return found

    without = logits()
    model = PeftModel.from_pretrained(model, adapter).eval()
    torch.save({"without": without, "with": logits()}, out)
    assert not any(name.split(".")[0] == "continualcode" for name in sys.modules)


if __name__ == "__main__":
    main()
