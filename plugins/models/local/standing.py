"""What must stay, scored once: anchors and probes are the same rows in every update of a session.

The base model is their teacher, and what comes before the adapter's layers is the base model's too, so
neither changes with what is learned. All of them are scored together, those that an update leaves out as
well: which ones it takes is then no matter to the last bit, nor whether this was done before.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from continualcode.core.data import Example
from continualcode.plugins.models.figures import used
from continualcode.plugins.models.local.rows import Row

STANDING = ("anchor", "probe")
"""The kinds of rows that are the same in every update."""


class Standing:
    """The rows of the last update's anchors and probes, for the next one's. score: makes rows of examples."""

    def __init__(self, score: Callable[[Sequence[Example]], list[Row]]) -> None:
        self._score = score
        self._of: list[Example] = []
        self._rows: list[Row] = []

    def rows(self, examples: Sequence[Example]) -> list[Row]:
        """A row of each of `examples`, at no position of those that are not used. Raises UpdateError."""
        whole = [
            # Drawn at 0 is scored at 1.
            msgspec.structs.replace(each, sample="", weight=1.0, temperature=each.temperature or 1.0)
            for each in examples
        ]
        if whole != self._of:
            self._of, self._rows = [], []  # the old ones go before there are new ones
            self._rows = self._score(whole)
            self._of = whole
        return [
            replace(row, example=example, free=row.free if used(example) else ())
            for row, example in zip(self._rows, examples, strict=True)
        ]
