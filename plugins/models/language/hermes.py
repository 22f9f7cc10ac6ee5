"""Hermes's and Qwen's form: one JSON object between tags. https://github.com/NousResearch/Hermes-Function-Calling

    <tool_call>
    {"name": "read", "arguments": {"path": "a.py"}}
    </tool_call>

Also what a model of any family is asked for where its tools are listed as signatures: in some tokenizers the
tags are tokens of their own, in others they are text.
"""

import json
from collections.abc import Mapping, Sequence

from continualcode.core.data import Call, Json, ToolSpec
from continualcode.plugins.models.language import loose_json
from continualcode.plugins.models.language.calls import NAMES, Said, Written, closed, followed, named
from continualcode.plugins.models.language.forms import (
    SPACES,
    Literally,
    Plain,
    arguments_schema,
    dumps,
    turn_grammar,
)

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class Hermes(Plain):
    """One JSON object between tags."""

    name = "hermes"

    def written(self, call: Call) -> str:
        """The tags on lines of their own. DEL is escaped: JSON allows it bare, grammars do not."""
        body = dumps({"name": call.tool, "arguments": call.arguments}).replace("\x7f", "\\u007f")
        return f"{OPEN}\n{body}\n{CLOSE}"

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """The first tagged object; or, without tags, an object that looks like a call."""
        start = text.find(OPEN)
        tagged = start >= 0
        begin = text.find("{", start + len(OPEN)) if tagged else bare(text)
        if begin < 0 and not tagged:
            return Said(text)
        start = start if tagged else begin
        prose = text[:start].strip()
        value = loose_json.read(text, begin) if begin >= 0 else None
        if value is None:
            expected = f'{OPEN} and then {{"name": "…", "arguments": {{…}}}}'
            return Said(prose if tagged else text, fault=f"the call is not JSON; expected {expected}")
        call = named(value.value, "arguments")
        if isinstance(call, str):
            return Said(prose, fault=call)
        name, arguments, renamed = call
        repairs = [*([] if tagged else [f"no {OPEN} before the call"]), *value.repairs, *renamed]
        end, unclosed = closed(text, value.end, CLOSE)
        repairs += unclosed if tagged else []
        repairs += followed(text, end, OPEN)
        return Said(prose, Written(name, arguments, start, end, tuple(repairs)))

    def grammar(self, tools: Sequence[ToolSpec], literally: Literally) -> str:
        """One schema for all tools, between the tags; a tag that is a token is named bare."""
        schema: Json = {"anyOf": [_call_schema(tool) for tool in tools], "x-guidance": SPACES}
        call = f'call: {literally(OPEN)} "\\n" body "\\n" {literally(CLOSE)}\n'
        # The order of the rules is older than the other forms: it is text that logs hold.
        grammar = turn_grammar(tools, call, "/[^<](.|\\n)*/")
        return f"{grammar}body: %json {json.dumps(schema)}\n"


def bare(text: str) -> int:
    """Where an object that looks like a call begins in a text without tags; -1 if none does."""
    begin = text.find("{")
    return begin if begin >= 0 and any(f"{q}{key}{q}" in text for key in NAMES[:2] for q in "\"'") else -1


def _call_schema(tool: ToolSpec) -> Json:
    """The JSON schema of one call of `tool`."""
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments_schema(tool)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
