"""What the base model does by itself where every session asks it, kept beside what was read (`shelf`).

Probes, and the calls that are held while a correction is learned, are the base model's own on the pool of an
update: a function of prompt, grammar, length and stack. Drawing them is a fifth of a first update. A file
that is missing, damaged, or cannot be written only costs the time; nothing is kept of what a user says.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from continualcode.core.data import Sample
from continualcode.plugins.models.local.disk import write_if_possible
from continualcode.plugins.models.local.shelf import Shelf

Calls = dict[str, Sample]
"""By the digest of what they are a function of, beside the file that they are in."""


class Usual:
    """The base model's own calls on prompts that `shelf` has; others are not kept."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._kept: dict[Path, Calls] = {}

    def call(self, ids: Sequence[int], grammar: str | None, most: int, draw: Callable[[], Sample]) -> Sample:
        """What `draw` draws after `ids`: at most `most` tokens."""
        file = self._shelf.beside(ids)
        if file is None:
            return draw()
        key = hashlib.sha256(f"{most} {grammar}\n{tuple(ids)}".encode()).hexdigest()
        if file not in self._kept:
            self._kept[file] = _read(file)
        calls = self._kept[file]
        if key not in calls:
            calls[key] = draw()
            encoded = msgspec.json.encode(calls)
            write_if_possible(file, _digest(encoded) + b"\n" + encoded)
        return calls[key]


def _read(file: Path) -> Calls:
    try:
        written, _, encoded = file.read_bytes().partition(b"\n")
        return msgspec.json.decode(encoded, type=Calls) if written == _digest(encoded) else {}
    except (OSError, msgspec.MsgspecError):
        return {}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
