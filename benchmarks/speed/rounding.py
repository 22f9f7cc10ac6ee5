"""What sampling from weights in int8 changes: KL a token, and whether the same calls come out.

    python benchmarks/speed/rounding.py [--model NAME] [--prompts N] [--most TOKENS]

On the training prompts of benchmarks/uptake: the call that whole weights make (temperature 0), then, after
each of its tokens that was not forced, KL(whole ‖ int8) in nats over what the grammar allows, and whether the
likeliest token is the same; last the call that int8 makes by itself.

Expected, before the first run: .01 nats a token, 19 of 20 likeliest tokens, the same tool nearly always.
"""

import argparse
from statistics import fmean, median
from typing import Any

from sessions import first_turns  # beside this file

from continualcode.core.data import SamplingParams
from continualcode.plugins.models.local.constraint import scores
from continualcode.plugins.models.local.prefix import split


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Compares int8 with whole weights; see the docstring.")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--most", type=int, default=48)
    parser.add_argument("--prompts", type=int, default=13)
    given = parser.parse_args()
    kls: list[float] = []
    same: list[bool] = []
    tools: list[bool] = []
    calls: list[bool] = []
    model = {"name": given.model, "sampling_weights": "int8"}
    params = SamplingParams(max_tokens=given.most)
    for rule, policy, turn in first_turns(model, given.prompts):
        said = []
        for policy._sampler._quick in (False, True):
            said.append(policy.sample(turn.prompt_ids, turn.grammar, params))
        whole, rounded = (policy.parse(one, turn.tools).call for one in said)
        tools.append((whole and whole.tool) == (rounded and rounded.tool))
        calls.append(whole == rounded)
        walk, ids = policy._constraint.walk(turn.grammar), said[0].token_ids
        places: list[tuple[int, Any]] = []
        place = 0
        while place < len(ids) and not walk.ended:
            forced, allowed = walk.step()
            places += [] if forced else [(place, allowed)]
            for token in ids[place : place + max(1, len(forced))]:
                walk.take(token)
            place += max(1, len(forced))
        found = []
        for quick in (False, True):
            parts = split(policy._adapter, turn.prompt_ids, policy.weights())._replace(quick=quick)
            policy._prefix.start(turn.prompt_ids, parts)
            found.append(
                [
                    scores(policy._prefix.logits([*turn.prompt_ids, *ids[:place]])[0], allowed, 1.0)
                    for place, allowed in places
                ]
            )
        here = [
            float((one.exp() * (one - other).nan_to_num(0.0)).sum())
            for one, other in zip(*found, strict=True)
        ]
        alike = [bool(one.argmax() == other.argmax()) for one, other in zip(*found, strict=True)]
        kls += here
        same += alike
        print(
            f"{rule:24}{len(here):4} tokens, KL {fmean(here):.4f} (most {max(here):.3f}), the same "
            f"likeliest {fmean(alike):.2f}; the same call {'yes' if calls[-1] else 'no'}",
            flush=True,
        )
    print(f"KL a token: mean {fmean(kls):.4f}, median {median(kls):.4f}, most {max(kls):.3f} nats")
    print(f"the same likeliest token {fmean(same):.3f}, tool {fmean(tools):.2f}, call {fmean(calls):.2f}")


if __name__ == "__main__":
    main()
