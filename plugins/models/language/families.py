"""How a family of models is spoken to: found by asking its tokenizer and its template, never by a name.

The template is given a call: the form (`forms`) whose spelling comes out is the model's own. Where one does,
the model can be spoken to natively: calls, results and tools in the template's own fields, as it was trained.

    form        whose templates write it so       a call
    hermes      Qwen2.5, Qwen3                    <tool_call>{"name": …, "arguments": …}</tool_call>
    qwen-xml    Qwen3-Coder, Qwen3.5, 3.6, 3.8    <tool_call><function=…><parameter=…>…
    llama3      Llama 3.1, 3.2, 3.3               {"name": …, "parameters": …}
    deepseek    DeepSeek V3.1; -r1: V3, R1        <｜tool▁call▁begin｜>…<｜tool▁sep｜>…
    kimi        Kimi K2, K2.5                     <|tool_call_begin|>functions.…:0…
    harmony     gpt-oss                           to=functions.…<|channel|>commentary json…

Small models, and all whose template writes none of these, are told of their tools in signatures and asked for
Hermes's form: `choose` says which, and the setting `model.tool_list`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jinja2 import TemplateError

from continualcode.core.data import Call, Json, Message, ParsedTurn, Sample, ToolSpec
from continualcode.core.errors import ConfigError, ModelUnavailable, UsageError
from continualcode.plugins.models.language import calls, deepseek, harmony, kimi
from continualcode.plugins.models.language.forms import Form
from continualcode.plugins.models.language.hermes import Hermes
from continualcode.plugins.models.language.llama3 import Llama3
from continualcode.plugins.models.language.qwen_xml import QwenXml
from continualcode.plugins.models.language.templates import Template
from continualcode.plugins.models.language.tokens import Codec
from continualcode.plugins.models.language.turns import RESULT, Native, Plain, native_call

HERMES = Hermes()
FORMS: tuple[Form, ...] = (
    HERMES,
    QwenXml(),
    Llama3(),
    deepseek.V31,
    deepseek.R1,
    kimi.KIMI,
    harmony.HARMONY,
)

ToolList: TypeAlias = Literal["auto", "signatures", "native"]
"""How a model is told of its tools: in lines of our own, as its template does, or whichever `choose` says."""

SMALL = 2_000_000_000
"""Parameters below which a model is told in signatures: measured at 0.5 billion (`listing`), no higher."""

_PROBE = Call(tool="look_up", arguments={"words": "what is said", "count": 2})


@dataclass(frozen=True)
class Family:
    """What a template can do and a tokenizer has.

    form: how its own calls are written, None where it takes none. text_arguments: it takes their arguments as
    a string. lists_tools: it lists tools. merges: turns of one role must be merged, as far as is known.
    ends: the tokens that end the assistant's turn: the template's own first, then the tokenizer's.
    """

    form: Form | None
    text_arguments: bool
    lists_tools: bool
    has_tool_role: bool
    has_system_role: bool
    merges: bool
    ends: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its form's; for templates without calls, whether they are ChatML."""
        return self.form.name if self.form else "chat" if self.merges else "chatml"


def detect(tokenizer: Any, codec: Codec, template: Template) -> Family:
    """The family of a tokenizer of transformers. Raises ModelUnavailable where it has no chat template."""
    words = "what is said"
    user, assistant = {"role": "user", "content": "ask"}, {"role": "assistant", "content": words}
    said = template.attempt([user, assistant, user])
    if said is None or words not in said:
        raise ModelUnavailable("it has no chat template for user and assistant; use a model tuned to chat")
    system = template.attempt([{"role": "system", "content": words}, user])
    result = template.attempt([user, assistant, {"role": "tool", "content": words}])
    after = said.partition(words)[2]
    following = sorted((after.index(text), token) for text, token in codec.control.items() if text in after)
    ends = [token for _, token in following[:1]]
    if tokenizer.eos_token_id is not None:
        ends.append(int(tokenizer.eos_token_id))
    if not ends:
        raise ModelUnavailable("neither its chat template nor its tokenizer has a token that ends a turn")
    has_system_role = system is not None and words in system
    form, text_arguments = _form(template) if has_system_role else (None, False)
    spec: Json = {
        "name": "list_everything",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }
    listed = template.attempt([user], [{"type": "function", "function": spec}])
    lists_tools = listed is not None and "list_everything" in listed
    if form is not None and not lists_tools and not form.listing([spec]):
        form = None
    return Family(
        form=form,
        text_arguments=text_arguments,
        lists_tools=lists_tools,
        has_tool_role=result is not None and RESULT.format(words) in result,
        has_system_role=has_system_role,
        merges="<|im_start|>" not in codec.control,
        ends=tuple(dict.fromkeys(ends)),
    )


def _form(template: Template) -> tuple[Form | None, bool]:
    """The form that the template writes a call in, and whether it takes arguments as a string."""
    for form in FORMS:
        for text in (False, True):
            called = form.turn(calls.Said(""), native_call(_PROBE, 0, text=text))
            written = template.attempt([{"role": "user", "content": "ask"}, called])
            if written is not None and form.written(_PROBE) in written:
                return form, text
    return None, False


def choose(family: Family, wanted: ToolList, parameters: int | None) -> bool:
    """Whether a model is spoken to natively.

    auto: where its template can, unless it is known to have fewer than `SMALL` parameters. Raises ConfigError
    where what is wanted cannot be.
    """
    if wanted == "native" and family.form is None:
        known = ", ".join(form.name for form in FORMS)
        raise ConfigError(
            "model.tool_list: 'native', but this model's chat template writes no calls in a known form "
            f"({known}); allowed for it: auto, signatures"
        )
    if wanted == "auto":
        return family.form is not None and (parameters is None or parameters >= SMALL)
    return wanted == "native"


class Language:
    """One model's language: conversations to token ids, calls to text, tools to a grammar, and back.

    tokenizer: of transformers, with a chat template; ModelUnavailable where it has none. tool_list: the
    setting. thinking: whether a model that can reason before it answers is asked to. parameters: how many the
    model has, None where nobody says.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        tool_list: ToolList = "auto",
        thinking: bool = False,
        parameters: int | None = None,
    ) -> None:
        self.codec = Codec(tokenizer)
        self._template = Template(tokenizer, thinking)
        self.family = family = detect(tokenizer, self.codec, self._template)
        self.native = choose(family, tool_list, parameters)
        self.form = family.form if self.native and family.form else HERMES
        header = self._template.header()
        self._thinking = calls.THINK in header and calls.THOUGHT not in header
        self.header = tuple(self.codec.encode(header))
        self.stack = {"language": f"{self.form.name}, tools {'native' if self.native else 'as signatures'}"}
        if thinking:
            self.stack["language"] += ", thinking"
        self._turns = (
            Native(
                self.form,
                self.codec,
                text_arguments=family.text_arguments,
                lists_tools=family.lists_tools,
                thinking=self._thinking,
            )
            if self.native
            else Plain(
                self.form,
                self.codec,
                system_role=family.has_system_role,
                tool_role=family.has_tool_role,
                merges=family.merges,
            )
        )

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end the assistant's turn: where to stop sampling. The first is the usual one."""
        own = tuple(self.codec.control[text] for text in self.form.ends if text in self.codec.control)
        # A form that knows its ends knows them all: the template's may be the end of a message only.
        return own or self.family.ends

    # -- To the model --------------------------------------------------------------------------------

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The prompt: the template's own text, but other people's words in it are guarded (`tokens`).

        Where a completion's spelling is the usual one and the template shows it whole, a longer conversation
        begins with the ids of the shorter one and what the model said. Raises UsageError where it refuses.
        """
        turns, listed = self._turns.turns(messages, tools)
        if not turns:
            raise UsageError("a conversation without any message cannot be rendered")
        try:
            return tuple(self.codec.encode(self._template.text(turns, listed)))
        except (TemplateError, TypeError) as error:
            raise UsageError(f"the model's chat template refuses this conversation: {error}") from error

    def format_call(self, call: Call) -> str:
        """The call as the model would write it: a completion that the grammar allows."""
        return self.form.written(call)

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """The Lark grammar of one turn (llguidance's dialect), which is all that masks are derived from.

        Control tokens are named, everything else is text. Spaces are fixed, as a choice of spelling would be
        one more thing that a correction can change.
        """
        return self.form.grammar(tools, self.codec.literally) if tools else None

    # -- From the model ------------------------------------------------------------------------------

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """Read a completion; see `calls`. The span is in tokens, and holds the tags. Never raises."""
        specs = {tool.name: tool for tool in tools}
        found = calls.read(self.form, sample.text, specs, sample.stop, thinking=self._thinking)
        span = None if found.span is None else self.codec.span(sample.token_ids, *found.span)
        return ParsedTurn(text=found.text, call=found.call, how=found.how, why=found.why, span=span)
