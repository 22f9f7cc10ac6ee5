"""Qwen3-Coder's, Qwen3.5's and Qwen3.8's form: parameters as elements, their values as they are.

    <tool_call>
    <function=read>
    <parameter=path>
    a.py
    </parameter>
    </function>
    </tool_call>

https://huggingface.co/Qwen/Qwen3-Coder-480B-A35B-Instruct/blob/main/chat_template.jinja. Nothing is escaped,
so a value may look like the markup. A value ends at the last `</parameter>` before the next element or before
the last `</function>` of the call; a call ends where another begins. So most files about this form can be
written in it. A value that holds the end of its own element and the beginning of another cannot: a parameter
that is given twice shows it, and is refused; otherwise the user sees the call before it runs.
"""

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import cast

from continualcode.core.data import Call, Json, ToolSpec
from continualcode.plugins.models.language import loose_json
from continualcode.plugins.models.language.calls import ANOTHER, LEFT_OUT, Said, Written
from continualcode.plugins.models.language.forms import (
    Literally,
    Plain,
    arguments_schema,
    dumps,
    turn_grammar,
)

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_BEGIN = re.compile(r"(?:<tool_call>\s*)?<function=(?P<name>[^>\n]*)>?")
_NEXT = re.compile(r"</tool_call>\s*<tool_call>\s*<function=|</function>\s*<function=")
_END = "</function>"
_PARAMETER = re.compile(r"<parameter=(?P<name>[^>\n]*)>")
_CLOSE_PARAMETER = "</parameter>"
_MARKUP = (OPEN, CLOSE, "<function=", _END, "<parameter=", _CLOSE_PARAMETER)


class QwenXml(Plain):
    """Elements for the function and each parameter."""

    name = "qwen-xml"

    def written(self, call: Call) -> str:
        """A string as it is, anything else as JSON."""
        parameters = "".join(
            f"<parameter={name}>\n{value if isinstance(value, str) else dumps(value)}\n{_CLOSE_PARAMETER}\n"
            for name, value in call.arguments.items()
        )
        return f"{OPEN}\n<function={call.tool}>\n{parameters}{_END}\n{CLOSE}"

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """The first function element."""
        found = _BEGIN.search(text)
        if found is None:
            if OPEN in text:
                return Said(text.partition(OPEN)[0].strip(), fault=f"expected <function=NAME> after {OPEN}")
            return Said(text)
        prose, name = text[: found.start()].strip(), found["name"].strip()
        repairs = [] if found[0].startswith(OPEN) else [f"no {OPEN} before the call"]
        more = _NEXT.search(text, found.end())
        limit = (
            more.start() + len(_END)
            if more and more[0].startswith(_END)
            else more.start()
            if more
            else len(text)
        )
        body_end = text.rfind(_END, found.end(), limit)
        if body_end < 0:
            # </tool_call> behind a whole parameter closes the function too; nothing at all closes nothing.
            body_end = text.rfind(CLOSE, found.end(), limit + len(CLOSE))
            if body_end < 0 or not text[:body_end].rstrip().endswith(_CLOSE_PARAMETER):
                return Said(prose, fault=f"the call is not whole: no {_END} after it")
            repairs.append(f"no {_END} after the parameters")
            end = body_end
        else:
            end = body_end + len(_END)
        arguments = _parameters(text[found.end() : body_end], tools.get(name), repairs)
        if isinstance(arguments, str):
            return Said(prose, fault=arguments)
        closing = re.compile(rf"\s*{CLOSE}").match(text, end)
        if closing is None:
            repairs.append(f"no {CLOSE} after the call")
        end = closing.end() if closing else end
        if text[end:].strip():
            repairs.append(ANOTHER if _BEGIN.search(text, end) else LEFT_OUT)
        values = [value for value in arguments.values() if isinstance(value, str)]
        sure = not repairs and not any(mark in value for mark in _MARKUP for value in values)
        return Said(prose, Written(name, arguments, found.start(), end, tuple(repairs)), sure=sure)

    def grammar(self, tools: Sequence[ToolSpec], literally: Literally) -> str:
        """Parameters in the schema's order; a string ends at the first close of its element."""
        rules = [f"call: {literally(OPEN + chr(10))} ({' | '.join(f'f{i}' for i in range(len(tools)))}) "]
        rules.append(f"{literally(chr(10) + CLOSE)}\nTEXT: /(.|\\n)*/\n")
        for i, tool in enumerate(tools):
            schema = arguments_schema(tool)
            required: Sequence[str] = schema.get("required", ())
            parts: list[str] = []
            for j, (name, kind) in enumerate(schema.get("properties", {}).items()):
                opening, rule = literally(f"<parameter={name}>\n"), f"p{i}_{j}"
                if kind.get("type") == "string" and "enum" not in kind:
                    rules.append(f'{rule}_value[suffix="\\n{_CLOSE_PARAMETER}\\n"]: TEXT\n')
                    rules.append(f"{rule}: {opening} {rule}_value\n")
                else:
                    ending = literally(f"\n{_CLOSE_PARAMETER}\n")
                    rules.append(f"{rule}: {opening} {rule}_value {ending}\n{rule}_value: {_literal(kind)}\n")
                parts.append(rule if name in required else f"{rule}?")
            inside = " ".join([literally(f"<function={tool.name}>\n"), *parts, literally(_END)])
            rules.append(f"f{i}: {inside}\n")
        return turn_grammar(tools, "".join(rules), "/[^<](.|\\n)*/")


def _literal(kind: Json) -> str:
    """The Lark expression of a value that is not any text: words to choose from, or JSON."""
    words = kind.get("enum")
    if words and all(isinstance(word, str) for word in words):
        return " | ".join(json.dumps(word) for word in words)
    return f"%json {json.dumps(kind)}"


def _parameters(text: str, tool: ToolSpec | None, repairs: list[str]) -> dict[str, Json] | str:
    """The arguments in the inside of a function element, or what is wrong with it."""
    kinds: dict[str, Json] = tool.parameters.get("properties", {}) if tool else {}
    elements = list(_PARAMETER.finditer(text))
    starts = [
        e for e in elements if e is elements[0] or text[: e.start()].rstrip().endswith(_CLOSE_PARAMETER)
    ]
    given = {start["name"].strip() for start in starts}
    # One that no end of another comes before is a parameter if the tool has it and nothing else gives it.
    starts = [
        e
        for e in elements
        if e in starts or (text[e.start() - 1] == "\n" and e["name"].strip() in kinds.keys() - given)
    ]
    head = text[: starts[0].start()].strip() if starts else text.strip()
    if head:
        value = None if starts else loose_json.read(head, 0)
        if value is None or not isinstance(value.value, dict):
            return f"expected <parameter=NAME> after <function=NAME>, not {head[:40]!r}"
        repairs.append("the parameters were JSON")
        return cast("dict[str, Json]", value.value)
    arguments: dict[str, Json] = {}
    for found, following in itertools.zip_longest(starts, starts[1:]):
        name = found["name"].strip()
        raw = text[found.end() : following.start() if following else len(text)]
        if (closing := raw.rfind(_CLOSE_PARAMETER)) < 0:
            repairs.append(f"no {_CLOSE_PARAMETER} after {name}")
        else:
            raw = raw[:closing]
        if name in arguments:
            return f"the parameter {name!r} is given twice"
        arguments[name] = _value(raw.removeprefix("\n").removesuffix("\n"), kinds.get(name, {}))
    return arguments


def _value(raw: str, kind: Json) -> Json:
    """A parameter's text as the type that the tool asks for; if it is not of it, the core says so."""
    if kind.get("type", "string") == "string":
        return raw
    value = loose_json.read(raw.strip(), 0)
    return raw if value is None or value.end < len(raw.strip()) else value.value
