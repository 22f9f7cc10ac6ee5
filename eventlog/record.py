"""The base of every record, and the record that nobody here knows.

A record is a frozen struct: one fact, named in the past tense. The header fields come first; the
writer fills them in. Subclass it so (`kw_only` and `frozen` are not inherited):

    class NoteGiven(Record, frozen=True, kw_only=True, tag="note_given"):
        text: str

A later version of the same fact has the tag `note_given@2`; see `Registry.upcast`.
"""

import msgspec
from msgspec import UNSET, UnsetType


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="t"):
    """A fact. The writer fills in these five; give `cause` to `LogWriter.append` or set it here.

    `seq` counts the log's events from 0. `d` is how many of them were durable when this one's batch
    was written. `ts` is UTC to the microsecond; order is by `seq`, for clocks may go backwards. `id` is
    unique across logs. `cause` is the id of the event that led to this one.

    Two are read and never written. `of`: which event of which log ("<log id>:<seq>") this one was first,
    where it came in by a merge or a fork. `gone`: set where contents of this record were forgotten.
    """

    seq: int = 0
    d: int = 0
    ts: str = ""
    id: str = ""
    cause: str | None = None
    of: str | UnsetType = UNSET
    gone: str | UnsetType = UNSET

    @property
    def t(self) -> str:
        """The type's tag, as the line has it."""
        return str(self.__struct_config__.tag)


HEADER_FIELDS = ("seq", "d", "ts", "id", "cause", "of", "gone")


def first_written(record: Record, log: str) -> tuple[str, int]:
    """Which log a record of the log `log` was first written to, and its seq there."""
    if record.of is UNSET:
        return log, record.seq
    first, _, seq = record.of.rpartition(":")
    return first, int(seq)


class Opaque(Record, frozen=True, kw_only=True, tag="opaque"):
    """A record of a type (or of a version) that the registry cannot decode. It keeps its bytes.

    `type` is the line's tag, `raw` the JSON object without `h`, as it was written; `why` says what kept
    it from being decoded. Appending it to a log writes `raw` with a new seq and d, and nothing else
    changed: going through decode and encode would lose what this version does not know.
    """

    type: str
    raw: bytes
    why: str

    @property
    def t(self) -> str:
        """The tag of the record that this one stands for."""
        return self.type
