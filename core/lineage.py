"""Which weights a policy has, as the updates that stand, oldest first; and going to those of others.

Weights are a function of the updates that stand: from the base model, each carried out on what the ones
before it gave. The snapshots taken last are kept in memory, so that undoing the last update is at once, and
the state that a session ends in on disk (`core.checkpoints`); anything else is made again from the log.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from continualcode.core.checkpoints import Checkpoints
from continualcode.core.events import UpdateApplied
from continualcode.core.protocols import Policy
from continualcode.eventlog import Record

Standing: TypeAlias = tuple[str, ...]
"""Ids of updates (of their UpdateStarted), in the order in which they were applied."""

KEPT = 2
"""How many snapshots are held: each is a copy of the adapter and its moments, 0.2 GB at rank 32 on 0.5B."""


class Lineage:
    """Moves `policy` among the weights that a log has been through. `train(id)` makes an update again.

    disk: where the state that a session stands at is kept; outcomes: how each update ended, by its id. None:
    nothing is kept on disk.
    """

    def __init__(
        self,
        policy: Policy,
        train: Callable[[str], object],
        disk: Checkpoints | None = None,
        outcomes: Mapping[str, Record] | None = None,
    ) -> None:
        self._policy = policy
        self._train = train
        self._disk = disk
        self._outcomes: Mapping[str, Record] = {} if outcomes is None else outcomes
        self._kept: dict[Standing, Any] = {}

    def keep(self, standing: Standing) -> Any:
        """A snapshot of the policy as it is now, at `standing`; kept for going back."""
        snapshot = self._kept.pop(standing) if standing in self._kept else self._policy.snapshot()
        self._kept[standing] = snapshot
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return snapshot

    def arrived(self, standing: Standing) -> None:
        """The session stands at `standing`, which the policy is at: the next process finds it on disk."""
        if self._disk is not None and standing:
            self._disk.keep(self._policy, self._applied(standing[-1]))

    def go(self, now: Standing, to: Standing) -> None:
        """From the weights of `now`, which the policy has, to those of `to`. Whatever fails: as before."""
        if now == to:
            return
        back = self.keep(now)
        try:
            for update in to[self._nearest(to) :]:
                self._train(update)
        except BaseException:
            self._policy.restore(back)
            raise
        self.arrived(to)

    def _nearest(self, to: Standing) -> int:
        """Take the state that is at hand with most of the updates `to`: how many of them it has."""
        in_memory = max((s for s in self._kept if to[: len(s)] == s), key=len, default=())
        if self._disk is not None:
            for count in range(len(to), len(in_memory), -1):
                if self._disk.take(self._policy, self._applied(to[count - 1])):
                    return count
        if in_memory in self._kept:
            self._policy.restore(self._kept[in_memory])
        else:
            self._policy.reset()
        return len(in_memory)

    def _applied(self, update: str) -> UpdateApplied:
        found = self._outcomes[update]
        assert isinstance(found, UpdateApplied)  # none other stands
        return found
