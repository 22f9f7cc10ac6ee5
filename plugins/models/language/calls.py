"""Reads a completion as a call: what every family's form has in common.

A *form* (`forms.Form`, one file a family) finds a call in a text. What is asked of it then is the same for
all: is there such a tool, are its arguments an object, was the completion cut off. Under a grammar every
finished completion reads strictly. Without one models write nearly the right thing; what is meant beyond
doubt is repaired, and the result says so. A call that breaks off is not completed: what is missing is not
known. Which arguments a tool takes, by which names and of which types, is the core's to say (`core.schema`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from continualcode.core.data import Call, Json, StopReason, ToolSpec
from continualcode.core.errors import nearest
from continualcode.plugins.models.language import loose_json

if TYPE_CHECKING:
    from continualcode.plugins.models.language.forms import Form

NAMES = ("name", "tool", "function")
ARGUMENTS = ("arguments", "parameters", "args", "input")
LEFT_OUT = "text after the call was left out"
ANOTHER = "another call was left out: one call a turn"
THINK, THOUGHT = "<think>", "</think>"


class Written(NamedTuple):
    """A call as it stands in a text, characters `start` to `end`, before anyone asked for such a tool."""

    name: str
    arguments: Json
    start: int
    end: int
    repairs: tuple[str, ...] = ()


class Said(NamedTuple):
    """What a form makes of a text: words for the user, reasoning, and a call or what is wrong with one.

    whole: False where the form can see that something was to follow. sure: False where the end of the call
    may be words inside it, so that it only counts if the model itself ended there.
    """

    prose: str
    written: Written | None = None
    fault: str | None = None
    reasoning: str = ""
    whole: bool = True
    sure: bool = True


class Found(NamedTuple):
    """What a completion says. `span`: the characters of the call, half open, tags included."""

    text: str
    call: Call | None
    how: Literal["text", "ok", "repaired", "failed"]
    why: str | None = None
    span: tuple[int, int] | None = None
    reasoning: str = ""


def read(
    form: "Form", text: str, tools: Mapping[str, ToolSpec], stop: StopReason, *, thinking: bool = False
) -> Found:
    """A completion as text, as a call of one of `tools`, or as neither, and why. Never raises.

    thinking: the prompt has opened a block of reasoning that the completion goes on with.
    """
    begin = answer_begins(text, thinking)
    if begin is None:
        still = "it never stopped thinking" if stop == "end" else f"it was still thinking: {_ended(stop)}"
        return Found("", None, "failed", still, reasoning=text)
    said = form.read(text[begin:], tools) if tools else Said(form.prose(text[begin:]))
    reasoning = said.reasoning or thought(text[:begin])
    if said.fault is not None:
        fault = said.fault if stop == "end" else f"the call is not whole: {_ended(stop)}"
        return Found(said.prose, None, "failed", fault, reasoning=reasoning)
    if said.written is None:
        why = None if stop == "end" else _ended(stop)
        why = "there is no answer after what it thought" if why is None and not said.whole else why
        if why is None:
            return Found(said.prose, None, "text", reasoning=reasoning)
        how: Literal["failed", "text"] = "failed" if tools else "text"
        return Found(said.prose, None, how, f"the answer is not whole: {why}", reasoning=reasoning)
    if not said.sure and stop != "end":
        return Found(said.prose, None, "failed", f"the call may not be whole: {_ended(stop)}")
    return _checked(said.prose, said.written, tools, begin)._replace(reasoning=reasoning)


def answer_begins(text: str, thinking: bool) -> int | None:
    """Where a completion's block of reasoning ends, 0 if it has none; None: it does not end."""
    if not thinking and not text.lstrip().startswith(THINK):
        return 0
    end = text.find(THOUGHT)
    if end < 0:
        return None
    end += len(THOUGHT)
    return end + len(text[end:]) - len(text[end:].lstrip("\n"))


def thought(text: str) -> str:
    """What stands in a block of reasoning."""
    return text.strip().removeprefix(THINK).removesuffix(THOUGHT).strip()


def _checked(text: str, written: Written, tools: Mapping[str, ToolSpec], begin: int) -> Found:
    """The call as one of `tools`; `begin` is where the text that it was found in begins."""
    span = written.start + begin, written.end + begin
    name, arguments, repairs = written.name, written.arguments, list(written.repairs)
    if name not in tools:
        return Found(text, None, "failed", f"there is no tool {name!r}; {nearest(name, tools)}", span)
    if isinstance(arguments, str):
        held = loose_json.read(arguments, arguments.find("{")) if "{" in arguments else None
        if held is not None:
            arguments = held.value
            repairs.append("the arguments were a string of JSON")
    if not isinstance(arguments, dict):
        return Found(text, None, "failed", f"the arguments of {name} are not an object", span)
    call = Call(tool=name, arguments=cast("dict[str, Json]", arguments))
    return Found(text, call, "repaired" if repairs else "ok", "; ".join(repairs) or None, span)


def _ended(stop: StopReason) -> str:
    return "max_tokens was reached" if stop == "length" else "it was interrupted"


# -- What forms are made of --------------------------------------------------------------------------


def named(value: Json, usual: str) -> tuple[str, Json, list[str]] | str:
    """An object that names a tool as (name, arguments, repairs), or what is wrong with it.

    usual: the family's own name for the arguments.
    """
    fields = cast("dict[str, Json]", value) if isinstance(value, dict) else {}
    repairs: list[str] = []
    inner = fields.get("function")
    if isinstance(inner, dict):
        fields = cast("dict[str, Json]", inner)
        repairs.append("the call was inside 'function'")
    name_key = next((key for key in NAMES if isinstance(fields.get(key), str)), None)
    if name_key is None:
        return "the call does not name a tool: there is no 'name'"
    if name_key != NAMES[0]:
        repairs.append(f"{name_key!r} read as 'name'")
    key = next((key for key in (usual, *ARGUMENTS) if key in fields), None)
    if key is None:
        repairs.append(f"no {usual!r}: none taken")
    elif key != usual:
        repairs.append(f"{key!r} read as {usual!r}")
    return str(fields[name_key]), fields[key] if key else {}, repairs


def closed(text: str, end: int, closing: str) -> tuple[int, list[str]]:
    """Where a call that ends at `end` ends with its closing text, and a repair where that is missing."""
    after = text[end:]
    skipped = len(after) - len(after.lstrip())
    if after.startswith(closing) or after[skipped:].startswith(closing.strip()):
        return text.index(closing.strip(), end) + len(closing.strip()) if closing.strip() else end, []
    return end, [f"no {closing.strip()} after the call"]


def followed(text: str, end: int, opening: str) -> list[str]:
    """What is said of words after a call: nothing, that they were left out, that they were another call."""
    rest = text[end:]
    if not rest.strip():
        return []
    return [ANOTHER if opening in rest else LEFT_OUT]
