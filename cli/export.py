"""Training examples out of a log, in the forms that TRL and `datasets` load.

One row a sample that somebody decided on, and one for each solution that a correction gave:

    prompt, completion   lists of {role, content} (conversational), or strings (text)
    label                whether it was wanted: TRL's unpaired preference form; drop the others to fine-tune
    feedback, kind       what the user said about it, and the kind of correction; empty where there was none
    log, seq, sample     which log and event it is from

The strings of the text form are the conversation's messages, a `role: content` line each: what a chat
template makes of them depends on the model, and is not in the log as text.
"""

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from continualcode.core.data import Message
from continualcode.core.errors import UsageError
from continualcode.core.events import CorrectionGiven, DecisionMade, PromptSubmitted, SampleTaken
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record

Form: TypeAlias = Literal["conversational", "text"]
Row: TypeAlias = dict[str, Any]


def examples(records: Iterable[Record], log: str, form: Form) -> Iterator[Row]:
    """The rows of one session, in order, each turn's when it is over: memory is that of a transcript."""
    transcript = Transcript()
    waiting: dict[str, Row] = {}
    for record in records:
        if isinstance(record, PromptSubmitted):
            yield from _decided(waiting)
            waiting = {}
        if isinstance(record, SampleTaken):
            waiting[record.id] = _row(transcript.messages, record.text, form) | {
                "label": None,
                "feedback": "",
                "kind": "",
                "log": log,
                "seq": record.seq,
                "sample": record.id,
            }
        transcript.apply(record)
        if isinstance(record, DecisionMade) and record.call_id in transcript.proposals:
            if (row := waiting.get(transcript.proposals[record.call_id].sample)) is not None:
                row["label"] = record.verdict == "allow"
        if isinstance(record, CorrectionGiven) and (row := waiting.get(record.sample)) is not None:
            row |= {"label": False, "feedback": record.feedback, "kind": record.kind}
            if record.solution is not None:
                solved = msgspec.json.encode(record.solution).decode()
                waiting[record.id] = row | {"completion": _said(solved, form), "label": True}
    yield from _decided(waiting)


def _decided(waiting: dict[str, Row]) -> Iterator[Row]:
    yield from (row for row in waiting.values() if row["label"] is not None)


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


def write_parquet(rows: Iterable[Row], out: Path) -> int:
    """The rows as one Parquet file; how many there were. Needs pyarrow."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install pyarrow, or take --format jsonl") from error
    table = arrow.Table.from_pylist(list(rows))
    parquet.write_table(table, out)
    return int(table.num_rows)
