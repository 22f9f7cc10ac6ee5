"""Reads a completion as a call: strictly first, then with the repairs that small models need.

Under a grammar every finished completion reads strictly. Without one, and from models that learned
another dialect, these are repaired, and the result says so: no tags around the object, no closing tag, text
after the call, Python's quotes and constants, line breaks inside strings, other names for the two fields,
arguments as a string of JSON. A call that breaks off is not completed: what is missing is not known.
Which arguments a tool takes, by which names and of which types, is the core's to say (`core.schema`).
"""

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Literal, NamedTuple, cast

from continualcode.core.data import Call, Json, StopReason, ToolSpec
from continualcode.core.errors import nearest

NAMES = ("name", "tool", "function")
ARGUMENTS = ("arguments", "parameters", "args", "input")


class Found(NamedTuple):
    """What a completion says. `span`: the characters of the call, half open, tags included."""

    text: str
    call: Call | None
    how: Literal["text", "ok", "repaired", "failed"]
    why: str | None = None
    span: tuple[int, int] | None = None


class Object(NamedTuple):
    """A JSON object that was read: the character it ends at, and what had to be repaired."""

    value: Json
    end: int
    repairs: tuple[str, ...] = ()


def read(text: str, tools: Mapping[str, ToolSpec], stop: StopReason, opening: str, closing: str) -> Found:
    """A completion as text, as a call of one of `tools`, or as neither, and why. Never raises."""
    start = text.find(opening)
    tagged = start >= 0
    begin = text.find("{", start + len(opening)) if tagged else _bare(text)
    if not tools or (begin < 0 and not tagged):
        return _prose(text, tools, stop)
    body_end = text.rfind(closing)
    read_object = _object(text, begin, body_end) if begin >= 0 else None
    if read_object is None:
        return Found(text, None, "failed", _unreadable(stop, opening))
    repairs = list(read_object.repairs) if tagged else [f"no {opening} before the call", *read_object.repairs]
    after = text[read_object.end :]
    if after.lstrip().startswith(closing):
        end = text.index(closing, read_object.end) + len(closing)
    else:
        end = read_object.end
        if tagged:
            repairs.append(f"no {closing} after the call")
    if text[end:].strip():
        repairs.append("text after the call was left out")
    begin = start if tagged else begin
    return _call(read_object.value, repairs, tools, text[:begin].strip(), (begin, end))


def _prose(text: str, tools: Mapping[str, ToolSpec], stop: StopReason) -> Found:
    """A completion without a call in it: an answer, if it is whole."""
    if stop == "end":
        return Found(text, None, "text")
    ended = _ended(stop)
    return Found(text, None, "failed" if tools else "text", f"the answer is not whole: {ended}")


def _call(
    value: Json, repairs: list[str], tools: Mapping[str, ToolSpec], text: str, span: tuple[int, int]
) -> Found:
    """The object as a call."""
    fields = cast("dict[str, Json]", value) if isinstance(value, dict) else {}
    inner = fields.get("function")
    if isinstance(inner, dict):
        fields = cast("dict[str, Json]", inner)
        repairs.append("the call was inside 'function'")
    name_key = next((key for key in NAMES if isinstance(fields.get(key), str)), None)
    if name_key is None:
        return Found(text, None, "failed", "the call does not name a tool: there is no 'name'", span)
    name = str(fields[name_key])
    if name not in tools:
        return Found(text, None, "failed", f"there is no tool {name!r}; {nearest(name, tools)}", span)
    key = next((key for key in ARGUMENTS if key in fields), None)
    arguments: Json = fields[key] if key else {}
    if isinstance(arguments, str):
        held = _object(arguments, arguments.find("{"), -1) if "{" in arguments else None
        if held is not None:
            arguments = held.value
            repairs.append("the arguments were a string of JSON")
    if not isinstance(arguments, dict):
        return Found(text, None, "failed", f"the arguments of {name} are not an object", span)
    if name_key != NAMES[0]:
        repairs.append(f"{name_key!r} read as 'name'")
    if key is None:
        repairs.append("no 'arguments': none taken")
    elif key != ARGUMENTS[0]:
        repairs.append(f"{key!r} read as 'arguments'")
    call = Call(tool=name, arguments=cast("dict[str, Json]", arguments))
    return Found(text, call, "repaired" if repairs else "ok", "; ".join(repairs) or None, span)


def _object(text: str, begin: int, end: int) -> Object | None:
    """The object that begins at `begin`; `end` is where a closing tag begins, -1 if there is none."""
    for strict, repairs in ((True, ()), (False, ("line breaks inside a string",))):
        try:
            value, stop = json.JSONDecoder(strict=strict).raw_decode(text, begin)
            return Object(_sound(value), stop, repairs)
        except (ValueError, RecursionError):
            continue
    body = text[begin:end] if end > begin else text[begin:]
    body = body[: body.rfind("}") + 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of escapes such as "\d", which stay as they are
            value = ast.literal_eval(body)
        return Object(_sound(value), begin + len(body), ("Python's quotes or constants",))
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _sound(value: Json) -> Json:
    """`value` as JSON can hold it. Raises ValueError for NaN, infinities and halves of surrogate pairs."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    return json.loads(text)


def _bare(text: str) -> int:
    """Where an object that looks like a call begins in a text without tags; -1 if none does."""
    begin = text.find("{")
    return begin if begin >= 0 and any(f"{q}{key}{q}" in text for key in NAMES[:2] for q in "\"'") else -1


def _unreadable(stop: StopReason, opening: str) -> str:
    """Why there is no object to read after the opening tag, in words that help the model."""
    if stop != "end":
        return f"the call is not whole: {_ended(stop)}"
    return f'the call is not JSON; expected {opening} and then {{"name": "…", "arguments": {{…}}}}'


def _ended(stop: StopReason) -> str:
    return "max_tokens was reached" if stop == "length" else "it was interrupted"
