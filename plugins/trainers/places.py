"""Where a correction sends a call: from the place that the conversation is about to another that it names.

"legacy/ stays as it is. Write down in TODO.md what should be done there." A 0.5B teacher that reads this
writes into legacy/ all the same, though not what was rejected, so that it looked like a demonstration, and
the mistake was learned (docs/learning.md). So where the words name two places, and what the teacher shows
still goes to the first, it is shown under a grammar in which the path is in the second.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import msgspec

from continualcode.core.data import Call, ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import CLAUSES, NOT, called

PLACE = re.compile(r"(?<![\w./-])(?:(?:[\w.-]+/)+|(?:[\w.-]+/)*[\w-]*(?:\.\w[\w-]*)+)(?![\w/(])")
"""A folder with its slash, or the name of a file, in one or not; "csv/tsv" is two things, and no place."""


INTO = re.compile(
    r"\b(?:into|in|to|under|inside|below) +(?:(?:the|a) +)?(?:folder +|directory +)?[`'\"]?$", re.I
)
"""What is said before a folder that something is to be in."""

PATH = r"[\w./-]"
"""What a path is made of, where one is asked for by a pattern."""


class Move(NamedTuple):
    """A text argument of a call, the place that it is not to be in, and the one that it is to be in.

    away: empty, where it may be anywhere else. to: a folder with its slash, a file, or an ending. schema:
    what an argument that is there must be.
    """

    argument: str
    away: str
    to: str
    schema: dict[str, str]

    def reached(self, ids: Sequence[int], turn: SampledTurn, policy: Policy) -> bool:
        """Whether a completion goes there."""
        value = _value(ids, self.argument, turn, policy)
        return value is not None and (_in(value, self.to) or value.endswith(self.to))

    def left(self, ids: Sequence[int], turn: SampledTurn, policy: Policy) -> bool:
        """Whether a completion goes there, or at least no longer to the other place, nor to a mere folder."""
        value = _value(ids, self.argument, turn, policy)
        if value is None:
            text = "".join(policy.pieces(ids))
            return self.to in text or not self.away or self.away not in text
        there = not _in(value, self.away) if self.away else self.reached(ids, turn, policy)
        return there and not value.endswith("/")

    def only(self, tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
        """The tools with no other place left."""
        return tuple(_with(tool, self.argument, self.schema) for tool in tools)


def move(turn: SampledTurn, correction: CorrectionGiven) -> Move | None:
    """The move from one place to another that a correction asks for, or into a folder ("put it in out/").

    None: it names no place to go to, or several, or the call was in none that it is to leave.
    """
    call, feedback = turn.call, correction.feedback
    if call is None or correction.solution is not None:
        return None
    said = "\n".join(message.text for message in turn.messages if message.role in ("user", "tool"))
    known = [place for place in _places(feedback) if place in said]
    others = [one for one in _wanted(feedback) if not any(_in(one, away) for away in known)]
    to = {place for place in others if not any(_in(place, folder) for folder in others if folder != place)}
    if len(to) != 1:
        return None
    (place,) = to
    schema = {"pattern": f"^{re.escape(place)}{PATH}+$"} if place.endswith("/") else {"const": place}
    given = ((name, value) for name, value in call.arguments.items() if isinstance(value, str))
    if not known and INTO.search(feedback.partition(place)[0]) and place.endswith("/"):
        name, value = next(given, ("", ""))
        goes = re.fullmatch(f"{PATH}+", value) and not _in(value, place)
        return Move(name, "", place, schema) if goes else None
    went = ((name, away) for name, value in given for away in known if _in(value, away))
    return next((Move(name, away, place, schema) for name, away in went), None)


def followed(
    shown: Sequence[int], turn: SampledTurn, correction: CorrectionGiven, policy: Policy
) -> Move | None:
    """The folder that a correction names, or else the ending, to which the demonstration has moved a call.

    "Translations go into locales/, for example locales/de.json": what else it is about is to go there too.
    None: it named none, the rejected call was there, or the demonstration is not.
    """
    for argument, before in (turn.call.arguments if turn.call else {}).items():
        after = _value(shown, argument, turn, policy)
        if after is None or not isinstance(before, str):
            continue
        named = _wanted(correction.feedback)
        folders = {place[: place.rindex("/") + 1] for place in named if "/" in place}
        for folder in sorted(folders, key=len, reverse=True):
            if _in(after, folder) and not _in(before, folder):
                return Move(argument, "", folder, {"pattern": f"^{re.escape(folder)}{PATH}+$"})
        for ending in {PurePosixPath(f"x{place}").suffix for place in named} - {""}:
            if after.endswith(ending) and not before.endswith(ending):
                return Move(argument, "", ending, {"pattern": f"^{PATH}+{re.escape(ending)}$"})
    return None


def _wanted(words: str) -> list[str]:
    """The places in a text, but for those in a part of a sentence that says not to."""
    return [place for part in CLAUSES.split(words) if not NOT.search(part) for place in _places(part)]


def _places(words: str) -> list[str]:
    """The paths in a text.

    >>> _places("Files in data/ stay. Write to out/, for example out/people.csv, or to .env.example.")
    ['data/', 'out/', 'out/people.csv', '.env.example']
    >>> _places("Version 2.5 of csv/tsv, e.g. os.getenv('X').")
    []
    """
    return [found for found in PLACE.findall(words) if not re.fullmatch(r"[\d.]+|(?:\w\.)+\w", found)]


def _in(path: str, place: str) -> bool:
    """Whether a path is a place or in it.

    >>> _in("data/a.csv", "data/"), _in("./app/.env", ".env"), _in("my.env", ".env")
    (True, True, False)
    """
    path = path.removeprefix("./")
    if place.endswith("/"):
        return path.startswith(place) or f"/{place}" in path
    return path == place or path.endswith(f"/{place}")


def _value(ids: Sequence[int], argument: str, turn: SampledTurn, policy: Policy) -> str | None:
    """The first argument of a completion's call, if it is that one; None: it is not, or not all there."""
    call = Call(tool=called(ids, turn, policy), arguments={argument: "?"})
    begins, _, ends = policy.format_call(call).partition("?")
    text = "".join(policy.pieces(ids))
    value, found, _ = text.removeprefix(begins).partition(ends[:1])
    return value if text.startswith(begins) and found else None


def _with(tool: ToolSpec, argument: str, schema: dict[str, str]) -> ToolSpec:
    """The tool with another schema for a text argument that it has."""
    properties = dict(tool.parameters.get("properties", {}))
    if argument not in properties:
        return tool
    properties[argument] = {"type": "string", **schema}
    return msgspec.structs.replace(tool, parameters={**tool.parameters, "properties": properties})
