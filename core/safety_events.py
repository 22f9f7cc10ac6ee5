"""The facts of safety: what encloses commands.

Part of `core.events`, in a file of its own.
"""

from continualcode.eventlog import Record


class SandboxChosen(Record, frozen=True, kw_only=True, tag="sandbox_chosen"):
    """What encloses the commands of this session from here on, and what they may do (`line`).

    `missing` says why nothing encloses them; empty: something does.
    """

    name: str
    line: str
    missing: str = ""
