"""Training examples out of a log, in the forms that TRL and `datasets` load.

One row a sample that somebody decided on, and one for each solution that a correction gave:

    prompt, completion   lists of {role, content} (conversational), or strings (text)
    label                whether it was wanted: TRL's unpaired preference form; drop the others to fine-tune
    feedback, kind       what the user said about it, and the kind of correction; empty where there was none
    log, seq, sample     which log and event it is from: in a merged log or a fork, where it was first

The strings of the text form are the conversation's messages, a `role: content` line each: what a chat
template makes of them depends on the model, and is not in the log as text.
"""

import importlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from continualcode.core.data import Message
from continualcode.core.errors import UsageError
from continualcode.core.events import (
    CorrectionGiven,
    DecisionMade,
    Parent,
    PromptSubmitted,
    SampleTaken,
    SessionStarted,
)
from continualcode.core.transcript import Transcript
from continualcode.eventlog import LogHeader, Record, first_written

Form: TypeAlias = Literal["conversational", "text"]
Row: TypeAlias = dict[str, Any]

_BATCH = 1000


def examples(records: Iterable[Record], header: LogHeader, form: Form) -> Iterator[Row]:
    """The rows of a log, each session's in order, each turn's when it is over: memory is that of transcripts.

    A merged log's sessions are told apart by where each event was first; what two of them share (one is a
    fork of the other) comes once.
    """
    sessions = _Sessions()
    told: set[bytes] = set()
    for record in records:
        log, seq = first_written(record, header.log)
        mine = sessions.with_event(record, log, seq) if header.merged else [sessions[header.log]]
        for session in mine:
            yield from _new(session.rows(record, log, seq, form), told)
    for session in sessions.values():
        yield from _new(session.decided(), told)


def _new(rows: Iterable[Row], told: set[bytes]) -> Iterator[Row]:
    """Those rows that did not come before."""
    for row in rows:
        digest = sha256(msgspec.json.encode(row)).digest()
        if digest not in told:
            told.add(digest)
            yield row


class _Sessions(dict[str, "_Session"]):
    """The sessions of a merged log, by the log that each was first; a fork has events of its parent."""

    def __missing__(self, log: str) -> "_Session":
        return self.setdefault(log, _Session())

    def with_event(self, record: Record, log: str, seq: int) -> "list[_Session]":
        """Those that have the event `seq` of `log`: its own one, and the forks that came after it."""
        if isinstance(record, SessionStarted):
            self[log].parent = record.parent
            return [self[log]]
        self.setdefault(log, _Session())
        return [session for name, session in self.items() if self._has(name, log, seq)]

    def _has(self, name: str, log: str, seq: int) -> bool:
        if name == log:
            return True
        parent = session.parent if (session := self.get(name)) else None
        return parent is not None and seq <= parent.seq and self._has(parent.log, log, seq)


class _Session:
    """One session on the way through its records, with the rows of the turn that is not over yet."""

    def __init__(self) -> None:
        self.parent: Parent | None = None
        self._transcript = Transcript()
        self._waiting: dict[str, Row] = {}

    def rows(self, record: Record, log: str, seq: int, form: Form) -> Iterator[Row]:
        """Take one record into account, first event `seq` of `log`; the rows of the turn that it ends."""
        waiting, transcript = self._waiting, self._transcript
        if isinstance(record, PromptSubmitted):
            yield from self.decided()
            waiting.clear()
        if isinstance(record, SampleTaken):
            waiting[record.id] = _row(transcript.messages, record.text, form) | {
                "label": None,
                "feedback": "",
                "kind": "",
                "log": log,
                "seq": seq,
                "sample": record.id,
            }
        transcript.apply(msgspec.structs.replace(record, seq=seq))
        if isinstance(record, DecisionMade) and record.call_id in transcript.proposals:
            if (row := waiting.get(transcript.proposals[record.call_id].sample)) is not None:
                row["label"] = record.verdict == "allow"
        if isinstance(record, CorrectionGiven) and (row := waiting.get(record.sample)) is not None:
            row |= {"label": False, "feedback": record.feedback, "kind": record.kind}
            if record.solution is not None:
                solved = msgspec.json.encode(record.solution).decode()
                waiting[record.id] = row | {"completion": _said(solved, form), "label": True}

    def decided(self) -> Iterator[Row]:
        """The rows that wait and that somebody has decided on."""
        yield from (row for row in self._waiting.values() if row["label"] is not None)


def _row(messages: list[Message], said: str, form: Form) -> Row:
    if form == "text":
        prompt = "".join(f"{message.role}: {_content(message)}\n" for message in messages) + "assistant: "
        return {"prompt": prompt, "completion": said}
    prompts = [{"role": message.role, "content": _content(message)} for message in messages]
    return {"prompt": prompts, "completion": _said(said, form)}


def _said(text: str, form: Form) -> Any:
    return text if form == "text" else [{"role": "assistant", "content": text}]


def _content(message: Message) -> str:
    return message.text or (msgspec.json.encode(message.call).decode() if message.call else "")


def write_parquet(rows: Iterable[Row], form: Form, out: Path) -> int:
    """The rows as one Parquet file, written a batch at a time; how many there were. Needs pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow: pip install 'continualcode[parquet]', or take --format jsonl"
        ) from error
    text = arrow.string()
    said = text if form == "text" else arrow.list_(arrow.struct({"role": text, "content": text}))
    schema = arrow.schema({"prompt": said, "completion": said, "label": arrow.bool_()})
    for name, kind in (
        ("feedback", text),
        ("kind", text),
        ("log", text),
        ("seq", arrow.int64()),
        ("sample", text),
    ):
        schema = schema.append(arrow.field(name, kind))
    count, rows = 0, iter(rows)
    with parquet.ParquetWriter(out, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(arrow.Table.from_pylist(batch, schema))
            count += len(batch)
    return count
