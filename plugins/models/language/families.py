"""How a family of models is spoken to: its chat template, its form of a call, the grammar of its turn.

All write a call as Hermes and Qwen do, one JSON object between tags, because one grammar and one parser
then serve all; what differs is found by asking the tokenizer and the template, never by a model's name:

    qwen    ChatML; the tags are tokens of their own; the template wraps tool results in <tool_response>
    smollm  ChatML; the tags are plain text; the template has no form for results, so they are user turns
    chat    any other template: tags as plain text, results as user turns, neighbours of one role merged,
            and the system text put before the first user turn where the template has no such role

Small models seldom begin a call unaided (Qwen2.5-Coder-0.5B writes prose instead), so a turn *is* a call:
the grammar starts with the tag. The user is answered through a tool that ends the turn; only where no tool
does may a turn be plain text instead.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jinja2 import TemplateError

from continualcode.core.data import Call, Json, Message, ParsedTurn, Sample, ToolSpec
from continualcode.core.errors import ModelUnavailable, UsageError
from continualcode.plugins.models.language import calls
from continualcode.plugins.models.language.listing import listing
from continualcode.plugins.models.language.tokens import Codec

OPEN, CLOSE = "<tool_call>", "</tool_call>"
RESULT = "<tool_response>\n{}\n</tool_response>"

Turn: TypeAlias = dict[str, str]
"""A role and a content, as chat templates take them."""

Template: TypeAlias = Callable[[Sequence[Turn]], str]
"""The model's chat template, with the beginning of the assistant's turn at the end."""


@dataclass(frozen=True)
class Family:
    """What a template can do and a tokenizer has.

    `ends` are the tokens that end the assistant's turn: the template's own first, then the tokenizer's.
    """

    name: Literal["qwen", "smollm", "chat"]
    tags_are_tokens: bool
    has_tool_role: bool
    has_system_role: bool
    ends: tuple[int, ...]


def detect(tokenizer: Any, codec: Codec, template: Template) -> Family:
    """The family of a tokenizer of transformers: what it has, what its template makes of a few turns."""
    words = "what is said"
    user, assistant = {"role": "user", "content": "ask"}, {"role": "assistant", "content": words}
    said = _attempt(template, [user, assistant, user])
    if said is None or words not in said:
        raise ModelUnavailable("it has no chat template for user and assistant; use a model tuned to chat")
    system = _attempt(template, [{"role": "system", "content": words}, user])
    result = _attempt(template, [user, assistant, {"role": "tool", "content": words}])
    chatml = "<|im_start|>" in codec.control
    tags_are_tokens = OPEN in codec.control and CLOSE in codec.control
    has_tool_role = result is not None and RESULT.format(words) in result
    after = said.partition(words)[2]
    following = sorted((after.index(text), token) for text, token in codec.control.items() if text in after)
    ends = [token for _, token in following[:1]]
    if tokenizer.eos_token_id is not None:
        ends.append(int(tokenizer.eos_token_id))
    if not ends:
        raise ModelUnavailable("neither its chat template nor its tokenizer has a token that ends a turn")
    return Family(
        name="qwen" if chatml and tags_are_tokens and has_tool_role else "smollm" if chatml else "chat",
        tags_are_tokens=tags_are_tokens,
        has_tool_role=has_tool_role,
        has_system_role=system is not None and words in system,
        ends=tuple(dict.fromkeys(ends)),
    )


def _attempt(template: Template, turns: Sequence[Turn]) -> str | None:
    """What the template makes of `turns`; None where it refuses them, as some do by raising."""
    try:
        return template(turns)
    except (TemplateError, TypeError, ValueError):
        return None


class Language:
    """One model's language: conversations to token ids, calls to text, tools to a grammar, and back."""

    def __init__(self, tokenizer: Any) -> None:
        """Of a tokenizer of transformers with a chat template. Raises ModelUnavailable where it has none."""

        def template(turns: Sequence[Turn]) -> str:
            text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            return text

        self.codec = Codec(tokenizer)
        self.family = detect(tokenizer, self.codec, template)
        self._template = template

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end the assistant's turn, the template's own first: where to stop sampling."""
        return self.family.ends

    # -- To the model --------------------------------------------------------------------------------

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The prompt. Other people's words are guarded; the tags of the model's own calls count as tokens.

        A completion whose text is an earlier turn's is rendered as it was drawn, so a longer conversation
        begins with the ids of the shorter one and what the model said (where it spelled canonically).
        """
        turns = list(self._turns(messages, tools))
        if not turns:
            raise UsageError("a conversation without any message cannot be rendered")
        try:
            return tuple(self.codec.encode(self._template(turns)))
        except (TemplateError, TypeError) as error:
            raise UsageError(f"the model's chat template refuses this conversation: {error}") from error

    def format_call(self, call: Call) -> str:
        """The call as the model would write it: a completion that the grammar allows."""
        body = json.dumps({"name": call.tool, "arguments": call.arguments}, ensure_ascii=False)
        body = body.replace(
            "\x7f", "\\u007f"
        )  # the one control character that JSON leaves and the grammar does not
        return f"{OPEN}\n{body}\n{CLOSE}"

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """The Lark grammar of one turn (llguidance's dialect), which is all that masks are derived from.

        A tag that is a token is named bare; one that is text is a string. Spaces are fixed, as a choice
        of spelling would be one more thing that a correction can change.
        """
        if not tools:
            return None
        schema: Json = {
            "anyOf": [_call_schema(tool) for tool in tools],
            "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
        }
        begin, finish = (OPEN, CLOSE) if self.family.tags_are_tokens else (f'"{OPEN}"', f'"{CLOSE}"')
        answers = any(tool.ends_turn for tool in tools)
        start = "call" if answers else "call | PROSE"
        prose = "" if answers else "PROSE: /[^<](.|\\n)*/\n"
        call = f'{begin} "\\n" body "\\n" {finish}'
        return f"start: {start}\ncall: {call}\n{prose}body: %json {json.dumps(schema)}\n"

    # -- From the model ------------------------------------------------------------------------------

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """Read a completion; see `calls`. The span is in tokens, and holds the tags."""
        found = calls.read(sample.text, {tool.name: tool for tool in tools}, sample.stop, OPEN, CLOSE)
        span = None if found.span is None else self.codec.span(sample.token_ids, *found.span)
        return ParsedTurn(text=found.text, call=found.call, how=found.how, why=found.why, span=span)

    # -- Turns ---------------------------------------------------------------------------------------

    def _turns(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Iterator[Turn]:
        """The turns as the template gets them: roles that it knows, words guarded."""
        head = next((m.text for m in messages[:1] if m.role == "system"), "")
        system = self.codec.guard(head)
        if tools:
            system += ("\n" if head else "") + listing(tools, self.codec.guard, self.format_call)
        turns = [{"role": "system", "content": system}] if system else []
        turns += [self._turn(m) for m in messages[1 if messages and messages[0].role == "system" else 0 :]]
        if system and not self.family.has_system_role:
            turns[0]["role"] = "user"
        if self.family.name != "chat":
            yield from turns
            return
        while turns:
            turn = turns.pop(0)
            while turns and turns[0]["role"] == turn["role"]:
                turn["content"] += "\n\n" + turns.pop(0)["content"]
            yield turn

    def _turn(self, message: Message) -> Turn:
        if message.role == "assistant":
            called = self.format_call(message.call) if message.call else ""
            return {"role": "assistant", "content": self._own(message.text or called)}
        words = self.codec.guard(message.text)
        if message.role != "tool":
            return {"role": "user", "content": words}
        if self.family.has_tool_role:
            return {"role": "tool", "content": words}
        return {"role": "user", "content": RESULT.format(words)}

    def _own(self, text: str) -> str:
        """What the model said, as it said it: the first opening and the last closing tag are its own."""
        before, opened, rest = text.partition(OPEN)
        if not opened:
            return self.codec.guard(text)
        body, closed, after = rest.rpartition(CLOSE)
        if not closed:
            body, after = rest, ""
        guard = self.codec.guard
        return f"{guard(before)}{opened}{guard(body)}{closed}{guard(after)}"


def _call_schema(tool: ToolSpec) -> Json:
    """The JSON schema of one call of `tool`: no argument that the tool does not name, unless it says so."""
    arguments = {"additionalProperties": False, **tool.parameters}
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
