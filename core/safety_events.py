"""The facts of safety: how calls are decided, what encloses commands, and where a turn ended by itself.

Part of `core.events`, in a file of its own.
"""

from typing import Literal, TypeAlias

from continualcode.eventlog import Record

Resource: TypeAlias = Literal["turns", "seconds", "output", "tokens"]
"""What one prompt may use so much of: `[budget]` in the configuration, `core.limits`."""


class SafetyChosen(Record, frozen=True, kw_only=True, tag="safety_chosen"):
    """From here on: the mode of approvals, and what encloses commands and lets them do (`line`).

    `missing` says why nothing encloses them; empty: something does. `by`: `settings`, as a session begins, or
    `user`, who changed the mode in it.
    """

    approvals: str
    sandbox: str
    line: str
    missing: str = ""
    by: str = "settings"


class BudgetReached(Record, frozen=True, kw_only=True, tag="budget_reached"):
    """The turn ended here: of `budget` a prompt may use `limit`, and `used` was used."""

    budget: Resource
    limit: float
    used: float


class WentInCircles(Record, frozen=True, kw_only=True, tag="went_in_circles"):
    """The turn ended here: `calls`, in this order, came to the same `times` times in a row.

    `calls` are those of the last time round: the ids of their tool_proposed.
    """

    calls: tuple[str, ...]
    times: int
