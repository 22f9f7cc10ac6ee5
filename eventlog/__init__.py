"""The event log: facts, as records, in one durable file that only grows.

    registry = Registry()
    registry.register(NoteGiven)
    with LogWriter.create("session.jsonl", registry) as log:
        note = log.append(NoteGiven(text="use tabs"))   # on the disk when it returns
    for record in read("session.jsonl", registry): ...

Knows nothing of what the records mean. Needs msgspec and the standard library. See docs/log.md.
"""

from continualcode.eventlog.arrays import F32, U32, pack_f32, pack_u32, unpack_f32, unpack_u32
from continualcode.eventlog.blobs import BlobForgotten, BlobStore
from continualcode.eventlog.contents import CONTENT, Text, Tokens
from continualcode.eventlog.disk import Disk
from continualcode.eventlog.encode import Redact
from continualcode.eventlog.errors import LogCorrupt, LogDead, LogError, LogHeld, RecordError
from continualcode.eventlog.follow import follow
from continualcode.eventlog.forget import forget
from continualcode.eventlog.line import LogHeader
from continualcode.eventlog.merge import Merged, merge, origin
from continualcode.eventlog.plain import to_builtins
from continualcode.eventlog.reader import read, read_header
from continualcode.eventlog.record import Opaque, Record, first_written
from continualcode.eventlog.redact import Redactor
from continualcode.eventlog.registry import Registry
from continualcode.eventlog.repair import Repaired, repair
from continualcode.eventlog.segments import blobs_path
from continualcode.eventlog.stats import Stats, stats
from continualcode.eventlog.verify import Verification, verify
from continualcode.eventlog.writer import LogWriter

__all__ = [
    "CONTENT",
    "Text",
    "Tokens",
    "BlobForgotten",
    "BlobStore",
    "Disk",
    "F32",
    "LogCorrupt",
    "LogDead",
    "LogError",
    "LogHeader",
    "LogHeld",
    "LogWriter",
    "Merged",
    "Opaque",
    "Record",
    "RecordError",
    "Redact",
    "Redactor",
    "Registry",
    "Repaired",
    "Stats",
    "U32",
    "Verification",
    "blobs_path",
    "first_written",
    "follow",
    "forget",
    "merge",
    "origin",
    "pack_f32",
    "pack_u32",
    "read",
    "read_header",
    "repair",
    "stats",
    "to_builtins",
    "unpack_f32",
    "unpack_u32",
    "verify",
]
