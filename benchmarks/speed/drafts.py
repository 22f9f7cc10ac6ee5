"""What drafts give (plugins/models/local/drafts.py), on the training prompts of benchmarks/uptake.

    python benchmarks/speed/drafts.py [--model NAME] [--most TOKENS] [--prompts N] [--temperature T]

With drafts and without, in turns, same prompts and seeds; CPU seconds of this process from when the prompt
was read, and forward passes of the whole model. Say with it how busy the machine was.

Expected, before the first run: an edit of a file that was read says much again, so half the passes; a command
says nothing again, so no gain there, and no loss beyond a few per cent.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from continualcode.core import engine
from continualcode.core.config import load
from continualcode.core.data import SamplingParams
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.evaluation.teach import stage
from continualcode.core.plugins import Plugins
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.models.local import drafts

CASES = Path(__file__).parent.parent / "uptake" / "rules.toml"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="With drafts and without; see the docstring.")
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--most", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=13)
    parser.add_argument("--temperature", type=float, default=0.0)
    given = parser.parse_args()
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        config = load(project=Path(folder), over={"model": {"name": given.model}})
        log, plugins = Path(folder) / "log.jsonl", Plugins(config.plugins)
        session = open_session(config, plugins, workspace=Path(folder), log=log, ui=ScriptedUI())
        policy: Any = session.policy
        params = SamplingParams(temperature=given.temperature, max_tokens=given.most, seed=1)
        passes = 0

        def counted(*_: Any) -> None:
            nonlocal passes
            passes += 1

        policy._adapter.embedding.register_forward_pre_hook(counted)
        print(f"{'rule':24}{'tokens':>7}{'passes':>14}{'seconds':>16}{'ratio':>7}  same text")
        for rule in load_cases(CASES).rule[: given.prompts]:
            stage(session, rule.train[0])
            turn = session.transcript.sampled(engine.sample(session).id)
            found: dict[int, tuple[float, int, str, int]] = {}
            for longest in (0, drafts.LONGEST):
                kept, drafts.LONGEST = drafts.LONGEST, longest
                policy.sample(turn.prompt_ids, turn.grammar, SamplingParams(max_tokens=1))  # reads the prompt
                passes, began = 0, time.process_time()
                sample = policy.sample(turn.prompt_ids, turn.grammar, params)
                found[longest] = (time.process_time() - began, passes, sample.text, len(sample.token_ids))
                drafts.LONGEST = kept
            (slow, many, said, tokens), (quick, few, again, _) = found.values()
            ratios.append(slow / quick)
            print(
                f"{rule.name:24}{tokens:7}{many:7} → {few:4}{slow:9.1f} → {quick:4.1f}{slow / quick:7.2f}"
                f"  {said == again}",
                flush=True,
            )
        session.close("measured")
    print(f"median {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
