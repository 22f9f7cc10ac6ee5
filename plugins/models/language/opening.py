"""How a turn begins where nothing else is constrained: with the call itself.

A small model left alone seldom calls a tool at all. A server cannot mask tokens, but a completion can be
given its first ones: the call as the family writes it, up to the tool's name, or up to the arguments where
there is one tool. They are part of the completion, with logprob 0 as all that was forced, and carry no loss.

The grammar that is logged says just that, token by token and then any, in the language of the local model's
grammars: a local model that begins its turns so (`model.opening`) is compared with a server on the same
choices, and each learns from the other's log. Its first line holds the opening as JSON.
"""

import json
import os.path
from collections.abc import Sequence

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
    tokens = " ".join(f"<[{token}]>" for token in language.codec.encode(head))
    return f"{MARK}{json.dumps(head)}\nstart: {tokens} any*\nany: <[0-{language.codec.size - 1}]>\n"


def head(text: str | None) -> str | None:
    """What a completion begins with by the grammar `text`; None: it is no grammar of ours."""
    if text is None or not text.startswith(MARK):
        return None
    return str(json.loads(text.partition("\n")[0].removeprefix(MARK)))
