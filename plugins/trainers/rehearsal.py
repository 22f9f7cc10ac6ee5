"""Earlier corrections mixed into an update (experience replay): the log is the buffer.

Each earlier correction that still stands takes part in a later update with a fixed probability, decided by a
hash of the two corrections' own content. So whether correction i is rehearsed with k depends on nothing
else, and leaving a third one out of a log changes neither its plan nor what the others rehearse.
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from continualcode.core.data import IDLE, Example

SIBLINGS = 2
"""How many siblings of a correction are rehearsed with it: the nearest."""


def rehearsed(news: Sequence[Example], earlier: Iterable[Sequence[Example]], share: float) -> list[Example]:
    """Rows of earlier corrections that go along with `news`, oldest first; of `share` of them on average.

    Of each the demonstration and its first `SIBLINGS` siblings, as rows of the kind `rehearsed`.

    earlier: the examples of the updates that stand, oldest first.
    """
    found: dict[str, list[Example]] = {}
    for examples in earlier if share else ():
        own: dict[str, list[Example]] = {}
        for example in examples:
            if example.part != "rehearsed" and example.correction and example.correction not in found:
                own.setdefault(example.correction, []).append(example)
        found |= own
    fresh = {new.correction for new in news}
    return [
        row
        for correction, rows in found.items()
        if correction not in fresh and any(_chance(rows[0], new) < share for new in news)
        for row in _again(rows)
    ]


def _again(rows: Sequence[Example]) -> list[Example]:
    """What is rehearsed of a correction's own rows."""
    learned = [row for row in rows if row.part not in (*IDLE, "sibling", "attempt")]
    kept = [*learned, *[row for row in rows if row.part == "sibling"][:SIBLINGS]]
    return [row if row.part == "sample" else msgspec.structs.replace(row, part="rehearsed") for row in kept]


def _chance(old: Example, new: Example) -> float:
    """A number in [0, 1) that is a function of what two corrections are about, ids aside."""
    said = repr((old.teacher_ids, old.completion_ids, new.teacher_ids, new.completion_ids))
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big") / 2**64
