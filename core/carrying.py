"""Carries plans out on a policy, or remembers what came of them the last time: `WeightStore`.

What is remembered is not trained again, and the policy follows only when it must (`settle`): then the nearest
saved state is loaded and what came after it is trained.
"""

from collections.abc import Callable

from continualcode.core.curriculum import Attempt
from continualcode.core.data import UpdatePlan
from continualcode.core.optional import Portable
from continualcode.core.protocols import Policy
from continualcode.core.replay import TrainerOf
from continualcode.core.store import Known, WeightStore, first_key, next_key, now


class Carrier:
    """A policy on its way along plans, from the base. `weights` is the digest that it has or will settle to.

    store: where to keep what is trained; None: nowhere. resume: whether to use what was kept before.
    changes: what is otherwise than in the logs, for those who look at the store; empty: nothing.
    """

    def __init__(
        self,
        policy: Policy,
        trainer_of: TrainerOf,
        store: WeightStore | None = None,
        *,
        resume: bool = False,
        changes: str = "",
    ) -> None:
        policy.reset()
        self.policy = policy
        self.weights = policy.weights()
        self.trained = 0
        """How many updates were trained here, not remembered."""
        self._trainer_of = trainer_of
        self._store = store if isinstance(policy, Portable) else None
        self._resume = resume
        self._changes = changes
        self._key = first_key(policy)
        self._depth = 0
        self._ahead: list[tuple[Known, UpdatePlan]] = []
        self._kept: Known | None = None

    def carry_out(
        self, plan: UpdatePlan, attempt: Attempt, progress: Callable[[int, int], None] | None = None
    ) -> Known:
        """What comes of `plan` on the weights at hand. Whatever fails leaves them as they were."""
        key = next_key(self._key, plan)
        known = self._store.known(key) if self._store is not None and self._resume else None
        if known is not None:
            self._ahead.append((known, plan))
        else:
            self.settle()
            known = self._trained(plan, attempt, key, progress)
        self._key, self._depth, self.weights = key, self._depth + 1, known.weights
        return known

    def settle(self) -> None:
        """Give the policy the weights and the optimiser that it is said to have."""
        if not self._ahead:
            return
        store, portable = self._store, self.policy
        assert store is not None and isinstance(portable, Portable)  # else nothing is remembered
        saved = [place for place, (known, _) in enumerate(self._ahead) if store.has(known)]
        if saved:
            portable.load(store.state(self._ahead[saved[-1]][0]))
        for known, plan in self._ahead[saved[-1] + 1 if saved else 0 :]:
            if known.rejected is None:
                self._trainer_of(plan.trainer, plan.settings).update(plan, self.policy)
                self.trained += 1
        self._ahead.clear()

    def _trained(
        self, plan: UpdatePlan, attempt: Attempt, key: str, progress: Callable[[int, int], None] | None
    ) -> Known:
        policy, before, clock = self.policy, self.policy.snapshot(), now()
        try:
            outcome = self._trainer_of(plan.trainer, plan.settings).update(plan, policy, progress)
        except BaseException:
            policy.restore(before)
            raise
        if outcome.rejected is not None:
            policy.restore(before)
        self.trained += 1
        known = Known(
            key=key,
            parent=self._key,
            depth=self._depth + 1,
            model=policy.model.name,
            weights=policy.weights(),
            optimiser=policy.optimiser_state(),
            steps=outcome.steps,
            seconds=now() - clock,
            path=attempt.path,
            update=attempt.started.id,
            seq=attempt.started.seq,
            rejected=outcome.rejected,
            changes=self._changes,
        )
        if self._store is not None and isinstance(policy, Portable):
            self._store.keep(known, policy)
            if self._kept is not None and self._kept.state != known.state:
                self._store.pass_by(self._kept)
            self._kept = known
        return known
