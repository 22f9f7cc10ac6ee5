"""What objects of `continualcode.core.protocols` may be able to do besides; the core can do without."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from continualcode.core.data import Capability
from continualcode.core.protocols import Trainer
from continualcode.eventlog import Record

if TYPE_CHECKING:
    from continualcode.core.session import Session


@runtime_checkable
class Discerning(Protocol):
    """A policy that can say which prompts are alike."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """Of each of `others`, how alike the base model (nothing learned) finds it and a request: ≤ 1.

        wordings: prompts of one request, which may be said in several ways.
        """
        ...


@runtime_checkable
class Adaptive(Protocol):
    """A trainer whose settings depend, where nobody chose them, on what the policy can do."""

    def suited(self, capabilities: frozenset[Capability]) -> tuple[Trainer, str]:
        """The trainer for such a policy, and what was chosen for it, in one line; empty: nothing was."""
        ...


@runtime_checkable
class Recalling(Protocol):
    """A policy whose weights are kept elsewhere as well, where the log says: resuming need not train again.

    tolerance: nats by which figures may differ when an update is made again. Its digests name what weights
    were made from, as their bits are not at hand to compare.
    """

    tolerance: float

    def recall(self, records: Iterable[Record], weights: Sequence[str]) -> int:
        """Take the latest of `weights` (digests, oldest first) that `records` say where to find.

        How many of them are in it; 0: none could be had, and nothing changed.
        """
        ...


@runtime_checkable
class Portable(Protocol):
    """A policy whose weights can leave the process: for replay to go on later, and to hand them out."""

    def save(self, file: Path) -> None:
        """Write weights and optimiser as they are now; atomically."""
        ...

    def load(self, file: Path) -> None:
        """Take the state that `save` wrote, exactly. Raises ReplayError where it cannot be read."""
        ...

    def export(self, folder: Path) -> None:
        """Write the weights for other programs."""
        ...

    def norms(self) -> dict[str, float]:
        """How far the weights are from the base, a figure a layer."""
        ...


@runtime_checkable
class EarlyUI(Protocol):
    """A UI that takes input before there is a session: `cc run` then opens the session through it."""

    def opening(self, open_session: "Callable[[], Session]") -> "Session":
        """Call `open_session`, in a thread if you like, and return its session; its error is yours to raise.

        Until it has returned, `event` and `progress` are called from that thread, nothing else is called,
        and a `progress` that raises KeyboardInterrupt ends it.
        """
        ...
