"""Going back, as a fold: what stood after each event, and what an undo can still be taken back to.

The log only grows, so undoing is a fact too: `rewound` says that from here on the conversation, the
notes, the pending corrections, the weights and what the model knows of files are those that stood after an
earlier event. A redo is the same record, pointing to what stood right before the undo. So the events form a
tree, of which the state at hand is one path, and a resumed or replayed log comes to the same state.

Rules are not taken back: they are the user's own decisions about permissions, with commands of their own.

A `Mark` is all of the state that can be gone back to. Nothing in it is ever changed in place (the message
list only grows, and `length` says how much of it stood then), so one a record costs a few pointers.
"""

from typing import Literal, NamedTuple, TypeAlias

from continualcode.core.data import Message
from continualcode.core.events import CorrectionGiven, InstructionsRead

StepKind: TypeAlias = Literal["turn", "clear", "compaction"]


class Step(NamedTuple):
    """Something that the user did and may want undone, from the event `seq` on; `text` is a prompt's."""

    kind: StepKind
    seq: int
    text: str = ""


class FileChanges(NamedTuple):
    """What happened to the workspace between two snapshots; it is done by the event `seq`.

    Trees are digests (`workspace_recorded`); an empty one could not be recorded, and `why` says why. `after`
    is None while it goes on, or where a crash ended it.
    """

    seq: int
    before: str
    after: str | None
    why: str = ""


class Mark(NamedTuple):
    """The state after one event."""

    messages: list[Message]
    length: int
    notes: tuple[str, ...]
    seen: dict[str, str]
    instructions: dict[str, InstructionsRead]
    pending: dict[str, CorrectionGiven]
    weights: str
    standing: tuple[str, ...]
    steps: tuple[Step, ...]
    said: tuple[str, ...]
