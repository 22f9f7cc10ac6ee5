"""Llama 3's form: a bare JSON object that is the whole turn.

    {"name": "read", "parameters": {"path": "a.py"}}

https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/#json-based-tool-calling. Seen as well, and
read: `<|python_tag|>` before it, several objects with semicolons, `<function=read>{…}</function>`.
"""

import json
import re
from collections.abc import Mapping, Sequence

from continualcode.core.data import Call, Json, ToolSpec
from continualcode.plugins.models.language import loose_json
from continualcode.plugins.models.language.calls import ANOTHER, LEFT_OUT, Said, Written, named
from continualcode.plugins.models.language.forms import (
    SPACES,
    Literally,
    Plain,
    arguments_schema,
    dumps,
    turn_grammar,
)
from continualcode.plugins.models.language.hermes import bare

TAG = "<|python_tag|>"
_FUNCTION = re.compile(r"<function=(?P<name>[^>{]+)>")


class Llama3(Plain):
    """A bare object with `name` and `parameters`."""

    name = "llama3"
    ends = ("<|eot_id|>", "<|eom_id|>")

    def written(self, call: Call) -> str:
        """As its template writes one."""
        return f'{{"name": {dumps(call.tool)}, "parameters": {dumps(call.arguments)}}}'

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """An object at the beginning, or one further on that looks like a call."""
        if (tagged := _FUNCTION.search(text)) is not None:
            return self._function(text, tagged)
        start = len(text) - len(text.lstrip())
        repairs: list[str] = []
        if text.startswith(TAG, start):
            start += len(TAG)
            repairs.append(f"{TAG} before the call")
        begin = text.find("{", start)
        if begin < 0 or text[start:begin].strip():
            begin = bare(text)
            repairs.append("text before the call")
        if begin < 0:
            return Said(text)
        prose = text[:begin].replace(TAG, "").strip()
        value = loose_json.read(text, begin)
        if value is None:
            expected = '{"name": "…", "parameters": {…}}'
            return Said(text, fault=f"the call is not JSON; expected {expected} and nothing else")
        call = named(value.value, "parameters")
        if isinstance(call, str):
            return Said(prose, fault=call)
        name, arguments, renamed = call
        rest = text[value.end :].strip()
        after = [] if not rest else [ANOTHER if "{" in rest else LEFT_OUT]
        notes = (*repairs, *value.repairs, *renamed, *after)
        return Said(prose, Written(name, arguments, begin, value.end, notes))

    def _function(self, text: str, tagged: re.Match[str]) -> Said:
        value = loose_json.read(text, tagged.end())
        prose = text[: tagged.start()].strip()
        if value is None:
            return Said(prose, fault=f"the arguments after {tagged[0]} are not JSON")
        notes = (f"{tagged[0]} read as the name", *value.repairs)
        return Said(prose, Written(tagged["name"].strip(), value.value, tagged.start(), value.end, notes))

    def grammar(self, tools: Sequence[ToolSpec], literally: Literally) -> str:
        """One schema for all tools."""
        calls: list[Json] = [
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "parameters": arguments_schema(tool)},
                "required": ["name", "parameters"],
                "additionalProperties": False,
            }
            for tool in tools
        ]
        schema: Json = {"anyOf": calls, "x-guidance": SPACES}
        return turn_grammar(tools, f"call: %json {json.dumps(schema)}\n", "/[^<{](.|\\n)*/")
