"""A random language model with a real tokenizer, small enough to be made here: no download, quick tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from hypothesis import settings
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from continualcode.core.data import ToolSpec
from continualcode.core.schema import flat_schema
from continualcode.plugins.models.local.policy import LocalPolicy

CORPUS = [
    "You are a coding agent. You work in a project folder and act through tools, one call a turn.",
    '<tool_call>\n{"name": "edit_lines", "arguments": {"path": "calc.py", "start_line": 14}}\n</tool_call>',
    'def add(a, b):\n    """The sum."""\n    return a + b\n\n\nassert add(2, 2) == 4, "wrong"\n',
    "Tools:\n- write(path, content): Create a file.\n- read(path): Show a file with line numbers.\n",
    "user assistant system tool_response The user denied this call. Étés, naïve, 日本語, 🙂.",
]

QWEN_LIKE = """
{%- for m in messages -%}
{%- if m.role == 'tool' -%}
{%- if messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif -%}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' -}}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif -%}
{%- else -%}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
CHATML = """
{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""
# Refuses a system role and two turns of one role, as Gemma's and Mistral's first templates do.
STRICT = """
{%- for m in messages -%}
{%- if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif -%}
{%- if (m.role == 'user') == (loop.index0 % 2 == 1) %}{{ raise_exception('No alternation') }}{% endif -%}
{{- '<s>[' + m.role + '] ' + m.content | trim + '</s>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<s>[assistant] ' }}{% endif -%}
"""
CONTROLS = {
    "qwen": (QWEN_LIKE, ("<|im_end|>", "<|endoftext|>", "<|im_start|>"), ("<tool_call>", "</tool_call>")),
    "smollm": (CHATML, ("<|im_end|>", "<|endoftext|>", "<|im_start|>", "<file_sep>"), ()),
    "chat": (STRICT, ("</s>", "<s>"), ()),
}
"""By family: a template, control tokens (the first ends a turn), and added tokens that are not `special`."""

MakeTokenizer: TypeAlias = Callable[[str], Any]
MakePolicy: TypeAlias = Callable[..., LocalPolicy]


def pytest_configure() -> None:
    settings.register_profile("untimed", deadline=None)  # how fast the machine is, is no fact about the code
    settings.load_profile("untimed")


def train_tokenizer(family: str) -> Any:
    """A byte-level BPE tokenizer of transformers, of about 600 tokens, with a family's control tokens."""
    template, special, plain = CONTROLS[family]
    backend: Any = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    make: Any = PreTrainedTokenizerFast  # its constructor has no types
    return make(tokenizer_object=backend, eos_token=special[0], chat_template=template)


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """The tokenizer of a family by name: qwen, smollm or chat."""
    made = {family: train_tokenizer(family) for family in CONTROLS}
    return made.__getitem__


QWEN2 = Qwen2Config, Qwen2ForCausalLM
QWEN3 = Qwen3Config, Qwen3ForCausalLM


def save_random_model(folder: Path, tokenizer: Any, kind: Any = QWEN2, **changes: Any) -> Path:
    """`folder` with a random model of 2 layers, 64 wide, in safetensors, and its tokenizer."""
    config, of = kind
    tokenizer.save_pretrained(folder)
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # so that its distributions are far from uniform
        **changes,
    }
    random: Any = torch.random  # has no types
    with random.fork_rng():
        random.manual_seed(0)
        model: Any = of(config(**sizes))
        model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: MakeTokenizer) -> Path:
    """A folder that transformers loads; its vocabulary is wider than the tokenizer's, as real ones are."""
    tokenizer = make_tokenizer("qwen")
    wider = {"vocab_size": len(tokenizer) + 7, "tie_word_embeddings": True, "max_position_embeddings": 1024}
    return save_random_model(tmp_path_factory.mktemp("tiny-model"), tokenizer, **wider)


@pytest.fixture(scope="session")
def qwen3_folder(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: MakeTokenizer) -> Path:
    """The same of another architecture: norms of each head, which are wider together than the model."""
    tokenizer, sizes = make_tokenizer("qwen"), {"head_dim": 32, "tie_word_embeddings": True}
    return save_random_model(tmp_path_factory.mktemp("tiny-qwen3"), tokenizer, QWEN3, **sizes)


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the store keeps the digests of the tiny model."""
    return tmp_path_factory.mktemp("model-cache")


@pytest.fixture
def make_policy(tiny_model_folder: Path, model_cache: Path) -> MakePolicy:
    """A new policy on the tiny model, with options as given."""

    def make(**options: Any) -> LocalPolicy:
        own = {"cache": str(model_cache), "rank": 4, "alpha": 4.0, "threads": 1, "device": "cpu"}
        given = {**own, **options}
        return LocalPolicy(str(tiny_model_folder), given)

    return make


@pytest.fixture
def policy(make_policy: MakePolicy) -> LocalPolicy:
    """A new policy on the tiny model."""
    return make_policy()


@pytest.fixture(scope="session")
def smollm() -> LocalPolicy:
    """The smallest real model; its first use on a machine downloads it."""
    return LocalPolicy(
        "smollm2-135m", {"threads": 1, "device": "cpu"}
    )  # more would wait for each other on a busy machine


@pytest.fixture(scope="session")
def tools() -> tuple[ToolSpec, ...]:
    """Tools as the built-in ones are: flat, few arguments, one that answers."""
    path, content = ("string", "the file"), ("string", "the text")
    line = ("integer", "a line")
    return (
        ToolSpec(
            name="read",
            description="Show a file with line numbers.",
            parameters=flat_schema({"path": path}, {"start_line": line}),
            reads_only=True,
        ),
        ToolSpec(
            name="write",
            description="Create a file.",
            parameters=flat_schema({"path": path, "content": content}),
        ),
        ToolSpec(
            name="edit_lines",
            description="Replace lines.",
            parameters=flat_schema({"path": path, "start_line": line, "end_line": line, "content": content}),
        ),
        ToolSpec(
            name="edit",
            description="Replace a text.",
            parameters=flat_schema({"path": path, "old": content, "new": content}),
        ),
        ToolSpec(
            name="reply",
            description="Answer the user.",
            parameters=flat_schema({"text": content}),
            ends_turn=True,
        ),
    )
