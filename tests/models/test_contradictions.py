"""200 corrections that contradict each other, on a real model: a tiny one, so that it takes minutes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example, Objective, Optimiser, Sample
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.evaluation.measure import Ruler
from continualcode.core.events import UpdateApplied, UpdateRejected
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.plugins.models.local.policy import LocalPolicy

RULES = Path(__file__).parents[2] / "benchmarks" / "uptake" / "rules.toml"
TIMES = 200
WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})
EDIT = Call(tool="edit_lines", arguments={"path": "a.py", "start_line": 1, "end_line": 1, "content": "x"})
DONE = Call(tool="reply", arguments={"text": "Done."})
WISHES = ("Use edit_lines, not write.", "Use write, not edit_lines.")


class Given(LocalPolicy):
    """A real model that learns; only what it says is given, as a random one would never end a call."""

    turns: list[Call]

    def sample(self, prompt_ids: Sequence[int], grammar: str | None, *given: Any, **settings: Any) -> Sample:
        text = self.format_call(self.turns.pop(0)) + "<|im_end|>"
        ids = tuple(self._codec.encode(text))  # pyright: ignore[reportPrivateUsage]  # a test's own subclass
        row = Example(
            correction="",
            sample="",
            part="demonstration",
            prompt_ids=tuple(prompt_ids),
            teacher_ids=tuple(prompt_ids),
            completion_ids=ids,
            sampled_logprobs=(),
            temperature=0.0,
            grammar=grammar,
        )
        scored = self.prepare([row], Objective(teacher="live"), Optimiser()).rows[0]
        logprobs = [0.0] * len(ids)
        for place, value in zip(scored.free, scored.teacher_tokens, strict=True):
            logprobs[place] = min(0.0, float(value))
        return Sample(token_ids=ids, logprobs=tuple(logprobs), text=text, stop="end")


def contradicted(folder: Path, policy: Given, trainer: Mapping[str, Any]) -> Session:
    """A session in which every call was denied for being what the correction before had asked for."""
    policy.turns = [turn for n in range(TIMES) for turn in ((WRITE, EDIT)[n % 2], DONE)]
    answers = [Answer(verdict="deny", reason=WISHES[n % 2]) for n in range(TIMES)]
    inputs = [text for _ in range(TIMES) for text in ("Fix the port in a.py.", "/clear")]
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", **trainer})
    given: Any = policy
    opened = open_scripted(folder, policy=given, ui=ScriptedUI(inputs, answers), config=config)
    engine.run(opened)
    return opened


def choices(session: Session) -> list[str]:
    """The likeliest tool on unrelated prompts that no anchor and no probe holds."""
    ruler = Ruler(session)
    controls = [control for control in load_cases(RULES).control if control.group == "unrelated"]
    return [ruler.control(control).likeliest for control in controls]


@pytest.mark.slow
def test_with_the_gate_unrelated_choices_stay_without_it_they_do_not(
    tmp_path: Path, long_model_folder: Path, model_cache: Path
) -> None:
    options = {"cache": str(model_cache), "rank": 4, "alpha": 4.0, "threads": 1}
    policy = Given(str(long_model_folder), options)
    weak = {"anchors": 1e-6, "lr": 1e-3, "gate_learned": 1.0, "gate_kept": 0.95}
    kept: dict[str, float] = {}
    for name, trainer in (("gate", weak), ("neither", {**weak, "gate": False})):
        policy.reset()
        session = contradicted(tmp_path / name, policy, trainer)
        after = choices(session)
        outcomes = session.transcript.outcomes.values()
        count = {kind: sum(isinstance(o, kind) for o in outcomes) for kind in (UpdateApplied, UpdateRejected)}
        policy.reset()
        before = choices(session)
        kept[name] = sum(a == b for a, b in zip(before, after, strict=True)) / len(before)
        print(name, kept[name], count, before)
    assert kept["gate"] >= 0.95
    assert kept["neither"] < 0.95
