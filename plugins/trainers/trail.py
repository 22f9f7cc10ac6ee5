"""The states that an update went through, so that it can end at an earlier one."""

from collections.abc import Callable
from typing import Any

from continualcode.core.data import StepReport
from continualcode.core.protocols import Policy


class Trail:
    """States by how many steps they are from the beginning. Not `keeping`, it does nothing and has none."""

    def __init__(self, policy: Policy, *, keeping: bool) -> None:
        self._policy, self._keeping = policy, keeping
        self._states: dict[int, Any] = {}

    def keep(self, steps: int) -> None:
        """The state now, after so many steps."""
        if self._keeping:
            self._states[steps] = self._policy.snapshot()

    def drop_before(self, steps: int) -> None:
        """Nobody will go back to a state of fewer steps."""
        self._states = {number: state for number, state in self._states.items() if number >= steps}

    def retreat(
        self,
        last: StepReport,
        *,
        far: Callable[[StepReport], bool],
        fits: Callable[[StepReport], bool],
        look: Callable[[], StepReport],
        forward: bool = False,
    ) -> tuple[int, StepReport]:
        """Go back to the last state that is not too `far`, of those that fit, by a look at each.

        Where all are, to the one at which what must stay drifted least, of which the last, whose look is
        `last`, is one. forward: to the last before the first that is too far, or to that one, if it drifted
        less than the last. Gives the state's steps, and the look at it.
        """
        end = max(self._states)
        found = end, last
        for steps in sorted(self._states.keys() - {0, end}, reverse=not forward):
            self._policy.restore(self._states[steps])
            if not fits(seen := look()):
                continue
            if not far(seen) or (far(found[1]) and seen.drift < found[1].drift):
                found = steps, seen
            if far(seen) == forward:
                break
        self.back(found[0])
        return found

    def back(self, steps: int) -> None:
        """Go back to that state, for good."""
        self._policy.restore(self._states[steps])
        self._states = {number: state for number, state in self._states.items() if number <= steps}
