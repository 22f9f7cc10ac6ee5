"""The facts of undoing: weights that stand no longer, files before and after, and going back itself.

Part of `core.events`, in a file of its own. How they are folded: `core.transcript` and `core.rewind`.
"""

from typing import Literal

from continualcode.eventlog import Record


class UpdateReverted(Record, frozen=True, kw_only=True, tag="update_reverted"):
    """The last update that stood stands no longer; the weights are those before it, whose digest this is.

    The conversation goes on as it is. What the update was trained on is not trained on again.
    """

    update: str
    weights: str


class WorkspaceRecorded(Record, frozen=True, kw_only=True, tag="workspace_recorded"):
    """The files of the workspace before or after something that can change them, by content.

    `tree` is the digest of names, kinds, modes and contents (docs/sessions.md says what is left out);
    empty where they could not be recorded, and `why` says why.
    """

    when: Literal["before", "after"]
    tree: str
    why: str = ""


class Rewound(Record, frozen=True, kw_only=True, tag="rewound"):
    """From here on the state is the one that stood after the event `to`; see `core.rewind`.

    `weights` is the digest of then. `before` and `after` are the workspace's trees as found and as it is
    to be: None where files stay as they are; `workspace_restored` follows when they are there. `overwritten`
    are paths that somebody changed by hand since: how they were is in the tree `before`. `left` are paths
    that a tool changed and that stay as they are, with why.
    """

    to: int
    how: Literal["undo", "redo", "resume"]
    weights: str
    before: str | None = None
    after: str | None = None
    overwritten: tuple[str, ...] = ()
    left: dict[str, str] = {}


class WorkspaceRestored(Record, frozen=True, kw_only=True, tag="workspace_restored"):
    """The files are as the record `rewound` said, but for those that `failed`, with the system's reason."""

    rewound: str
    changed: int
    failed: dict[str, str] = {}
