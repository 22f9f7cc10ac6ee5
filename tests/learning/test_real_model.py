"""The invariants that matter most, on a real model in fp32, with what its own sampler drew."""

import json
import subprocess
import sys
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from continualcode.core.data import (
    Example,
    Message,
    Objective,
    Optimiser,
    SamplingParams,
    Slots,
    StepReport,
)
from continualcode.core.protocols import Tool
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.tools import register_tools
from continualcode.plugins.trainers.teacher_context import teacher_messages

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
TOOLS: list[Tool] = register_tools()
SPECS = tuple(tool.spec for tool in TOOLS)
ASKED = (
    Message(role="system", text="You are a coding agent."),
    Message(role="user", text="Set PORT to 9000 in config.py."),
)


@pytest.fixture(scope="module")
def loaded() -> Generator[LocalPolicy]:
    if store.installed(MODEL) is None:
        pytest.skip(f"{MODEL} is not installed: cc models pull {MODEL}")
    policy = LocalPolicy(MODEL, {"threads": 2})
    yield policy
    policy.close()


@pytest.fixture
def policy(loaded: LocalPolicy) -> LocalPolicy:
    loaded.reset()
    return loaded


def example(policy: LocalPolicy, temperature: float, *, told: bool) -> Example:
    """What the model samples for ASKED, and a teacher that has been told of a correction, or of nothing."""
    prompt, grammar = policy.render(ASKED, SPECS), policy.grammar(SPECS)
    drawn = policy.sample(prompt, grammar, SamplingParams(temperature=temperature, max_tokens=40, seed=1))
    taught = teacher_messages(ASKED, Slots(feedback="Use edit_lines.")) if told else ASKED
    return Example(
        correction="c1",
        sample="s1",
        prompt_ids=prompt,
        teacher_ids=policy.render(taught, SPECS),
        completion_ids=drawn.token_ids,
        sampled_logprobs=drawn.logprobs,
        temperature=temperature,
        grammar=grammar,
    )


def stepped(policy: LocalPolicy, one: Example, **objective: Any) -> StepReport:
    batch = policy.prepare([one], Objective(**objective), Optimiser(lr=1e-4))
    return policy.step(batch, stop_below=0.0)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_same_prompt_and_weights_have_nothing_to_learn(policy: LocalPolicy, temperature: float) -> None:
    """Catches a fault of temperature, template, dropout or alignment between the two sides."""
    report = stepped(policy, example(policy, temperature, told=False), divergence="sampled")
    assert max(map(abs, report.advantages[0])) < 1e-4
    assert abs(report.loss) < 1e-4 and report.grad_norm < 1e-3


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_the_student_scores_what_the_sampler_sampled(policy: LocalPolicy, temperature: float) -> None:
    """On-policy the ratio is 1, so loss and divergence agree: catches faults that both sides share."""
    one = example(policy, temperature, told=True)
    batch = policy.prepare([one], Objective(ratio_clip=1e9), Optimiser())
    report = policy.step(batch, stop_below=float("inf"))
    assert report.divergence > 1e-3
    assert report.loss == pytest.approx(report.divergence, rel=1e-3)


def test_another_temperature_than_the_sampled_one_is_noticed(policy: LocalPolicy) -> None:
    """The test of the test above."""
    one = msgspec.structs.replace(example(policy, 0.7, told=True), temperature=1.4)
    batch = policy.prepare([one], Objective(ratio_clip=1e9), Optimiser())
    report = policy.step(batch, stop_below=float("inf"))
    assert report.loss != pytest.approx(report.divergence, rel=1e-2)


def test_the_teacher_is_approached_and_restore_is_exact(policy: LocalPolicy) -> None:
    one, snapshot = example(policy, 0.7, told=True), policy.snapshot()
    names = policy.weights(), policy.optimiser_state()
    batch = policy.prepare([one], Objective(), Optimiser(lr=1e-4))
    looks = [policy.step(batch, stop_below=0.0) for _ in range(3)]
    assert looks[2].divergence < looks[0].divergence
    policy.restore(snapshot)
    assert (policy.weights(), policy.optimiser_state()) == names


SCRIPT = """
import json, sys, msgspec
from continualcode.core.data import Example, Objective, Optimiser
from continualcode.plugins.models.local.policy import LocalPolicy
policy = LocalPolicy(sys.argv[1], {"threads": 2})
example = msgspec.json.decode(sys.stdin.read(), type=Example)
batch = policy.prepare([example], Objective(teacher="ema"), Optimiser(lr=1e-4))
looks = [policy.step(batch, stop_below=0.0) for _ in range(2)]
print(json.dumps([policy.weights(), policy.optimiser_state(), looks[1].divergence]))
"""


def test_two_processes_end_in_the_same_bits(policy: LocalPolicy) -> None:
    one = example(policy, 0.7, told=True)
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, MODEL],
            input=msgspec.json.encode(one),
            capture_output=True,
            check=True,
            timeout=300,
        )
        for _ in range(2)
    ]
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second
    assert first[0] != policy.weights()
