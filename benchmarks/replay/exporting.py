"""What `cc adapter export` writes, loaded by transformers and peft, against our own forward pass."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from continualcode.cli.adapter import store_folder
from continualcode.core.curriculum import course
from continualcode.core.plugins import Plugins
from continualcode.core.replay import trainers_of
from continualcode.core.retraining import retrained
from continualcode.core.store import WeightStore
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import split

ROWS = 4
"""How many samples of the log are scored: the first, the last, and some between."""


def compare(log: Path, adapter: Path, out: Path, model: str) -> dict[str, Any]:
    """Log-probabilities at every token of some samples, by us and by peft: the largest differences."""
    plugins = Plugins(installed=False)
    one = course(log, plugins)
    policy = LocalPolicy(model, one.started.config["model"])
    found = retrained([one], trainers_of(plugins), policy, store=WeightStore(store_folder()), resume=True)
    turns = [
        turn for id in one.transcript.samples if len((turn := one.transcript.sampled(id)).completion_ids) > 1
    ]
    chosen = [turns[round(at * (len(turns) - 1) / (ROWS - 1))] for at in range(ROWS)]
    ours: list[torch.Tensor] = []
    for turn in chosen:
        prefix, learned = policy._prefix, policy._adapter  # the forward pass itself has no public name
        prefix.start(turn.prompt_ids, split(learned, turn.prompt_ids, policy.weights()), exact=False)
        ids = [*turn.prompt_ids, *turn.completion_ids[:-1]]
        ours.append(prefix.logits(ids, last=len(turn.completion_ids)).log_softmax(-1))
    rows, theirs = out / "rows.json", out / "logits.pt"
    rows.write_text(json.dumps([(turn.prompt_ids, turn.completion_ids) for turn in chosen]))
    policy.close()
    base = store.resolve(model).folder
    line = [sys.executable, str(Path(__file__).with_name("plain_peft.py")), base, adapter, rows, theirs]
    subprocess.run([str(part) for part in line], check=True)
    read = torch.load(theirs)
    peft = [part.log_softmax(-1) for part in read["with"]]
    without = [part.log_softmax(-1) for part in read["without"]]
    return {
        "weights": found.weights,
        "trained_again": found.trained,
        "samples": len(chosen),
        "tokens": sum(map(len, ours)),
        "largest_difference": _apart(ours, peft),
        "largest_difference_of_a_likely_token": _apart(ours, peft, likely=True),
        "same_most_probable": all(
            torch.equal(one.argmax(-1), other.argmax(-1)) for one, other in zip(ours, peft, strict=True)
        ),
        "adapter_moves_a_likely_token_by": _apart(peft, without, likely=True),
    }


def _apart(one: list[torch.Tensor], other: list[torch.Tensor], *, likely: bool = False) -> float:
    """The largest difference of a log-probability, in nats; likely: of tokens above 1% by the first."""
    apart = 0.0
    for a, b in zip(one, other, strict=True):
        gap = (a - b).abs()
        apart = max(apart, float((gap[a.exp() > 0.01] if likely else gap).max()))
    return apart
