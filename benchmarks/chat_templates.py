"""Compares our prompts with transformers', on the makers' own chat templates and, where given, tokenizers.

    python benchmarks/chat_templates.py FOLDER [--write FILE | --check FILE]

FOLDER holds `NAME.jinja` (a chat template) and beside it, if you have it, `NAME.tokenizer.json` (a fast
tokenizer); without one, a tokenizer of bytes is made for it. Neither can be shipped with this project.
llama.cpp keeps templates of many models in `models/templates/`; a model's own folder has both files.

For each template it prints the form that was found, and whether our ids equal those of `apply_chat_template`
for the same conversation with tools. --write keeps digests of template, tokenizer and ids; --check compares
with such a file. Exit code 1: they differ somewhere.
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from continualcode.core.data import Call, Message, ToolSpec
from continualcode.core.errors import ModelUnavailable
from continualcode.core.schema import flat_schema
from continualcode.plugins.models.language.families import Language
from continualcode.plugins.models.language.forms import function
from continualcode.plugins.models.language.templates import CLOSED, Template

CONTROL = re.compile(r"<\|[a-z_]+\|>|<｜[^｜<>]*｜>|</?think>|</?tool_call>|</?tool_response>")
TODAY = re.compile(r"\d{4}-\d\d-\d\d")
CALL = Call(tool="read", arguments={"path": "calc.py", "start_line": 3})
TOOLS = (
    ToolSpec(
        name="read",
        description="Show a file with line numbers.",
        parameters=flat_schema({"path": ("string", "the file")}, {"start_line": ("integer", "a line")}),
    ),
    ToolSpec(
        name="reply",
        description="Answer.",
        parameters=flat_schema({"text": ("string", "words")}),
        ends_turn=True,
    ),
)


def main() -> int:
    """Compare every template in the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    given = parser.parse_args()
    results = {path.stem: compared(path) for path in sorted(given.folder.glob("*.jinja"))}
    for name, result in results.items():
        print(f"{name:50} {result['form']:12} {result['equal']}")
    if given.write:
        given.write.write_text(json.dumps(results, indent=1) + "\n")
    wrong = [name for name, result in results.items() if result["equal"] is False]
    if given.check:
        golden = json.loads(given.check.read_text())
        wrong += [name for name in golden if name in results and results[name] != golden[name]]
    print(f"{len(results)} templates, {len(wrong)} differ: {', '.join(wrong) or '-'}")
    return 1 if wrong or not results else 0


def compared(path: Path) -> dict[str, Any]:
    """One template: its form, and whether our prompt is transformers'; None: it is not spoken to natively."""
    tokenizer, digest = tokenizer_of(path)
    try:
        language = Language(tokenizer)
    except ModelUnavailable as error:
        return {"form": "-", "equal": None, "why": str(error)}
    about = {"form": language.form.name if language.native else "signatures", "equal": None}
    if not language.native:
        return about
    ours = list(language.render(conversation(language), TOOLS))
    listed = [{"type": "function", "function": function(tool)} for tool in TOOLS]
    theirs = tokenizer.apply_chat_template(
        turns(language),
        tools=listed if language.family.lists_tools else None,
        add_generation_prompt=True,
        return_dict=False,
        **Template(tokenizer, False).options,
    )
    closing = ours[len(theirs) :]  # a block of reasoning that the template opens whatever it is told
    dated = TODAY.search(language.codec.decode(ours)) is not None
    return {
        **about,
        "equal": ours[: len(theirs)] == theirs and language.codec.decode(closing) in ("", CLOSED),
        "template": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tokenizer": digest,
        "tokens": None if dated else len(ours),
        "ids": None if dated else hashlib.sha256(json.dumps(ours).encode()).hexdigest(),
    }


def conversation(language: Language) -> list[Message]:
    """As a session has it: completions as they were drawn."""
    answer = "<|channel|>final<|message|>It is fine." if language.form.name == "harmony" else "It is fine."
    return [
        Message(role="system", text="You are a coding agent."),
        Message(role="user", text="Fix the test.\n\n```python\nassert é == 1\n```"),
        Message(role="assistant", text=language.format_call(CALL)),
        Message(role="tool", text="3| def add(a, b):\n4|     return a - b"),
        Message(role="assistant", text=answer),
        Message(role="user", text="No. Look again."),
    ]


def turns(language: Language) -> list[dict[str, Any]]:
    """The same, as users of transformers would write it; its makers' list where a template has none."""
    system = "You are a coding agent."
    if not language.family.lists_tools:
        system += "\n\n" + language.form.listing([function(tool) for tool in TOOLS])
    text = json.dumps(CALL.arguments) if language.family.text_arguments else CALL.arguments
    call = {"id": "functions.read:0", "type": "function", "function": {"name": "read", "arguments": text}}
    result = "3| def add(a, b):\n4|     return a - b"
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "Fix the test.\n\n```python\nassert é == 1\n```"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result, "tool_call_id": "functions.read:0", "name": "read"},
        {"role": "assistant", "content": "It is fine."},
        {"role": "user", "content": "No. Look again."},
    ]


def tokenizer_of(path: Path) -> tuple[Any, str]:
    """The template's tokenizer and its digest: the file beside it, or one of bytes."""
    file, template = path.with_suffix(".tokenizer.json"), path.read_text()
    named = sorted(set(CONTROL.findall(template)))
    if file.exists():
        backend: Any = Tokenizer.from_file(str(file))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
    else:
        alphabet = {char: i for i, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
        backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        digest = "bytes"
    missing = [text for text in ("<eos>", "<bos>", *named) if backend.token_to_id(text) is None]
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in missing])
    make: Any = PreTrainedTokenizerFast  # its constructor has no types
    return make(
        tokenizer_object=backend, eos_token="<eos>", bos_token="<bos>", chat_template=template
    ), digest


if __name__ == "__main__":
    sys.exit(main())
