"""A model's tokenizer: what transformers makes of its files, kept, as transformers takes seconds to import.

transformers does more than to read tokenizer.json (it may add a normaliser, tokens, a template). So the first
time it is asked, and its answer is written down beside the models; from then on that is read, with
`tokenizers` and jinja2 alone, while the files and the versions stay the same. So are the bytes of each token,
which llguidance takes half a second to find.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from llguidance import LLTokenizer, TokenizerWrapper
from tokenizers import Tokenizer

from continualcode.plugins.models.identity import tokenizer_files
from continualcode.plugins.models.local.disk import write_if_possible

FORMAT = "1"
"""Of what is kept: another one is made anew."""

LIBRARIES = ("transformers", "tokenizers", "llguidance")


class Added(msgspec.Struct, frozen=True):
    """A token that was added to a vocabulary."""

    content: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What transformers says of a tokenizer. backend: the JSON of `tokenizers`. names: of special tokens.

    table: each token's bytes, over the model's whole vocabulary. special: those that are no text.
    """

    backend: str
    template: str
    names: dict[str, str]
    eos: int | None
    added: dict[int, Added]
    table: list[bytes]
    special: list[int]


class Kept:
    """A tokenizer as `language` takes it."""

    is_fast = True

    def __init__(self, told: Told) -> None:
        backend: Any = Tokenizer
        self.backend_tokenizer: Tokenizer = backend.from_str(told.backend)
        self.added_tokens_decoder = told.added
        self.eos_token_id = told.eos
        self.table = told.table
        self.special = told.special
        self._names = told.names
        self._template = environment().from_string(told.template)

    def apply_chat_template(
        self,
        turns: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        **options: Any,
    ) -> str:
        """The text that the template makes of a conversation. Raises what the template raises."""
        said = [{name: value for name, value in turn.items() if value is not None} for turn in turns]
        given = {**self._names, **options}
        return self._template.render(
            messages=[_reasoned(turn) for turn in said],
            tools=tools,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **given,
        )


def environment() -> ImmutableSandboxedEnvironment:
    """Where chat templates are rendered: jinja2 with what transformers gives them."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def now(form: str) -> str:
        return datetime.now().strftime(form)

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = tojson
    globals: dict[str, Any] = made.globals
    globals.update(raise_exception=refuse, strftime_now=now, dict=_Dict(), namespace=_Namespace)
    return made


class _Dict:
    """`dict` for templates, without its attributes: they come from anyone."""

    def __call__(self, *given: Any, **named: Any) -> dict[Any, Any]:
        return dict(*given, **named)


class _Namespace(Namespace):
    """`namespace` for templates: one that cannot pass for another object by names with underscores."""

    def __init__(*args: Any, **named: Any) -> None:
        for name in dict(*args[1:], **named):
            _checked(name)
        Namespace.__init__(*args, **named)

    def __setitem__(self, name: str, value: Any) -> None:
        _checked(name)
        super().__setitem__(name, value)


def _checked(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a chat template cannot keep anything under the name {name!r}")


def _reasoned(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn with its reasoning under the names that templates read, as transformers does it."""
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((turn[name] for name in names if turn.get(name) is not None), None)
    return turn if reasoning is None else {"thinking": reasoning, **turn, "reasoning_content": reasoning}


def for_grammars(tokenizer: Any, vocabulary: int, end: int) -> LLTokenizer:
    """What llguidance makes of a tokenizer, for a model with logits over `vocabulary` tokens.

    Without its table of slices: that is .4 seconds, and saves .2 milliseconds a mask.
    """
    if isinstance(tokenizer, Kept) and len(tokenizer.table) == vocabulary:
        return LLTokenizer(
            TokenizerWrapper(_Tokens(tokenizer, end)), n_vocab=vocabulary, eos_token=end, slices=[]
        )
    backend = copy(tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    return LLTokenizer(backend.to_str(), n_vocab=vocabulary, eos_token=end, slices=[])


class _Tokens:
    """A tokenizer as llguidance asks it, in bytes."""

    bos_token_id = None

    def __init__(self, kept: Kept, end: int) -> None:
        self._backend = kept.backend_tokenizer
        self.tokens, self.special_token_ids, self.eos_token_id = kept.table, kept.special, end

    def __call__(self, text: bytes) -> list[int]:
        return self._backend.encode(text.decode(), add_special_tokens=False).ids


def load(folder: Path, cache: Path, vocabulary: int) -> Any:
    """The tokenizer in `folder`; what transformers raises where it cannot make one."""
    path = cache / ".tokenizers" / f"{_key(folder, vocabulary)}.msgpack"
    with contextlib.suppress(OSError, msgspec.MsgspecError, TemplateError):
        return Kept(msgspec.msgpack.decode(path.read_bytes(), type=Told))
    from continualcode.plugins.models.local import general

    made = general.tokenizer(folder)
    told = _told(made, vocabulary)
    if told is not None:
        write_if_possible(path, msgspec.msgpack.encode(told))
    return made


def _told(tokenizer: Any, vocabulary: int) -> Told | None:
    """What to keep of a tokenizer of transformers; None where ours would not be the same."""
    if not getattr(tokenizer, "is_fast", False) or not isinstance(tokenizer.chat_template, str):
        return None
    table = for_grammars(tokenizer, vocabulary, tokenizer.eos_token_id or 0)
    told = Told(
        backend=tokenizer.backend_tokenizer.to_str(),
        template=tokenizer.chat_template,
        names={
            name: str(text) for name, text in tokenizer.special_tokens_map.items() if isinstance(text, str)
        },
        eos=tokenizer.eos_token_id,
        added={token: Added(each.content) for token, each in tokenizer.added_tokens_decoder.items()},
        table=[table.decode_bytes([token]) for token in range(vocabulary)],
        special=[token for token in range(vocabulary) if table.is_special_token(token)],
    )
    try:
        ours = Kept(told)
    except TemplateError:  # it uses what only transformers knows
        return None
    return told if all(_text(ours, *probe) == _text(tokenizer, *probe) for probe in PROBES) else None


def _text(tokenizer: Any, turns: list[dict[str, Any]], tools: list[Any] | None) -> str | None:
    try:
        text: str = tokenizer.apply_chat_template(
            turns, tools=tools, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None
    return text


_CALL = {
    "type": "function",
    "function": {"name": "look_up", "arguments": {"words": "<what> is 'said'", "count": 2}},
}
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks é & <up>.",
        "parameters": {"type": "object", "properties": {}},
    },
}
_USER, _SAID = {"role": "user", "content": "ask"}, {"role": "assistant", "content": " what is said \n"}
_CALLED = {"role": "assistant", "content": None, "reasoning_content": "why", "tool_calls": [_CALL]}
_RESULT = {"role": "tool", "name": "look_up", "content": "found\n"}

PROBES: tuple[tuple[list[dict[str, Any]], list[Any] | None], ...] = (
    ([_USER], None),
    ([{"role": "system", "content": " be brief "}, _USER, _SAID, _USER], None),
    ([_USER, _SAID, _RESULT], None),
    ([_USER, _CALLED, _RESULT, _USER], [_TOOL]),
    ([{"role": "system", "content": "x"}, _USER, _CALLED, _RESULT, _RESULT, _SAID, _USER, _CALLED], [_TOOL]),
    ([_SAID, _USER, _USER], [_TOOL, _TOOL]),
)
"""Conversations on which a template must say in our environment what it says in transformers'."""


def _key(folder: Path, vocabulary: int) -> str:
    """Of the files that transformers makes a tokenizer of, by content, and of the libraries' versions."""
    made_by = [FORMAT, str(vocabulary), *(version(name) for name in LIBRARIES)]
    sha = hashlib.sha256(" ".join(made_by).encode())
    small = [path for path in folder.iterdir() if path.suffix in {".json", ".jinja"}]
    for path in sorted({*small, *tokenizer_files(folder)}):
        if path.name != "manifest.json" and not path.name.endswith(".index.json"):
            content = path.read_bytes()
            sha.update(f"\n{path.name} {len(content)}\n".encode())
            sha.update(content)
    return sha.hexdigest()[:32]
