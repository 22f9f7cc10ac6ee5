"""Where a correction sends a call, by its words, or by where the model goes that has read them.

"legacy/ stays as it is. Write down in TODO.md what should be done there." A 0.5B teacher that reads this
writes into legacy/ all the same, though not what was rejected, so that it looked like a demonstration, and
the mistake was learned (docs/learning.md). Told "put those in scratch/" it writes into .scratch/. So where
the words name a place to leave and another, or a folder that something is put into, and the teacher does not
go there, it is shown under a grammar in which the path is there. And where it goes to a folder or an ending
that they name, what is like the corrected prompt is made to go there too.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from continualcode.core.data import ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import CLAUSES, NOT, narrowed, spoken, value_of
from continualcode.plugins.trainers.paths import folder_of, places, within

INTO = re.compile(
    r"\b(?:into|in|to|under|inside|below) +(?:(?:the|a) +)?(?:folder +|directory +)?[`'\"]?$", re.I
)
"""What is said before a folder that something is to be in."""

PATH, FILENAME = r"[\w./-]", r"\w(?:[\w./-]*\w)?"
"""What a path is made of, and what a file in a folder is called, where a pattern asks for one: else the
model writes into `scratch/.`."""


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
        value = value_of(ids, self.argument, turn, policy)
        return value is not None and _there(value, self.to)

    def heeded(self, ids: Sequence[int], turn: SampledTurn, policy: Policy) -> bool:
        """Whether a completion goes there, or at least no longer to the other place, and to a file."""
        value = value_of(ids, self.argument, turn, policy)
        if value is None:
            text = "".join(policy.pieces(ids))
            return self.to in text or not self.away or self.away not in text
        there = not within(value, self.away) if self.away else self.reached(ids, turn, policy)
        return there and value[-1:].isalnum()

    def only(self, tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
        """The tools with no other place left."""
        return tuple(narrowed(tool, {self.argument: self.schema}) for tool in tools)


def move(shown: Sequence[int], turn: SampledTurn, correction: CorrectionGiven, policy: Policy) -> Move | None:
    """The move that a correction asks for, by its words, or else by the demonstration `shown`; None: none."""
    if turn.call is None or correction.solution is not None:
        return None
    named = [
        place for part in CLAUSES.split(correction.feedback) if not NOT.search(part) for place in places(part)
    ]
    given = {name: value for name, value in turn.call.arguments.items() if isinstance(value, str)}
    return _said(named, given, turn, correction.feedback) or _followed(named, given, shown, turn, policy)


def _said(named: Sequence[str], given: Mapping[str, str], turn: SampledTurn, words: str) -> Move | None:
    """From the place that the conversation is about to the one other that is named, or into a folder."""
    said = spoken(turn.messages)
    known = [place for place in places(words) if place in said]
    others = [one for one in named if not any(within(one, away) for away in known)]
    to = {place for place in others if not any(within(place, one) for one in others if one != place)}
    if len(to) != 1:
        return None
    (place,) = to
    went = [(name, away) for name, value in given.items() for away in known if within(value, away)]
    if not known and place.endswith("/") and INTO.search(words.partition(place)[0]):
        paths = (name for name, value in given.items() if re.fullmatch(f"{PATH}+", value))
        went = [(name, "") for name in [*paths][:1] if not within(given[name], place)]
    return next((Move(name, away, place, _schema(place)) for name, away in went), None)


def _followed(
    named: Sequence[str],
    given: Mapping[str, str],
    shown: Sequence[int],
    turn: SampledTurn,
    policy: Policy,
) -> Move | None:
    """To the folder that is named, or else the ending, to which the demonstration has moved an argument.

    "Translations go into locales/, for example locales/de.json": what else it is about is to go there too.
    """
    folders = sorted({folder_of(place) for place in named} - {""}, key=len, reverse=True)
    endings = dict.fromkeys(PurePosixPath(f"x{place}").suffix for place in named)
    for argument, before in given.items():
        after = value_of(shown, argument, turn, policy)
        if after is None:
            continue
        for to in (*folders, *filter(None, endings)):
            if _there(after, to) and not _there(before, to):
                return Move(argument, "", to, _schema(to, ending=to in endings))
    return None


def _there(path: str, to: str) -> bool:
    return within(path, to) or path.endswith(to)


def _schema(to: str, ending: bool = False) -> dict[str, str]:
    """What a path to a folder, to a file, or with an ending is."""
    if ending:
        return {"type": "string", "pattern": f"^{PATH}+{re.escape(to)}$"}
    if to.endswith("/"):
        return {"type": "string", "pattern": f"^{re.escape(to)}{FILENAME}$"}
    return {"const": to}
