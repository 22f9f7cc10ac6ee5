"""The facts of safety: how calls are decided, and what encloses commands.

Part of `core.events`, in a file of its own.
"""

from continualcode.eventlog import Record


class SafetyChosen(Record, frozen=True, kw_only=True, tag="safety_chosen"):
    """From here on: the mode of approvals, and what encloses commands and lets them do (`line`).

    `missing` says why nothing encloses them; empty: something does.
    """

    approvals: str
    sandbox: str
    line: str
    missing: str = ""
