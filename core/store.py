"""Weights that were made before, on disk, by what they are a function of.

    known/KEY.json     what an update came to: digests, steps, whether the gate rejected it, which log has it
    states/NAME        weights and optimiser, named by the digest of both; the policy's own format

KEY is a chain: the model and the stack, and then, update by update, the plan's content (not its ids). So a
replay that has made a prefix of its updates before, whichever log they came from, can go on from there, and a
state is shared by all that lead to it. States are large: all but every `EVERY`th and the last are let go of.
"""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from continualcode.core.data import Data, UpdatePlan
from continualcode.core.errors import UsageError
from continualcode.core.optional import Portable
from continualcode.core.protocols import Policy

EVERY = 5
"""Of the states on the way, each fifth is kept; from there, four updates have to be trained again at most."""


class Known(Data, frozen=True):
    """What an update came to. `depth` counts the updates from the base; `seconds`: what it took to train.

    path, update, seq: where the log is that holds its plan. parent: the key of the update before.
    changes: what was left out or changed on the way; empty: nothing, the logs alone give these weights.
    """

    key: str
    parent: str
    depth: int
    model: str
    weights: str
    optimiser: str
    steps: int
    seconds: float
    path: str
    update: str
    seq: int
    rejected: str | None = None
    changes: str = ""

    @property
    def state(self) -> str:
        """The name of the state's file."""
        return state_name(self.weights, self.optimiser)


def state_name(weights: str, optimiser: str) -> str:
    """The name of a file with a state, by the digests of its weights and its optimiser."""
    return hashlib.sha256(f"{weights} {optimiser}".encode()).hexdigest()


def first_key(policy: Policy) -> str:
    """The key of the weights before any update: the model by content, the adapter's seed, the stack."""
    about = (policy.model.base, policy.model.adapter, policy.model.dtype, sorted(policy.stack.items()))
    return hashlib.sha256(msgspec.json.encode(about)).hexdigest()


def next_key(key: str, plan: UpdatePlan) -> str:
    """The key after carrying `plan` out; ids of corrections and samples count only as to which are equal."""
    names: dict[str, str] = {"": ""}
    rows = [
        msgspec.structs.replace(row, sample="", correction=names.setdefault(row.correction, str(len(names))))
        for row in plan.examples
    ]
    content = msgspec.json.encode(msgspec.structs.replace(plan, examples=tuple(rows)))
    return hashlib.sha256(key.encode() + content).hexdigest()


class WeightStore:
    """Known updates and saved states in `folder`, which is made when something is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def known(self, key: str) -> Known | None:
        """What is known of the update with this key."""
        try:
            return msgspec.json.decode((self.folder / "known" / f"{key}.json").read_bytes(), type=Known)
        except (OSError, msgspec.DecodeError):
            return None  # never kept, or cut off by a crash: it is made again

    def every(self) -> list[Known]:
        """All that is known, deepest last."""
        found = (self.known(path.stem) for path in sorted((self.folder / "known").glob("*.json")))
        return sorted((one for one in found if one), key=lambda one: (one.model, one.path, one.depth))

    def state(self, known: Known) -> Path:
        """Where its state is, or would be."""
        return self.folder / "states" / known.state

    def has(self, known: Known) -> bool:
        """Whether its state is here."""
        return self.state(known).is_file()

    def keep(self, known: Known, policy: Portable) -> None:
        """Remember an update, and the state that `policy` has after it."""
        for part in ("known", "states"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        if not self.has(known):
            policy.save(self.state(known))
        file = self.folder / "known" / f"{known.key}.json"
        new = file.with_name(f".{file.name}.{os.getpid()}")
        new.write_bytes(msgspec.json.encode(known))
        os.replace(new, file)

    def pass_by(self, known: Known) -> None:
        """A later state is there: let go of this one, unless it is one of those that stay."""
        if known.depth % EVERY:
            self.drop(known)

    def drop(self, known: Known) -> int:
        """Let go of a state; how many bytes that was. What is known of the update stays."""
        path = self.state(known)
        size = path.stat().st_size if path.is_file() else 0
        path.unlink(missing_ok=True)
        return size

    def named(self, beginning: str) -> Known:
        """The update whose weights' digest begins so; UsageError where none or several do."""
        found = {one.weights: one for one in self.every() if one.weights.startswith(beginning)}
        if len(found) != 1:
            there = ", ".join(sorted({one.weights[:12] for one in self.every()})) or "none yet"
            said = "several weights" if found else "no weights"
            raise UsageError(f"{beginning!r} names {said} in {self.folder}; there are {there}")
        return next(iter(found.values()))


def lineage(known: Known, store: WeightStore) -> Iterator[Known]:
    """`known` and the updates before it, back to the base, as far as they are known."""
    at: Known | None = known
    while at is not None:
        yield at
        at = store.known(at.parent)


def rebuild_seconds(known: Known, store: WeightStore, without: frozenset[str] = frozenset()) -> float:
    """How long it took to train from the nearest earlier state that stays; states `without` do not count.

    Infinite where an update on the way is not known any more.
    """
    total, depth = 0.0, known.depth
    for at in lineage(known, store):
        if at is not known and store.has(at) and at.state not in without:
            return total
        total += at.seconds
        depth = at.depth
    return total if depth == 1 else float("inf")


def now() -> float:
    """A clock to measure training with, in seconds."""
    return time.perf_counter()
