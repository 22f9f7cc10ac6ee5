"""The local policy: what it promises to the core, from options to an update and back."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from continualcode.core.data import Example, Message, Objective, Optimiser, SamplingParams, ToolSpec
from continualcode.core.errors import ConfigError, ModelUnavailable
from continualcode.core.protocols import Policy
from continualcode.plugins.models import local
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.teachers import MAX_GROWTH

MakePolicy = Callable[..., LocalPolicy]
USER = Message(role="user", text="Fix the test.")
TOLD = Message(role="user", text="Fix the test. Use edit_lines; don't overwrite.")


def example(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...], *, told: bool, temperature: float = 0.7
) -> Example:
    """A sample of the policy as one row of an update; `told`: the teacher has a correction."""
    prompt, grammar = policy.render([USER], tools), policy.grammar(tools)
    params = SamplingParams(temperature=temperature, max_tokens=40, seed=1)
    sample = policy.sample(prompt, grammar, params)
    return Example(
        correction="c",
        sample="s",
        prompt_ids=prompt,
        teacher_ids=policy.render([TOLD], tools) if told else prompt,
        completion_ids=sample.token_ids,
        sampled_logprobs=sample.logprobs,
        temperature=temperature,
        grammar=grammar,
    )


# -- What it is --------------------------------------------------------------------------------------


def test_it_is_a_policy_that_says_what_it_is(policy: LocalPolicy, tiny_model_folder: Path) -> None:
    held: Policy = policy
    assert held.model.name == str(tiny_model_folder)
    assert held.model.context == 1024  # what the model was made for, less than the default
    assert all(len(digest) == 64 for digest in (held.model.base, held.model.tokenizer, held.model.template))
    assert {"full_distribution", "grammar_masks", "teacher:ema"} <= held.capabilities


def test_its_stack_names_what_the_bits_depend_on(policy: LocalPolicy) -> None:
    assert policy.stack["torch"] == torch.__version__
    assert policy.stack["device"] in ("cpu", "cuda")
    assert policy.stack["threads"] == "1"
    assert {"transformers", "tokenizers", "peft", "llguidance", "dtype", "cpu", "deterministic"} <= set(
        policy.stack
    )


def test_only_the_adapter_can_be_trained(policy: LocalPolicy) -> None:
    inside: Any = policy
    trained = [name for name, p in inside._adapter.model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    assert not inside._adapter.model.training


# -- Options and names -------------------------------------------------------------------------------


def test_an_unknown_option_is_an_error_that_names_the_nearest(make_policy: MakePolicy) -> None:
    with pytest.raises(ConfigError, match="model: unknown key 'contxt'; did you mean 'context'"):
        make_policy(contxt=1)


@pytest.mark.parametrize(("option", "value"), [("device", "gpu7"), ("dtype", "int3"), ("rank", "many")])
def test_an_option_with_a_wrong_value_is_an_error(make_policy: MakePolicy, option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=option):
        make_policy(**{option: value})


@pytest.mark.parametrize(
    ("model", "ours"),
    [
        ("smollm2-135m", True),
        ("org/name", True),
        ("./folder", True),
        ("C:\\models\\x", True),
        ("no-such-model", True),
        ("scripted:turns.txt", False),
        ("tinker:Qwen/Qwen3-8B", False),
    ],
)
def test_every_name_without_a_scheme_is_for_this_plugin(model: str, ours: bool) -> None:
    assert (local.make_policy(model, {}) is not None) == ours


def test_a_name_that_no_model_has_is_an_error_when_it_is_built() -> None:
    build = local.make_policy("smolm2-135m", {})
    assert build is not None
    with pytest.raises(ModelUnavailable, match="did you mean 'smollm2-135m'"):
        build(lambda label, done, total: None)


def test_a_folder_that_transformers_cannot_load_is_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    for file in tiny_model_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    with pytest.raises(ModelUnavailable, match="transformers cannot load"):
        LocalPolicy(str(tmp_path), {"cache": str(tmp_path / "cache")})


def test_importing_the_plugin_imports_no_torch() -> None:
    program = "import sys, continualcode.plugins.models.local; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout == "False\n"


def test_without_the_extra_it_says_how_to_install_it() -> None:
    program = """
import sys
sys.path[:] = [p for p in sys.path if "site-packages" not in p]  # what is installed cannot be found any more
sys.modules.pop("torch", None)
from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models import local
try:
    local.make_policy("smollm2-135m", {})(lambda *a: None)
except ModelUnavailable as error:
    print(error)
"""
    given = "import continualcode, click, msgspec, pluggy, continualcode.plugins.models.local" + program
    done = subprocess.run([sys.executable, "-c", given], capture_output=True, check=True, text=True)
    assert "needs torch, transformers, peft, llguidance, safetensors" in done.stdout
    assert "pip install 'continualcode[local]'" in done.stdout


# -- Sampling and learning agree ---------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_teacher_that_sees_the_same_agrees_with_what_was_sampled(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...], temperature: float
) -> None:
    batch = policy.prepare(
        [example(policy, tools, told=False, temperature=temperature)],
        Objective(divergence="sampled"),
        Optimiser(),
    )
    report = policy.step(batch, stop_below=math.inf)
    assert max(abs(advantage) for advantage in report.advantages[0]) < 1e-4
    assert report.divergence < 1e-6


def test_an_update_moves_the_model_towards_the_teacher(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    batch = policy.prepare([example(policy, tools, told=True)], Objective(), Optimiser(lr=1e-2))
    before = policy.weights()
    reports = [policy.step(batch, stop_below=0.0) for _ in range(8)]
    assert reports[-1].divergence < 0.9 * reports[0].divergence
    assert policy.weights() != before


def test_restoring_goes_back_exactly(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    snapshot, names = policy.snapshot(), (policy.weights(), policy.optimiser_state())
    prompt = policy.render([USER], tools)
    params = SamplingParams(temperature=1.0, max_tokens=30)
    sample = policy.sample(prompt, policy.grammar(tools), params)
    batch = policy.prepare([example(policy, tools, told=True)], Objective(), Optimiser(lr=1e-2))
    policy.step(batch, stop_below=0.0)
    assert (policy.weights(), policy.optimiser_state()) != names
    policy.restore(snapshot)
    assert (policy.weights(), policy.optimiser_state()) == names
    again = policy.sample(prompt, policy.grammar(tools), params)
    assert again.token_ids == sample.token_ids
    assert again.logprobs == pytest.approx(sample.logprobs, abs=1e-5)  # other passes, other rounding


def test_resetting_goes_back_to_before_any_update(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    names = (policy.weights(), policy.optimiser_state())
    batch = policy.prepare([example(policy, tools, told=True)], Objective(), Optimiser(lr=1e-2))
    policy.step(batch, stop_below=0.0)
    policy.reset()
    assert (policy.weights(), policy.optimiser_state()) == names


def test_two_policies_on_one_model_learn_the_same_bits(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...]
) -> None:
    digests: list[str] = []
    for policy in (make_policy(), make_policy()):
        batch = policy.prepare([example(policy, tools, told=True)], Objective(), Optimiser(lr=1e-3))
        policy.step(batch, stop_below=0.0)
        digests.append(policy.weights())
    assert digests[0] == digests[1]


def test_the_adapters_seed_is_part_of_its_weights(make_policy: MakePolicy) -> None:
    assert make_policy(adapter_seed=1).weights() != make_policy().weights()


def test_a_text_is_counted_and_truncated_in_tokens(policy: LocalPolicy) -> None:
    text = "word " * 300
    assert policy.count_tokens(policy.truncate(text, 50)) <= 50 < policy.count_tokens(text)


def test_a_closed_policy_is_gone(policy: LocalPolicy) -> None:
    policy.close()
    with pytest.raises(AttributeError):
        policy.weights()


# -- A real model ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_model_learns_from_its_own_correction(
    smollm: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    batch = smollm.prepare([example(smollm, tools, told=True)], Objective(), Optimiser(lr=1e-4))
    snapshot = smollm.snapshot()
    first = smollm.step(batch, stop_below=0.0)
    second = smollm.step(batch, stop_below=math.inf)
    smollm.restore(snapshot)
    assert second.divergence < first.divergence


@pytest.mark.slow
def test_a_real_prompt_has_the_ids_of_transformers_own_template(smollm: LocalPolicy) -> None:
    auto: Any = AutoTokenizer
    tokenizer = auto.from_pretrained(store.resolve("smollm2-135m").folder)
    said = Message(role="assistant", text="Sure:\n\n```python\nx = 1\n```")
    messages = [Message(role="system", text="Be brief."), USER, said, TOLD]
    turns = [{"role": m.role, "content": m.text} for m in messages]
    golden = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert list(smollm.render(messages, ())) == golden


@pytest.mark.slow
def test_a_real_conversation_goes_on_from_what_was_computed(
    smollm: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    prompt, inside = smollm.render([USER], tools), smollm_inside(smollm)
    sample = smollm.sample(prompt, smollm.grammar(tools), SamplingParams(max_tokens=60))
    said = Message(role="assistant", text=sample.text)
    longer = smollm.render([USER, said, Message(role="tool", text="ok")], tools)
    assert longer[: len(prompt) + len(sample.token_ids)] == prompt + sample.token_ids
    before = inside.computed
    smollm.sample(longer, None, SamplingParams(max_tokens=1))
    assert inside.computed - before < len(longer) - len(prompt)


def smollm_inside(policy: Any) -> Prefix:
    """What the policy keeps."""
    prefix: Prefix = policy._prefix
    return prefix


@pytest.mark.slow
def test_a_real_model_knows_its_family(smollm: LocalPolicy, tools: tuple[ToolSpec, ...]) -> None:
    prompt = smollm.render([Message(role="system", text="Be brief."), USER], tools)
    found = smollm.tool_probabilities(prompt, smollm.grammar(tools), tools)
    assert 0.5 < sum(found.values()) <= 1.0 + 1e-6


def test_an_average_that_was_cut_goes_on_from_a_file_to_the_bit(
    make_policy: MakePolicy, tools: tuple[ToolSpec, ...], tmp_path: Path
) -> None:
    """How a tensor lies in memory decides the last bits of a product."""
    policy, other = make_policy(), make_policy()
    row, objective = example(policy, tools, told=True), Objective(teacher="ema")

    def learned(by: LocalPolicy, steps: int) -> str:
        batch = by.prepare([row], objective, Optimiser(lr=1e-2))
        for _ in range(steps):
            assert by.step(batch, stop_below=0.0).stepped
        return by.weights()

    learned(policy, steps=MAX_GROWTH)  # the last one cuts it
    policy.save(tmp_path / "state")
    other.load(tmp_path / "state")
    assert learned(other, steps=2) == learned(policy, steps=2)
