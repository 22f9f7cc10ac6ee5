"""A reward beside the divergence (GRPO): attempts of one turn compared with each other."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Capability, Example, Objective, Optimiser
from continualcode.core.errors import CapabilityMissing, UpdateError
from continualcode.core.events import UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import read
from continualcode.plugins.models.local import objectives as o
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.learner import Learner
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

Build = Callable[..., Example]
OTHER = (7, 12, 9, 2, 33)


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -- The arithmetic ------------------------------------------------------------------------------------


def test_an_advantage_is_how_many_deviations_better_than_the_group() -> None:
    found = o.group_advantages([1.0, 0.0, 0.0, 1.0, 5.0, 2.0, 2.0], ["a"] * 4 + ["alone"] + ["same"] * 2)
    assert found == pytest.approx([0.865875, -0.865875, -0.865875, 0.865875, 0.0, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("change", "advantage", "expected"),
    [
        (0.0, 1.0, -1.0),
        (0.0, -2.0, 2.0),
        (0.5, 1.0, -1.2),  # no more is gained beyond 1 + ε
        (0.5, -1.0, math.exp(0.5)),
        (-0.5, 1.0, -math.exp(-0.5)),
        (-0.5, -1.0, 0.8),  # nor below 1 − ε
    ],
)
def test_golden_numbers_of_the_clipped_surrogate(change: float, advantage: float, expected: float) -> None:
    loss = o.policy_gradient(tensor(-1.0 + change), tensor(-1.0), advantage, 0.2)
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("advantage", [1.3, -0.7])
def test_its_gradient_agrees_with_finite_differences(advantage: float) -> None:
    logits = torch.randn(3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    tokens, then = torch.tensor([[1], [0], [4]]), tensor(-1.0, -2.0, -0.5)

    def loss(given: Tensor) -> Tensor:
        return o.policy_gradient(o.log_probs(given, 1.0).gather(1, tokens)[:, 0], then, advantage, 0.2)

    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


def near(one: Tensor, other: Tensor) -> bool:
    """As close as two attention kernels in fp32 are on logits as sharp as the tiny model's."""
    return float((one - other).square().sum().sqrt() / other.square().sum().sqrt()) < 5e-3


# -- On weights ----------------------------------------------------------------------------------------


@pytest.fixture
def tried(example: Build) -> tuple[Example, Example]:
    """Two attempts after one prompt: the second was let through."""
    same = {"part": "attempt", "teacher_ids": (1, 2, 3, 4)}
    return example(**same, reward=0.0), example(**same, reward=1.0, completion_ids=OTHER)


def gradient(adapter: Adapter, learner: Learner, *examples: Example, **objective: Any) -> Tensor:
    """Read off AdamW's first moment, which is 0.1 of it."""
    adapter.reset()
    batch = learner.prepare(examples, Objective(**objective), Optimiser(grad_clip=math.inf))
    assert learner.step(batch, stop_below=0.0).stepped
    moments = [t.flatten() for name, t in learner.snapshot().moments.items() if name.endswith("exp_avg")]
    return torch.cat(moments) / 0.1


def test_it_is_added_to_the_distillation_as_often_as_it_weighs(
    adapter: Adapter, learner: Learner, example: Build, tried: tuple[Example, ...]
) -> None:
    """And on policy it is the plain policy gradient, of which autograd has an own opinion."""
    alone = gradient(adapter, learner, example())
    both = gradient(adapter, learner, example(), *tried, reward_weight=2.0)
    adapter.reset()
    total = tensor(0.0).float()
    for one, advantage in zip(tried, o.group_advantages([0.0, 1.0], ["", ""]), strict=True):
        ids = torch.tensor([[*one.prompt_ids, *one.completion_ids]])
        scored = o.log_probs(adapter.model(input_ids=ids).logits[0, 3:-1], 1.0)
        chosen = scored.gather(1, torch.tensor(one.completion_ids)[:, None])
        total = total - advantage * chosen.sum() / 10  # ten tokens in the two attempts
    torch.autograd.backward(2.0 * total)
    expected = torch.cat([p.grad.flatten() for p in adapter.parameters() if p.grad is not None])
    for parameter in adapter.parameters():
        parameter.grad = None
    assert near(both - alone, expected)


def test_without_a_weight_attempts_change_nothing(
    adapter: Adapter, learner: Learner, example: Build, tried: tuple[Example, ...]
) -> None:
    alone = gradient(adapter, learner, example())
    assert near(gradient(adapter, learner, example(), *tried), alone)


def test_attempts_that_went_alike_say_nothing(
    adapter: Adapter, learner: Learner, example: Build, tried: tuple[Example, Example]
) -> None:
    alone = gradient(adapter, learner, example())
    alike = gradient(adapter, learner, example(), tried[1], tried[1], reward_weight=5.0)
    assert near(alike, alone)


def test_what_was_let_through_becomes_likelier_and_the_other_less(
    learner: Learner, example: Build, tried: tuple[Example, Example]
) -> None:
    def likelihoods() -> list[float]:
        rows = [learner.prepare([e], Objective(), Optimiser()).rows[0] for e in plain]
        return [float(row.teacher_tokens.sum()) for row in rows]  # the live teacher on the student's prompt

    plain = [example(teacher_ids=(1, 2, 3, 4)), example(teacher_ids=(1, 2, 3, 4), completion_ids=OTHER)]
    before = likelihoods()
    batch = learner.prepare([example(weight=0.0), *tried], Objective(reward_weight=1.0), Optimiser(lr=1e-3))
    report = learner.step(batch, stop_below=-1.0)
    assert report.advantages[1] == pytest.approx((-1 / math.sqrt(2),) * 5, abs=1e-3)
    assert report.divergences[1:] == ((0.0,) * 5,) * 2
    after = likelihoods()
    assert after[0] < before[0] and after[1] > before[1]


def test_a_reward_that_is_no_number_is_refused(learner: Learner, example: Build) -> None:
    with pytest.raises(UpdateError, match="correction c1, sample s1: reward nan"):
        learner.prepare([example(part="attempt", reward=math.nan)], Objective(), Optimiser())


# -- In a session --------------------------------------------------------------------------------------

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})
LIST = Call(tool="glob", arguments={"pattern": "*"})


def played(folder: Path, *answers: Answer, turns: tuple[Call | str, ...] = (WRITE, LIST, "done")) -> Session:
    policy = ScriptedPolicy(turns)
    policy.capabilities = frozenset(get_args(Capability))
    trainer = {"name": "sdpo", "reward_weight": 0.5, "anchors": 0.0, "rehearsal": 0.0, "gate": False}
    config = Config(
        model={"name": "test:policy"}, trainer=trainer, feedback={"approved_retry": True, "edit": False}
    )
    ui = ScriptedUI(["Look around."], answers)
    opened = open_scripted(folder, policy=policy, ui=ui, config=config)
    engine.run(opened)
    return opened


def rewards(session: Session) -> list[dict[str, float]]:
    """Of each update: the rewards of its attempts, by the tool that was called."""
    found: list[dict[str, float]] = []
    for record in read(session.log.path, event_registry()):
        if isinstance(record, UpdateStarted):
            plan = plan_of(record, session.transcript)
            rows = [row for row in plan.examples if row.part == "attempt"]
            calls = session.transcript.proposals.values()
            tools = {p.sample: p.call.tool for p in calls if p.call is not None}
            found.append({tools[row.sample]: row.reward for row in rows})
            assert all(row.sampled_logprobs and row.prompt_ids == row.teacher_ids for row in rows)
    return found


DENY = Answer(verdict="deny", reason="Use glob, don't write anything.")


def test_a_denial_alone_has_nothing_to_be_compared_with_its_answer_has(tmp_path: Path) -> None:
    session = played(tmp_path / "w", DENY, Answer(verdict="allow"))
    assert rewards(session) == [{}, {"write": 0.0, "glob": 1.0}]


def test_calls_that_nobody_judged_are_left_out(tmp_path: Path) -> None:
    skipped = Answer(verdict="deny", reason="Not now.", train=False)
    turns = (Call(tool="read", arguments={"path": "b"}), WRITE, LIST, "done")
    session = played(tmp_path / "w", skipped, DENY, Answer(verdict="allow"), turns=turns)
    assert rewards(session)[-1] == {"write": 0.0, "glob": 1.0}


def test_a_policy_that_cannot_use_rewards_is_refused_by_name(tmp_path: Path) -> None:
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", "reward_weight": 0.5})
    with pytest.raises(CapabilityMissing, match="trainer 'sdpo' needs rewards, which the policy 'scripted'"):
        open_scripted(tmp_path / "w", config=config)
    assert "rewards" not in Sdpo(SdpoSettings()).needs
