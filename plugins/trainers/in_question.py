"""Which tools a correction is about: the one that was rejected, and those that its words or solution name.

A user who wants another tool says which. So a correction that names none is about how the rejected tool was
called, and the choice of tool is left as it is. The teacher and the student are compared among these tools
only, by the grammar of a turn that can call no other. On thirteen rules for a 0.5B model that made the
teacher's demonstration obey all of them; among all tools it obeyed the rules about commands in half
of the cases, as any contradiction made the model reach for another tool (docs/learning.md).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import msgspec

from continualcode.core.data import Call, Json, Message, ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn

CLAUSES = re.compile(r"[,;:.!?](?:\s|$)|\n")
"""What ends a part of a sentence."""

NOT = re.compile(r"\b(?:not|no|never|nothing|none|without|instead of|rather than)\b|n['’]t\b", re.IGNORECASE)
"""What may turn a part of a sentence round."""

GIVEN = re.compile(r"#!\S+(?: \w+)?|`(?P<command>[^\s`]*)[^`]*`")
"""A script's first line, and what a command in backticks is given."""

COMMAND = "command"
"""What a tool that runs commands calls them."""

RUN = re.compile(r"\b(?:use|run|with|by|do|try|via|first|then)\b[^`]*`([\w.+-]+)(?=[\s`])", re.IGNORECASE)
"""A command that somebody is told to run."""

PROGRAMS = frozenset(
    "awk bun bundle cargo cat cmake cp curl cut diff docker dotnet echo env find gem gh git go gradle "
    "head helm hg java jq kubectl less ln ls make mkdir mv mvn node npm npx perl php pip pip3 pipx pnpm "
    "poetry podman psql pytest python python3 rg rm rsync ruby ruff rustc scp sed sort sqlite3 ssh stat "
    "svn systemctl tail tar tee terraform timeout touch tox tr tree unzip uv uvx wc wget xargs yarn yq "
    "zip".split()
)
"""What such a command begins with: `return x` is none."""


def spoken(messages: Sequence[Message]) -> str:
    """What a conversation says, but for the system message and the model."""
    return "\n".join(message.text for message in messages if message.role in ("user", "tool"))


def tools_in_question(turn: SampledTurn, correction: CorrectionGiven) -> tuple[ToolSpec, ...]:
    """Those of the tools offered that `correction` is about; all of them where no call could be read."""
    if turn.call is None:
        return turn.tools
    about = {turn.call.tool} | ({correction.solution.tool} if correction.solution else set[str]())
    return tuple(tool for tool in turn.tools if tool.name in about or _asks(correction.feedback, tool))


def asked_for(turn: SampledTurn, correction: CorrectionGiven) -> tuple[ToolSpec, ...]:
    """The tools that a correction asks for: that of its solution, or those that its words name.

    Not where they say not to; and none where the rejected one is among them, as then the words may be about
    how it is called, unless they say not to call it: "don't read csv files, use bash; code is fine to read".
    """
    parts = CLAUSES.split(correction.feedback)
    said = [part for part in parts if not NOT.search(part)]
    wanted = tuple(tool for tool in turn.tools if any(_asks(part, tool) for part in said))
    if turn.call and any(_names(part, turn.call.tool) for part in parts if part not in said):
        wanted = tuple(tool for tool in wanted if tool.name != turn.call.tool)
    if correction.solution is not None:
        wanted = tuple(tool for tool in turn.tools if tool.name == correction.solution.tool)
    if turn.call is None or turn.call.tool in {tool.name for tool in wanted}:
        return ()
    return wanted


def unheeded(
    ids: Sequence[int], turn: SampledTurn, correction: CorrectionGiven, policy: Policy
) -> tuple[ToolSpec, ...]:
    """The tools that a correction asks for, where a completion calls the rejected one all the same."""
    again = turn.call is not None and called(ids, turn, policy) == turn.call.tool
    return asked_for(turn, correction) if again else ()


def called(ids: Sequence[int], turn: SampledTurn, policy: Policy) -> str:
    """The name of the tool that a completion begins to call; empty if it begins none."""
    text = "".join(policy.pieces(ids))
    begins = {tool.name: policy.format_call(Call(tool=tool.name, arguments={})) for tool in turn.tools}
    return next((t for t, call in begins.items() if text.startswith(call[: call.index(t) + len(t) + 1])), "")


def value_of(ids: Sequence[int], argument: str, turn: SampledTurn, policy: Policy) -> str | None:
    """The first argument of a call, a text, if it is that one; None: it is not, or it is no whole one."""
    call = Call(tool=called(ids, turn, policy), arguments={argument: "?"})
    begins, _, ends = policy.format_call(call).partition("?")
    text, end = "".join(policy.pieces(ids)), re.escape(ends[:1])
    found = re.match(rf"((?:[^{end}\\]|\\.)*){end}", text.removeprefix(begins), re.DOTALL)
    if not text.startswith(begins) or not found:
        return None
    if end != '"':
        return found[1]
    try:
        return str(json.loads(f'"{found[0]}', strict=False))
    except ValueError:  # no such escape
        return None


def through(ids: Sequence[int], place: int, policy: Policy) -> tuple[int, ...]:
    """The first tokens of a text, up to the one with its character number `place`; none if it is shorter."""
    pieces = policy.pieces(ids)
    return tuple(ids[: next((n for n in range(1, len(ids) + 1) if len("".join(pieces[:n])) > place), 0)])


def keeping(
    tools: tuple[ToolSpec, ...], turn: SampledTurn, correction: CorrectionGiven
) -> tuple[ToolSpec, ...]:
    """`tools`; those that were not rejected are held to what the rejected call said and nobody has corrected.

    "Use edit_lines" is about the tool, not about the file; a guided teacher of 0.5B, asked for another tool,
    took the file of the example call instead of the user's. So a text argument that both tools take stays
    what it was, if the conversation has that text and the correction speaks of no file.
    """
    call = turn.call
    if call is None or correction.solution is not None or _speaks_of_a_file(correction.feedback):
        return tools
    said = spoken(turn.messages)
    kept = {name: {"const": value} for name, value in call.arguments.items() if _stands_in(value, said)}
    return tuple(tool if tool.name == call.tool else narrowed(tool, kept) for tool in tools)


def grammar_of(tools: tuple[ToolSpec, ...], turn: SampledTurn, policy: Policy) -> str | None:
    """The grammar of a call of one of `tools`; the turn's own where that is all of them, or there is none."""
    if turn.grammar is None or tuple(tools) == turn.tools:
        return turn.grammar
    # As tools that end the turn: with no such tool a grammar lets plain text through as well.
    return policy.grammar([msgspec.structs.replace(tool, ends_turn=True) for tool in tools])


def _asks(words: str, tool: ToolSpec) -> bool:
    """Whether `words` name the tool, or a command that it would run."""
    runs = COMMAND in tool.parameters.get("properties", {})
    return _names(words, tool.name) or (runs and any(one[1] in PROGRAMS for one in RUN.finditer(words)))


def _names(words: str, tool: str) -> bool:
    """Whether `words` name the tool: as a word of its own, not as a part of a path or of another name.

    What a file begins with is no tool, nor is what a command is given.

    >>> _names("Use edit_lines.", "edit"), _names("Read it first", "read")
    (False, True)
    >>> _names("Scripts begin with #!/usr/bin/env bash.", "bash"), _names("Use `git grep -n`.", "grep")
    (False, False)
    >>> _names("Say `bash build.sh`.", "bash"), _names("Not `ls`; grep `x`.", "grep")
    (True, True)
    """
    words = GIVEN.sub(lambda found: found["command"] or "", words)
    return re.search(rf"(?<![\w./-]){re.escape(tool)}(?![\w/-]|\.\w)", words, re.IGNORECASE) is not None


def narrowed(tool: ToolSpec, schemas: Mapping[str, Mapping[str, Json]]) -> ToolSpec:
    """The tool with other schemas for those of its arguments that are in `schemas`."""
    properties = {
        name: {**schemas[name]} if name in schemas else schema
        for name, schema in tool.parameters.get("properties", {}).items()
    }
    return msgspec.structs.replace(tool, parameters={**tool.parameters, "properties": properties})


def _stands_in(value: Json, said: str) -> TypeGuard[str]:
    """Whether an argument is a text that was said, as words of its own."""
    if not isinstance(value, str) or not value.strip():
        return False
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said) is not None


def _speaks_of_a_file(words: str) -> bool:
    """Whether a word of it looks like a path.

    >>> _speaks_of_a_file("Use grep in src/."), _speaks_of_a_file("Read it. Then go on.")
    (True, False)
    """
    return re.search(r"\w/|/\w|\w\.\w", words) is not None
