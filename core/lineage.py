"""Which weights a policy has, as the updates that stand, oldest first; and going to those of others.

Weights are a function of the updates that stand: from the base model, each carried out on what the ones
before it gave. The snapshots taken last are kept in memory, so that undoing the last update is at once;
anything older is made again from the log.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from continualcode.core.protocols import Policy

Standing: TypeAlias = tuple[str, ...]
"""Ids of updates (of their UpdateStarted), in the order in which they were applied."""

KEPT = 2
"""How many snapshots are held: each is a copy of the adapter and its moments, 0.2 GB at rank 32 on 0.5B."""


class Lineage:
    """Moves `policy` among the weights that a log has been through. `train(id)` makes an update again."""

    def __init__(self, policy: Policy, train: Callable[[str], object]) -> None:
        self._policy = policy
        self._train = train
        self._kept: dict[Standing, Any] = {}

    def keep(self, standing: Standing) -> Any:
        """A snapshot of the policy as it is now, at `standing`; kept for going back."""
        snapshot = self._kept.pop(standing) if standing in self._kept else self._policy.snapshot()
        self._kept[standing] = snapshot
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return snapshot

    def go(self, now: Standing, to: Standing) -> None:
        """From the weights of `now`, which the policy has, to those of `to`. Whatever fails: as before."""
        if now == to:
            return
        back = self.keep(now)
        known = max((s for s in self._kept if to[: len(s)] == s), key=len, default=None)
        try:
            if known is None:
                self._policy.reset()
            else:
                self._policy.restore(self._kept[known])
            for update in to[len(known or ()) :]:
                self._train(update)
        except BaseException:
            self._policy.restore(back)
            raise
