"""One language a family, on a template of its shape and a tokenizer of bytes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from continualcode.plugins.models.language.families import Language

SHAPES = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("shapes/*.jinja"))}
CONTROL = re.compile(r"<\|[a-z_]+\|>|<｜[^｜<>]*｜>|</?think>|</?tool_call>|</?tool_response>")


def make_byte_tokenizer(template: str) -> Any:
    """A tokenizer with a token a byte, and one for each control string that `template` names."""
    alphabet = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend: Any = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>", *sorted(set(CONTROL.findall(template)))]
    tokens = [AddedToken(text, special=True, normalized=False) for text in dict.fromkeys(names)]
    backend.add_special_tokens(tokens)
    make: Any = PreTrainedTokenizerFast  # its constructor has no types
    return make(tokenizer_object=backend, eos_token=names[0], bos_token=names[1], chat_template=template)


@pytest.fixture(scope="session")
def byte_tokenizer() -> Callable[[str], Any]:
    """Makes a tokenizer for a template."""
    return make_byte_tokenizer


@pytest.fixture(scope="session")
def byte_tokenizers() -> dict[str, Any]:
    """By the name of a form, a tokenizer whose template has its family's shape."""
    return {name: make_byte_tokenizer(template) for name, template in SHAPES.items()}


@pytest.fixture(scope="session")
def natives(byte_tokenizers: dict[str, Any]) -> dict[str, Language]:
    """By the name of a form, the language of that tokenizer."""
    return {name: Language(tokenizer) for name, tokenizer in byte_tokenizers.items()}
