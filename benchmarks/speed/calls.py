"""How long a tool call takes: with drafts (plugins/models/local/drafts.py), without, and by `generate`.

    python benchmarks/speed/calls.py [--model NAME] [--prompts N] [--most TOKENS] [--temperature T]
        [--threads N] [--int8]

The first calls of the training prompts of benchmarks/uptake: same prompts, seeds and threads, in turns; CPU
seconds of the process from when the prompt was read. `generate` is transformers', greedy, without an adapter
and without a grammar: it is given the same prompt and says as many tokens, whatever they are. Ours takes what
the grammar leaves no choice of, and what is drafted, several tokens at a time; in int8 nothing is drafted.
Say with it how busy the machine was.

Expected, before the first run: an edit of a file that was read says much again, so half the passes; a command
says nothing again, so no gain there, and no loss beyond a few per cent. Against `generate`, before the first
run: 2 to 3 ×, as two thirds of a call's tokens have no choice.
"""

import argparse
import sys
import time
from statistics import median
from typing import Any

from run import Worker  # beside this file
from sessions import first_turns

from continualcode.core.data import SamplingParams
from continualcode.plugins.models.local import drafts, store


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Times calls; see the docstring.")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--most", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=13)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true", help="ours samples from weights in int8")
    parser.set_defaults(clock="cpu")
    given = parser.parse_args()
    peer = Worker("generate", str(store.resolve(given.model).folder), sys.executable, given)
    undrafted: list[float] = []
    generated: list[float] = []
    rates: list[float] = []
    model: dict[str, Any] = {"name": given.model, "threads": given.threads}
    model |= {"sampling_weights": "int8"} if given.int8 else {}
    params = SamplingParams(temperature=given.temperature, max_tokens=given.most, seed=1)
    passes = 0

    def counted(*_: Any) -> None:
        nonlocal passes
        passes += 1

    heads = "passes: no drafts, drafts", "seconds: generate, no drafts, drafts"
    print(f"{'rule':24}{'tokens':>7}{heads[0]:>27}{heads[1]:>38}")
    for number, (rule, policy, turn) in enumerate(first_turns(model, given.prompts)):
        if not number:
            policy._adapter.embedding.register_forward_pre_hook(counted)
        found: dict[bool, tuple[float, int, str, int]] = {}
        for on in (False, True):
            kept, drafts.ALIKE = drafts.ALIKE, drafts.ALIKE if on else 1 << 20
            policy.sample(turn.prompt_ids, turn.grammar, SamplingParams(max_tokens=1))  # reads the prompt
            passes, began = 0, time.process_time()
            sample = policy.sample(turn.prompt_ids, turn.grammar, params)
            found[on] = (time.process_time() - began, passes, sample.text, len(sample.token_ids))
            drafts.ALIKE = kept
        (slow, many, said, tokens), (quick, few, again, _) = found.values()
        if said != again:
            raise RuntimeError(f"{rule}: drafts change what is said: {said!r}, {again!r}")
        theirs = tokens / peer.ask("decode", prompt=list(turn.prompt_ids), tokens=max(3, tokens))["rate"]
        undrafted.append(slow / quick)
        generated.append(theirs / quick)
        rates.append(tokens / quick)
        print(
            f"{rule:24}{tokens:7}{many:20}{few:7}{theirs:18.1f}{slow:10.1f}{quick:10.1f}"
            f"   {theirs / quick:.2f} ×, {slow / quick:.2f} ×",
            flush=True,
        )
    peer.close()
    for name, values in (
        ("seconds of generate / ours", generated),
        ("seconds without drafts / with", undrafted),
        ("tokens a CPU second", rates),
    ):
        print(f"{name}: median {median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
