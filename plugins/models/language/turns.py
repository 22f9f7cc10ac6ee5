"""A conversation as the turns that a chat template gets: in plain words, or as the template was made for.

Plain: calls are text in turns of text, the tools a list of signatures in the system message. That is what
small models do best with, and all that some templates can do (`listing`, docs/models.md).
Native: calls, results, reasoning and tools in the template's own fields, so the model reads what it was
trained on. What a model once said is read again by its form; what cannot be read stays text.

Both guard other people's words, and in what the model said everything but the markup of its own call.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from continualcode.core.data import Call, Json, Message, ToolSpec
from continualcode.plugins.models.language import calls
from continualcode.plugins.models.language.calls import Said
from continualcode.plugins.models.language.forms import Form, Turn, dumps, function
from continualcode.plugins.models.language.hermes import CLOSE, OPEN
from continualcode.plugins.models.language.listing import listing
from continualcode.plugins.models.language.tokens import Codec

RESULT = "<tool_response>\n{}\n</tool_response>"


class Turns(NamedTuple):
    """What the template is given: the turns, and the tools where it lists them itself."""

    turns: list[Turn]
    tools: list[Json] | None = None


class Plain:
    """Text alone. What the template has no role for is put where it has one."""

    def __init__(self, form: Form, codec: Codec, *, system_role: bool, tool_role: bool, merges: bool) -> None:
        self._form = form
        self._codec = codec
        self._system_role = system_role
        self._tool_role = tool_role
        self._merges = merges

    def turns(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Turns:
        """Roles that the template knows, words guarded; neighbours of one role merged where it wants that."""
        head, rest = split(messages)
        system = self._codec.guard(head)
        if tools:
            system += ("\n" if head else "") + listing(tools, self._codec.guard, self._form.written)
        turns: list[Turn] = [{"role": "system", "content": system}] if system else []
        turns += [self._turn(m) for m in rest]
        if system and not self._system_role:
            turns[0]["role"] = "user"
        return Turns(list(_merged(turns)) if self._merges else turns)

    def _turn(self, message: Message) -> Turn:
        if message.role == "assistant":
            called = self._form.written(message.call) if message.call else ""
            return {"role": "assistant", "content": self._own(message.text or called)}
        words = self._codec.guard(message.text)
        if message.role != "tool":
            return {"role": "user", "content": words}
        if self._tool_role:
            return {"role": "tool", "content": words}
        return {"role": "user", "content": RESULT.format(words)}

    def _own(self, text: str) -> str:
        """What the model said, as it said it: the first opening and the last closing tag are its own."""
        before, opened, rest = text.partition(OPEN)
        if not opened:
            return self._codec.guard(text)
        body, closed, after = rest.rpartition(CLOSE)
        if not closed:
            body, after = rest, ""
        guard = self._codec.guard
        return f"{guard(before)}{opened}{guard(body)}{closed}{guard(after)}"


class Native:
    """The template's own fields.

    text_arguments: the template takes a call's arguments as a string of JSON. lists_tools: it lists tools.
    thinking: its prompts end inside a block of reasoning.
    """

    def __init__(
        self, form: Form, codec: Codec, *, text_arguments: bool, lists_tools: bool, thinking: bool
    ) -> None:
        self._form = form
        self._codec = codec
        self._text_arguments = text_arguments
        self._lists_tools = lists_tools
        self._thinking = thinking

    def turns(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Turns:
        """The conversation, calls numbered; a result without a call before it is told in a user's turn."""
        head, rest = split(messages)
        system = self._codec.guard(head)
        functions = [cast("dict[str, Json]", self._guarded(function(tool))) for tool in tools]
        if functions and not self._lists_tools:
            system += ("\n\n" if head else "") + self._form.listing(functions)
        turns: list[Turn] = [{"role": "system", "content": system}] if system else []
        specs = {tool.name: tool for tool in tools}
        count, open_call = 0, None
        for message in rest:
            if message.role == "assistant":
                said, call = self._said(message, specs)
                open_call = None if call is None else native_call(call, count, text=self._text_arguments)
                count += open_call is not None
                turns.append(self._form.turn(said, open_call))
                continue
            words = self._codec.guard(message.text)
            if message.role == "tool" and open_call is not None:
                name = open_call["function"]["name"]
                turns.append(
                    {"role": "tool", "content": words, "tool_call_id": open_call["id"], "name": name}
                )
            else:
                turns.append({"role": "user", "content": words})
            open_call = None
        listed = [{"type": "function", "function": f} for f in functions] if self._lists_tools else None
        return Turns(turns, listed or None)

    def _said(self, message: Message, specs: Mapping[str, ToolSpec]) -> tuple[Said, Call | None]:
        """An assistant's message as what it said and the call that it made, both guarded."""
        guard = self._codec.guard
        if not message.text and message.call is not None:
            return Said(""), self._guarded_call(message.call.tool, message.call.arguments)
        begin = calls.answer_begins(message.text, self._thinking)
        if begin is None and message.text.lstrip().startswith(calls.THINK):
            return Said("", reasoning=guard(message.text)), None
        begin = begin or 0  # in no block that it opened itself: as after an edit, which has no reasoning
        said = self._form.read(message.text[begin:], specs)
        thought = said.reasoning or calls.thought(message.text[:begin])
        written = said.written
        if written is None or not isinstance(written.arguments, dict):
            # Nothing to read: as it was said, but its markup is text now.
            prose = said.prose if said.fault is None and written is None else message.text[begin:]
            return Said(guard(prose), reasoning=guard(thought)), None
        arguments = cast("dict[str, Json]", written.arguments)
        return Said(guard(said.prose), reasoning=guard(thought)), self._guarded_call(written.name, arguments)

    def _guarded_call(self, name: str, arguments: dict[str, Json]) -> Call:
        return Call(tool=self._codec.guard(name), arguments=cast("dict[str, Json]", self._guarded(arguments)))

    def _guarded(self, value: Json) -> Json:
        """`value` with every string in it guarded."""
        if isinstance(value, str):
            return self._codec.guard(value)
        if isinstance(value, dict):
            fields = cast("dict[str, Json]", value)
            return {self._codec.guard(name): self._guarded(held) for name, held in fields.items()}
        if isinstance(value, list | tuple):
            return [self._guarded(held) for held in cast("Sequence[Json]", value)]
        return value


def native_call(call: Call, index: int, *, text: bool) -> dict[str, Json]:
    """A call as templates take one; its id is in Kimi's form, which no other family looks at."""
    arguments = dumps(call.arguments) if text else call.arguments
    return {
        "id": f"functions.{call.tool}:{index}",
        "type": "function",
        "function": {"name": call.tool, "arguments": arguments},
    }


def split(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """The system message's text, if the first is one, and the others."""
    if messages and messages[0].role == "system":
        return messages[0].text, messages[1:]
    return "", messages


def _merged(turns: list[Turn]) -> Iterator[Turn]:
    while turns:
        turn = turns.pop(0)
        while turns and turns[0]["role"] == turn["role"]:
            turn["content"] += "\n\n" + turns.pop(0)["content"]
        yield turn
