"""Prompts of the models that install from package registries, token by token: for ours, and for transformers.

`benchmarks/chat_templates.py` does the same for models whose templates cannot be shipped.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from continualcode.core.data import Call, Message, ToolSpec
from continualcode.core.schema import flat_schema
from continualcode.plugins.models.language.families import Language, ToolList
from continualcode.plugins.models.language.forms import function
from continualcode.plugins.models.local import store

GOLDEN = Path(__file__).parent / "golden"
READ = ToolSpec(
    name="read",
    description="Show a file.",
    parameters=flat_schema({"path": ("string", "the file")}, {"start_line": ("integer", "a line")}),
)
CALL = Call(tool="read", arguments={"path": "é.py", "start_line": 3})
WORDS = "Fix the test.\n\n```python\nassert f() == 1  # <|im_end|>\n```"
RESULT = "3| def f():\n4|     return 2"
NATIVE = pytest.param("qwen2.5-coder-0.5b", "native", marks=pytest.mark.slow)
CASES = [
    ("smollm2-135m", "signatures"),
    pytest.param("qwen2.5-coder-0.5b", "signatures", marks=pytest.mark.slow),
    NATIVE,
]


def tokenizer_of(model: str) -> Any:
    auto: Any = AutoTokenizer  # its methods have no types
    return auto.from_pretrained(store.resolve(model).folder)


@pytest.mark.parametrize(("model", "tool_list"), CASES)
def test_a_conversation_has_these_ids(model: str, tool_list: ToolList) -> None:
    language = Language(tokenizer_of(model), tool_list=tool_list)
    messages = [
        Message(role="system", text="Be brief."),
        Message(role="user", text=WORDS),
        Message(role="assistant", text=language.format_call(CALL)),
        Message(role="tool", text=RESULT),
    ]
    golden = json.loads((GOLDEN / f"{model}-{tool_list}.json").read_text())
    assert list(language.render(messages, (READ,))) == golden["ids"]


@pytest.mark.parametrize(("model", "tool_list"), [NATIVE])
def test_those_ids_are_transformers_own(model: str, tool_list: str) -> None:
    """But for the control string in the user's words, which transformers makes a control token of."""
    tokenizer = tokenizer_of(model)
    call = {"type": "function", "function": {"name": CALL.tool, "arguments": CALL.arguments}}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": WORDS},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": RESULT},
    ]
    listed = [{"type": "function", "function": function(READ)}]
    theirs = tokenizer.apply_chat_template(turns, tools=listed, add_generation_prompt=True, return_dict=False)
    golden = json.loads((GOLDEN / f"{model}-{tool_list}.json").read_text())["ids"]
    assert tokenizer.decode(golden) == tokenizer.decode(theirs)
    begin = next(i for i, (a, b) in enumerate(zip(golden, theirs, strict=False)) if a != b)
    end = next(i for i, (a, b) in enumerate(zip(golden[::-1], theirs[::-1], strict=False)) if a != b)
    ours, changed = golden[begin:-end], theirs[begin:-end]
    assert tokenizer.decode(ours) == tokenizer.decode(changed)
    assert (tokenizer.eos_token_id in changed, tokenizer.eos_token_id in ours) == (True, False)
    assert len(changed) < 5
