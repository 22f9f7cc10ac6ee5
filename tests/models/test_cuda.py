"""On a GPU: what a CPU computes, and the same bits each time. Nothing here runs where there is no GPU."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from continualcode.core.data import (
    Example,
    Message,
    Objective,
    Optimiser,
    Sample,
    SamplingParams,
    StepReport,
    ToolSpec,
)
from continualcode.plugins.models.local.policy import LocalPolicy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

MakePolicy = Callable[..., LocalPolicy]
Tools = tuple[ToolSpec, ...]
Ids = tuple[int, ...]
GPU = "cuda"
CLOSE = {"float32": 2e-3, "bfloat16": 0.5}
"""Nats by which two devices' logprobs differ at most on the tiny model, whose logits are far apart."""

OBJECTIVES = [
    Objective(divergence=divergence, teacher=teacher, **more)  # type: ignore[arg-type]  # spelled as there
    for divergence, teacher, more in (
        ("forward_kl", "base", {}),
        ("forward_kl", "live", {"top_k": 8}),
        ("forward_kl", "trust_region", {}),
        ("jsd", "ema", {}),
        ("sampled", "live", {}),
        ("forward_kl", "completion", {}),
    )
]


def prompt(policy: LocalPolicy, tools: Tools, words: str) -> tuple[int, ...]:
    rules = Message(role="system", text="You are a coding agent. " * 40)
    return policy.render([rules, Message(role="user", text=words)], tools)


def sample(policy: LocalPolicy, tools: Tools, words: str, temperature: float = 0.7) -> Sample:
    params = SamplingParams(temperature=temperature, max_tokens=40, seed=1)
    return policy.sample(prompt(policy, tools, words), policy.grammar(tools), params)


def drawn_row(asked: Ids, told: Ids, drawn: Sample, grammar: str | None) -> Example:
    """A sample as a row of an update."""
    return Example(
        correction="c",
        sample="s",
        prompt_ids=asked,
        teacher_ids=told,
        completion_ids=drawn.token_ids,
        sampled_logprobs=drawn.logprobs,
        temperature=0.7,
        grammar=grammar,
    )


def rows(policy: LocalPolicy, tools: Tools) -> list[Example]:
    """A correction's sample, a guided demonstration, an anchor and a probe."""
    asked, told = prompt(policy, tools, "Fix it."), prompt(policy, tools, "Fix it. Use edit_lines.")
    drawn = sample(policy, tools, "Fix it.")
    grammar = policy.grammar(tools)
    own = drawn_row(asked, told, drawn, grammar)
    shown = policy.demonstrate(told, asked, grammar, teacher="base", guidance=2.0, max_tokens=30)
    unsampled = {"sampled_logprobs": (), "temperature": 1.0}
    rule = {"part": "demonstration", "neutral_ids": asked, "guidance": 2.0, **unsampled}
    found = [own, msgspec.structs.replace(own, completion_ids=shown.token_ids, **rule)]
    for part, words in (("anchor", "Show a file."), ("probe", "What is this?")):
        usual, ids = sample(policy, tools, words, 0.0), prompt(policy, tools, words)
        stays = {"part": part, "prompt_ids": ids, "teacher_ids": ids, "correction": "", **unsampled}
        found.append(msgspec.structs.replace(own, completion_ids=usual.token_ids, **stays))
    return found


@pytest.fixture
def examples(make_policy: MakePolicy, tools: Tools) -> list[Example]:
    """What is learned in a test."""
    return rows(make_policy(device=GPU), tools)


def learned(policy: LocalPolicy, examples: list[Example], objective: Objective) -> tuple[str, list[float]]:
    """The digest after four steps, and the losses."""
    batch = policy.prepare(examples, objective, Optimiser(lr=1e-3, whiten=1.0))
    losses = [policy.step(batch, stop_below=0.0).loss for _ in range(4)]
    return policy.weights(), losses


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{o.divergence}-{o.teacher}")
def test_an_update_has_the_same_digest_each_time(
    make_policy: MakePolicy, tools: Tools, examples: list[Example], objective: Objective, dtype: str
) -> None:
    one, other = (make_policy(device=GPU, dtype=dtype) for _ in range(2))
    first = learned(one, examples, objective)
    assert first == learned(other, examples, objective)
    sample(one, tools, "Something else, which is read meanwhile.")
    one.reset()
    assert first == learned(one, examples, objective)


@pytest.mark.parametrize("how", ["without graphs", "not written"])
def test_so_it_has_the_other_ways(
    make_policy: MakePolicy, examples: list[Example], tiny_model_folder: Path, tmp_path: Path, how: str
) -> None:
    """Pass by pass, and as transformers computes what is not written here."""
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    given: dict[str, Any] = {"cache": str(tmp_path), "rank": 4, "device": GPU}
    if how == "not written":
        (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    else:
        given["graphs"] = False
    one, other = (LocalPolicy(str(folder), given) for _ in range(2))
    assert "graphs" not in one.stack
    assert learned(one, examples, OBJECTIVES[0]) == learned(other, examples, OBJECTIVES[0])


def test_captured_steps_have_the_gradients_of_others(
    make_policy: MakePolicy, tools: Tools, examples: list[Example]
) -> None:
    """One row that is learned and one that stays: passes of one shape."""
    few = [examples[0], msgspec.structs.replace(examples[0], part="anchor", correction="")]
    norms: list[float] = []
    for graphs in (True, False):
        policy = make_policy(device=GPU, dtype="float32", graphs=graphs)
        batch = policy.prepare(few, OBJECTIVES[1], Optimiser(lr=1e-3, whiten=1.0))
        norms.append(policy.step(batch, stop_below=0.0).grad_norm)
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_another_process_has_the_same_digest_too(
    make_policy: MakePolicy, examples: list[Example], tiny_model_folder: Path, model_cache: Path
) -> None:
    here = learned(make_policy(device=GPU), examples, OBJECTIVES[0])
    code = (
        "import json, sys; import msgspec; sys.path.insert(0, sys.argv[1]); import test_cuda as t;"
        "given = dict(cache=sys.argv[3], rank=4, alpha=4.0, threads=1, device=t.GPU);"
        "examples = msgspec.json.decode(sys.argv[4], type=list[t.Example]);"
        "policy = t.LocalPolicy(sys.argv[2], given);"
        "print(json.dumps(t.learned(policy, examples, t.OBJECTIVES[0])))"
    )
    given = [str(Path(__file__).parent), str(tiny_model_folder), str(model_cache)]
    asked = [sys.executable, "-c", code, *given, msgspec.json.encode(examples).decode()]
    there = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert json.loads(there.splitlines()[-1]) == [*here]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_says_what_a_cpu_says(make_policy: MakePolicy, tools: Tools, dtype: str) -> None:
    gpu, cpu = make_policy(device=GPU, dtype=dtype), make_policy(device="cpu", dtype=dtype)
    ids, grammar = prompt(cpu, tools, "Fix it."), cpu.grammar(tools)
    drawn = sample(cpu, tools, "Fix it.")
    theirs, ours = (scored(policy, ids, drawn, grammar) for policy in (cpu, gpu))
    assert ours == pytest.approx(theirs, abs=CLOSE[dtype])
    tools_there, tools_here = (p.tool_probabilities(ids, grammar, tools) for p in (cpu, gpu))
    assert tools_here == pytest.approx(tools_there, abs=CLOSE[dtype])
    others = [prompt(cpu, tools, words) for words in ("Run the tests.", "Read the file.", "Fix that.")]
    near, far = cpu.nearness([ids], others), gpu.nearness([ids], others)
    assert far == pytest.approx(near, abs=0.05)


def scored(policy: LocalPolicy, ids: tuple[int, ...], drawn: Sample, grammar: str | None) -> list[float]:
    """The logprobs of a sample, as an update scores them: advantages are those of a teacher, less these."""
    own: Any = policy
    batch = own.prepare([drawn_row(ids, ids, drawn, grammar)], Objective(teacher="live"), Optimiser())
    return [float(value) for value in batch.rows[0].teacher_tokens]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_learned_is_what_a_cpu_learns(
    make_policy: MakePolicy, examples: list[Example], dtype: str
) -> None:
    reports: list[list[StepReport]] = []
    for device in (GPU, "cpu"):
        policy = make_policy(device=device, dtype=dtype)
        batch = policy.prepare(examples, OBJECTIVES[0], Optimiser(lr=1e-3))
        reports.append([policy.step(batch, stop_below=0.0) for _ in range(3)])
    for here, there in zip(*reports, strict=True):
        assert here.loss == pytest.approx(there.loss, rel=0.2 if dtype == "bfloat16" else 1e-3)
        assert here.stepped and here.grad_norm == pytest.approx(there.grad_norm, rel=0.5)


def test_it_goes_back_and_on_to_the_bit(
    make_policy: MakePolicy, examples: list[Example], tmp_path: Path
) -> None:
    policy = make_policy(device=GPU)
    objective = next(each for each in OBJECTIVES if each.teacher == "ema")
    learned(policy, examples, objective)
    policy.save(tmp_path / "state")
    kept = policy.snapshot()
    further = learned(policy, examples, objective)
    policy.restore(kept)
    assert learned(policy, examples, objective) == further
    other = make_policy(device=GPU)
    other.load(tmp_path / "state")
    assert learned(other, examples, objective) == further


def test_its_stack_names_the_gpu(make_policy: MakePolicy) -> None:
    stack = make_policy(device="auto").stack
    assert stack["device"] == "cuda" and stack["deterministic"] == "true" and stack["dtype"] == "bfloat16"
    assert stack["gpu"] == torch.cuda.get_device_name()
