"""What a family's form of a call must be able to do, and what the forms share.

A form is how a family writes a call in a completion: Hermes's object between tags, Qwen's XML, Llama's bare
object, DeepSeek's, Kimi's and harmony's frames of control tokens. Each is one object in one file. Which one
a model has is found by giving its template a call and looking which form's spelling comes out (`families`).
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from continualcode.core.data import Call, Json, ToolSpec
from continualcode.plugins.models.language import loose_json
from continualcode.plugins.models.language.calls import ANOTHER, LEFT_OUT, Said, Written

Turn: TypeAlias = dict[str, Any]
"""A message as chat templates take it: role, content, and for calls what transformers' templates expect."""

Literally: TypeAlias = Callable[[str], str]
"""A text as a Lark expression for it, control tokens as tokens."""


class Form(Protocol):
    """How one family writes calls. Its methods are pure, and raise nothing on any text."""

    @property
    def name(self) -> str: ...

    @property
    def ends(self) -> tuple[str, ...]:
        """The control tokens that end a turn, before the template's own; usually none."""
        ...

    def written(self, call: Call) -> str:
        """The call as the model would write it, without the token that ends the turn."""
        ...

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """What a completion without its block of `<think>` says; the first call in it counts."""
        ...

    def prose(self, text: str) -> str:
        """What a completion without a call says to the user."""
        ...

    def grammar(self, tools: Sequence[ToolSpec], literally: Literally) -> str:
        """The Lark grammar (llguidance's dialect) of one turn."""
        ...

    def listing(self, functions: Sequence[Json]) -> str:
        """The tools as its makers tell users to list them, where templates don't; empty: templates do.

        functions: name, description and parameters of each, as JSON.
        """
        ...

    def turn(self, said: Said, call: Json | None) -> Turn:
        """An earlier completion as a turn for the template; `call` as templates take one."""
        ...


def function(tool: ToolSpec) -> Json:
    """A tool as templates, and most APIs, take one."""
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters}


def dumps(value: Json) -> str:
    """JSON as chat templates write it (transformers' `tojson`)."""
    return json.dumps(value, ensure_ascii=False)


def arguments_schema(tool: ToolSpec) -> Json:
    """The schema of a tool's arguments: none that the tool does not name, unless it says so."""
    return {"additionalProperties": False, **tool.parameters}


SPACES: Json = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""For llguidance: a choice of spelling would be one more thing that a correction can change."""


def turn_grammar(tools: Sequence[ToolSpec], call: str, prose: str) -> str:
    """A turn that is a call; the user is answered through a tool. Where no tool does, it may be prose.

    Small models seldom begin a call unaided, so it is not left to them.
    """
    if any(tool.ends_turn for tool in tools):
        return f"start: call\n{call}"
    return f"start: call | PROSE\n{call}PROSE: {prose}\n"


class Plain:
    """What most forms have in common: prose is prose, templates list the tools, and reasoning has a field."""

    ends: tuple[str, ...] = ()

    def prose(self, text: str) -> str:
        """The text as it is."""
        return text

    def listing(self, functions: Sequence[Json]) -> str:
        """Nothing: the template lists the tools."""
        return ""

    def turn(self, said: Said, call: Json | None) -> Turn:
        """The usual fields. An empty `reasoning_content` keeps templates from looking for one in the text."""
        turn: Turn = {"role": "assistant", "content": said.prose, "reasoning_content": said.reasoning}
        return turn if call is None else {**turn, "tool_calls": [call]}


class Framed(Plain):
    """A form that names the tool in a frame around a JSON object of arguments.

    header: finds where a call begins, however carelessly written; its group `name` is the tool.
    before, after: the frame as it should be, `{name}` for the tool.
    """

    def __init__(self, name: str, header: str, before: str, after: str) -> None:
        self.name = name
        self._header = re.compile(header)
        self._before = before
        self._after = after
        self._closing = [re.escape(part.strip()) for part in re.split("(?=<)", after) if part.strip()]

    def before(self, name: str) -> str:
        """What stands before the arguments of a call of `name`."""
        return self._before.format(name=name)

    def written(self, call: Call) -> str:
        """The frame with the arguments in it."""
        return f"{self.before(call.tool)}{dumps(call.arguments)}{self._after}"

    def read(self, text: str, tools: Mapping[str, ToolSpec]) -> Said:
        """The first frame in the text."""
        found = self._header.search(text)
        if found is None:
            return Said(text)
        name, start = found["name"].strip(), found.start()
        prose, usual = text[:start].strip(), self.spelled(found, name)
        value = loose_json.read(text, found.end())
        if value is None:
            return Said(prose, fault=f"the arguments are not JSON; expected {usual}{{…}}{self._after}")
        repairs = [] if found[0] == usual else [f"{found[0]!r} read as {usual!r}"]
        repairs += value.repairs
        end, parts = value.end, 0
        for part in self._closing:
            if (closing := re.compile(rf"\s*{part}").match(text, end)) is not None:
                end, parts = closing.end(), parts + 1
        if self._header.search(text, end) is not None:
            repairs.append(ANOTHER)
        else:
            repairs += [] if parts == len(self._closing) else [f"no {self._after.strip()} after the call"]
            repairs += [LEFT_OUT] if text[end:].strip() else []
        return Said(prose, Written(name, value.value, start, end, tuple(repairs)))

    def spelled(self, found: re.Match[str], name: str) -> str:
        """The beginning that was found, as it should be spelled."""
        return self.before(name)

    def grammar(self, tools: Sequence[ToolSpec], literally: Literally) -> str:
        """A choice among the tools, each with its frame and its schema."""
        rules = [f"call: {' | '.join(f'call{i}' for i in range(len(tools)))}\n"]
        for i, tool in enumerate(tools):
            schema = {**arguments_schema(tool), "x-guidance": SPACES}
            frame = f"{literally(self.before(tool.name))} body{i} {literally(self._after)}"
            rules.append(f"call{i}: {frame}\nbody{i}: %json {json.dumps(schema)}\n")
        return turn_grammar(tools, "".join(rules), "/[^<{](.|\\n)*/")
