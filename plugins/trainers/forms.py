"""The form of a command that a correction gives: `echo "..." >> file`, with holes to be filled in.

A small teacher told 'Append it in bash with `echo "..." >> file`.' writes `echo '...'`, on the corrected
prompt and wherever it is asked: the holes with the rest left off, and that was learned (docs/learning.md). So
what it shows has the form that was given, and the one file or quoted text that was spoken of is put into the
holes before it is told. Of commands with holes only: what is given in full may be for that prompt alone.
"""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from continualcode.core.data import ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import (
    CLAUSES,
    COMMAND,
    NOT,
    tools_in_question,
    value_of,
)
from continualcode.plugins.trainers.paths import FILE
from continualcode.plugins.trainers.retry import DENIAL

COMMANDS = re.compile(r"`([\w./-]+ [^`]+)`")
"""A command that a correction quotes; `print(...)` is none."""

A_FILE = r"(?:FILE|file|PATH|path|FILENAME|filename)"
HOLE = re.compile(rf"(?P<text>\.\.\.|…|<[\w ]+>)|(?<![\w./-])(?P<file>{A_FILE})(?![\w/-])")
"""What stands for something else in a command."""

QUOTED = re.compile(r"(?<!\w)'[^'\n]+'(?!\w)|\"[^\"\n]+\"")
"""A text that is to be taken as it stands."""

TEXT, NAME = r"[\w#$%@/~+*-][\w #$%@/~+*,;:!?=&|.()\[\]{}-]*", r"[\w./~-]+"
"""What a hole is filled with: a text in one line, without quotes, that is not the hole again; or a path. Not
said by what it may not have: a grammar took `\\"` for none of `[^"]`."""

MORE = r"\n(?:.|\n)*"
"""What comes after the first line of a command that has more (`<<`)."""


class Form(NamedTuple):
    """A command's form: a pattern with a group for each hole, and what it begins with."""

    pattern: str
    begins: str

    def reached(self, ids: Sequence[int], turn: SampledTurn, policy: Policy) -> bool:
        """Whether a completion has it, as far as it goes."""
        value = value_of(ids, COMMAND, turn, policy)
        if value is None:
            return json.dumps(self.begins)[1:-1] in "".join(policy.pieces(ids))
        return re.match(self.pattern, value) is not None

    def heeded(self, ids: Sequence[int], turn: SampledTurn, policy: Policy) -> bool:
        """The same: a command of another form is none that was asked for."""
        return self.reached(ids, turn, policy)

    def filled_in(self, ids: Sequence[int], said: str, turn: SampledTurn, policy: Policy) -> bool:
        """Whether it has something of what was `said` in each hole; so, where it was cut off before."""
        found = re.match(self.pattern, value_of(ids, COMMAND, turn, policy) or "")
        return found is None or all(_spoken_of(one, said) for one in found.groups())

    def only(self, tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
        """The tools, those with a command with nothing but one of that form."""
        schema = {COMMAND: {"type": "string", "pattern": self.pattern}}
        return tuple(_with(tool, schema) if COMMAND in _arguments(tool) else tool for tool in tools)


def form(turn: SampledTurn, correction: CorrectionGiven) -> Form | None:
    """The form that a correction gives, where it is of a tool in question; None: it gives none."""
    asked = tools_in_question(turn, correction)
    if (
        correction.kind != DENIAL
        or correction.solution is not None
        or not any(COMMAND in _arguments(tool) for tool in asked)
    ):
        return None
    said = (part for part in CLAUSES.split(correction.feedback) if not NOT.search(part))
    given = (found[1] for part in said for found in COMMANDS.finditer(part))
    command = next((one for one in given if HOLE.search(one)), None)
    return Form(_pattern(command), HOLE.split(command)[0]) if command else None


def filled(words: str, said: str) -> str:
    """`words` with the one file and the one quoted text that were spoken of in the holes that are for them.

    >>> filled('Use `echo "..." >> file`.', "Add 'buy milk' to todo.txt.")
    'Use `echo "buy milk" >> todo.txt`.'
    >>> filled("First `cp FILE FILE.bak`.", "Is a.ini like b.ini?")
    'First `cp FILE FILE.bak`.'
    """
    files = {file[0] for file in FILE.finditer(said)}
    texts = {found[0].strip("\"'") for found in QUOTED.finditer(said)} - files
    by = {"file": files, "text": texts}
    only = {name: next(iter(found)) for name, found in by.items() if len(found) == 1}
    return COMMANDS.sub(
        lambda one: HOLE.sub(lambda hole: only.get(hole.lastgroup or "", hole[0]), one[0]), words
    )


def _pattern(command: str) -> str:
    r"""What a command of that form is.

    >>> re.match(_pattern('echo "..." >> file'), 'echo "buy milk" >> .gitignore') is not None
    True
    >>> re.match(_pattern('echo "..." >> file'), 'echo "..." >> .gitignore') is not None
    False
    """
    parts, end = "", 0
    for hole in HOLE.finditer(command):
        parts += f"{re.escape(command[end : hole.start()])}({NAME if hole['file'] else TEXT})"
        end = hole.end()
    return f"^{parts}{re.escape(command[end:])}{MORE if '<<' in command else ''}$"


def _spoken_of(filling: str, said: str) -> bool:
    """Whether a word of it was said.

    >>> _spoken_of("moved to 10.0.4.17", "Note the move to 10.0.4.17."), _spoken_of("hello", "Add .git.")
    (True, False)
    """
    words, known = (set(re.findall(r"\w+", one.lower())) for one in (filling, said))
    return not words.isdisjoint(known)


def _with(tool: ToolSpec, properties: dict[str, dict[str, str]]) -> ToolSpec:
    """The tool with these arguments alone."""
    alone = {"properties": properties, "required": [*properties]}
    return msgspec.structs.replace(tool, parameters={**tool.parameters, **alone})


def _arguments(tool: ToolSpec) -> set[str]:
    return {*tool.parameters.get("properties", {})}
