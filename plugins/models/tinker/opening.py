"""How a turn begins: with the call itself, as the server takes no grammar.

A small model left alone seldom calls a tool at all. A server cannot mask tokens, but a completion can be
given its first ones: the call as the family writes it, up to the tool's name, or up to the arguments where
there is one tool. They are part of the completion, with logprob 0 as all that was forced, and carry no loss.

The grammar that is logged says just that, in the language of the local model's grammars, so that it can
learn from such a log as well. Its first line holds the opening as JSON.
"""

import json
import os.path
import re
from collections.abc import Collection, Sequence

from continualcode.core.data import Call, ToolSpec
from continualcode.plugins.models.language.families import Language

MARK = "// opens "


def grammar(language: Language, tools: Sequence[ToolSpec]) -> str | None:
    """The grammar of a turn that begins as a call of one of `tools`; None where there are none."""
    if not tools:
        return None
    names = (
        [tools[0].name] if len(tools) == 1 else ["a", "z"]
    )  # with several, up to where any name would begin
    arguments: list[dict[str, int]] = [{"a": 1}, {"z": 1}] if len(tools) == 1 else [{}]
    spelled = [language.format_call(Call(tool=n, arguments=a)) for n in names for a in arguments]
    head = os.path.commonprefix(spelled).removesuffix('"' if len(tools) == 1 else "")
    parts = " ".join(_quoted(part, language.codec.control) for part in _split(head, language.codec.control))
    return f"{MARK}{json.dumps(head)}\nstart: {parts} REST\nREST: /(.|\\n)*/\n"


def head(text: str | None) -> str | None:
    """What a completion begins with by the grammar `text`; None: it is no grammar of ours."""
    if text is None or not text.startswith(MARK):
        return None
    return str(json.loads(text.partition("\n")[0].removeprefix(MARK)))


def _split(text: str, control: Collection[str]) -> list[str]:
    """`text` in pieces that are control strings or hold none."""
    either = "|".join(re.escape(word) for word in control)
    return [part for part in re.split(f"({either})", text) if part] if either else [text]


def _quoted(part: str, control: Collection[str]) -> str:
    bare = part in control and re.fullmatch(r"<[^<>\s]+>", part)
    return part if bare else json.dumps(part, ensure_ascii=False)
