"""The arm `trl`: one step of TRL's SDPO at its defaults on a rule's training prompt, measured as other arms.

    pip install -r benchmarks/uptake/requirements.txt
    python benchmarks/uptake/trl_arm.py OUT.jsonl --rules list-with-glob [--feedback]

Eight rollouts of the prompt, each worth 1 if its call follows the rule and else 0; one that does is what the
teacher is shown, as TRL's trainer has it; one step on all weights at 5e-5. With `--feedback` (the arm
`trl-feedback`) the teacher reads the user's words too, which is off by default. What is not TRL's default is
what the machine asks for: float32 for bf16, no evaluation, and prompts that are not cut at 512 tokens.

TRL makes the teacher's prompt of the system's message and the user's last, so rules whose prompts come after
calls cannot be given to it, and are refused. The new weights go to a folder beside OUT for as long as they
are measured: as a base model, as they are no adapter.
"""

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lessons import follows  # beside this file
from run import ARMS, HERE, PLUGINS, Bench, opened

from continualcode.core.data import Sample
from continualcode.core.evaluation.cases import CaseRule, load_cases
from continualcode.core.evaluation.measure import Settings
from continualcode.core.evaluation.teach import stage
from continualcode.core.session import Session
from continualcode.plugins.models.local import store

NAME = "qwen2.5-coder-0.5b"
TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
"""A turn as this model's template writes it."""


def asked(session: Session, rule: CaseRule) -> list[dict[str, str]]:
    """The messages of the rule's first training prompt, as text; ends with the user's."""
    stage(session, rule.train[0])
    specs = [tool.spec for tool in session.tools.values()]
    ids = session.policy.render(session.transcript.messages, specs)
    turns = TURN.findall("".join(session.policy.pieces(ids)))
    messages = [{"role": role, "content": content} for role, content in turns]
    if [one["role"] for one in messages] != ["system", "user"]:
        raise SystemExit(f"{rule.name}: its prompt comes after calls; TRL's teacher has no place for them")
    return messages


class Reward:
    """Whether a rollout's call follows the rule. given: what each got, in order."""

    __name__ = "follows_the_rule"

    def __init__(self, session: Session, rule: CaseRule) -> None:
        self._session, self._rule = session, rule
        self.given: list[float] = []

    def __call__(self, completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        """1 or 0 each."""
        worth = [self._worth(tuple(ids)) for ids in completion_ids]
        self.given += worth
        return worth

    def _worth(self, ids: tuple[int, ...]) -> float:
        policy, tools = self._session.policy, [tool.spec for tool in self._session.tools.values()]
        text = "".join(policy.pieces(ids)).replace("<|im_end|>", "").replace("<|endoftext|>", "")
        sample = Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text=text, stop="end")
        call = policy.parse(sample, tools).call
        return float(follows(self._rule, call, self._session.workspace))


def trained(source: Path, target: Path, messages: list[dict[str, str]], words: str, reward: Reward) -> Any:
    """One step from the model in `source`; the weights in `target`. words: what the teacher reads, if any."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.sdpo import SDPOConfig, SDPOTrainer

    model: Any = AutoModelForCausalLM
    tokenizer: Any = AutoTokenizer
    row: dict[str, Any] = {"prompt": messages, **({"privileged_context": words} if words else {})}
    trainer: Any = SDPOTrainer(
        model=model.from_pretrained(source, dtype="float32"),
        reward_funcs=reward,
        args=SDPOConfig(
            output_dir=str(target),
            use_cpu=True,
            bf16=False,
            max_steps=1,
            max_prompt_length=None,
            include_environment_feedback=bool(words),
            report_to=[],
            save_strategy="no",
            logging_steps=1,
        ),
        train_dataset=Dataset.from_list([row]),
        processing_class=tokenizer.from_pretrained(source),
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    trainer.model.save_pretrained(target)
    for file in source.iterdir():
        if not (target / file.name).exists() and ".safetensors" not in file.name:
            shutil.copy(file, target / file.name)
    return {"seconds": seconds, "log": trainer.state.log_history[:1]}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="TRL's SDPO as an arm; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rules", required=True)
    parser.add_argument("--feedback", action="store_true")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    given = parser.parse_args()
    cases, arm = load_cases(HERE / "rules.toml"), "trl-feedback" if given.feedback else "trl"
    PLUGINS.clear()
    ARMS[arm] = ()
    for rule in cases.named(given.rules.split(",")):
        with tempfile.TemporaryDirectory(dir=given.out.parent) as scratch:
            folder, target = Path(scratch) / "workspace", Path(scratch) / "model"
            folder.mkdir()
            session = opened(arm, Path(scratch) / "log.jsonl", folder, NAME, 0, False)
            reward = Reward(session, rule)
            messages = asked(session, rule)
            words = rule.correction if given.feedback else ""
            cost = trained(store.resolve(NAME).folder, target, messages, words, reward)
            session.close("measured")
            print(rule.name, arm, "rewards", reward.given, cost, flush=True)
            bench = Bench(given.out, cases, Settings(given.draws, given.max_tokens), str(target), 0)
            bench.one(arm, rule, 0, rewards=reward.given, spent=cost)


if __name__ == "__main__":
    main()
