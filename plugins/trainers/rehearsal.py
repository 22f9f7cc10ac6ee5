"""Earlier corrections mixed into an update (experience replay): the log is the buffer.

Each earlier correction that still stands takes part in a later update with some probability, decided by a
hash of the two corrections' own content. So whether correction i is rehearsed with k depends on nothing else
but how many there are: of more than `MOST` so many take part in the mean, others each time, as an update's
cost would grow with the log.

Of what several corrections say about one prompt the last counts: rehearsing the others would teach the
opposite of it, and a user who changes their mind would be taught to be in two minds.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence

import msgspec

from continualcode.core.data import LESSONS, Example

MOST = 32
"""How many earlier corrections an update rehearses at most, in the mean."""

SIBLINGS = 2
"""How many siblings of a correction are rehearsed with it."""


def rehearsed(news: Sequence[Example], earlier: Iterable[Sequence[Example]], share: float) -> list[Example]:
    """Rows of earlier corrections that go along with `news`, oldest first; of `share` of them on average.

    Of each the demonstration, on its own prompt and after the denial, and the nearest `SIBLINGS` siblings, as
    rows of the kind `rehearsed`.

    earlier: the examples of the updates that stand, oldest first.
    """
    found: dict[str, list[Example]] = {}
    for examples in earlier if share else ():
        own: dict[str, list[Example]] = {}
        for row in examples:
            if row.part != "rehearsed" and row.correction and row.correction not in found:
                own.setdefault(row.correction, []).append(row)
        found |= own
    said, again = _learned(news), list[list[Example]]()
    fresh = {new.correction: new for new in reversed(news)}  # its first row
    share = min(share, MOST / max(1, len(found)))
    for correction, rows in reversed(found.items()):
        if correction not in fresh and any(_chance(rows[0], new) < share for new in fresh.values()):
            again.append(_again(rows, said))
        said |= _learned(rows)
    return [row for rows in reversed(again) for row in rows]


def _learned(rows: Iterable[Example]) -> set[tuple[int, ...]]:
    """The prompts on which something is learned."""
    return {row.prompt_ids for row in rows if row.part in LESSONS and row.weight}


def _again(rows: Sequence[Example], said: Collection[tuple[int, ...]]) -> list[Example]:
    """What is rehearsed of a correction's own rows; nothing of prompts about which more was `said` later."""
    left = [row for row in rows if row.part in LESSONS and row.weight and row.prompt_ids not in said]
    learned = [row for row in left if row.part != "sibling"]
    kept = [*learned, *[row for row in left if row.part == "sibling"][:SIBLINGS]]
    return [row if row.part == "sample" else msgspec.structs.replace(row, part="rehearsed") for row in kept]


def _chance(old: Example, new: Example) -> float:
    """A number in [0, 1) that is a function of what two corrections are about, ids aside."""
    said = repr((old.teacher_ids, old.completion_ids, new.teacher_ids, new.completion_ids))
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") / 2**64
