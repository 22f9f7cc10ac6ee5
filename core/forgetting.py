"""Forgetting what a session holds: the words themselves, and the token ids that were made of them.

Ids can't be searched for a text without the tokenizer, so they go by where they come from. A prompt is
stored as the head of an earlier sequence and a tail (`PromptTokens`). Where the model saw a text, its ids are
in the tail of the first prompt after it, or, where a later prompt leaves the shared head before the end of
such a tail, in that one's tail again. Those ids go, whole. An update loses its ids where one of its prompts
does, or where something was forgotten between it and the update before.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from continualcode.core.data import Data, Message, PromptTokens
from continualcode.core.errors import ContentForgotten, UsageError
from continualcode.core.events import SampleTaken, UpdateStarted
from continualcode.core.replay import plan_of
from continualcode.core.transcript import Transcript, fold
from continualcode.eventlog import Record, Registry, read, to_builtins
from continualcode.eventlog.erase import contents, erase

LONG = 8
"""From how many characters on a text of a forgotten event is looked for in the other events too."""


class Forgotten(Data, frozen=True):
    """What was done: the events that lost contents, and the updates that can't be rebuilt any more, by seq.

    `left` are events in which a text still stands, where it can't go: in a path, a setting, an unknown type.
    `blobs` are digests.
    """

    events: tuple[int, ...] = ()
    updates: tuple[int, ...] = ()
    left: tuple[int, ...] = ()
    blobs: tuple[str, ...] = ()


def forget_contents(
    path: Path, registry: Registry, *, texts: Iterable[str] = (), seqs: Iterable[int] = ()
) -> Forgotten:
    """Take `texts` out of every event of the log at `path`, and all texts out of the events `seqs`."""
    found, wholly = dict(contents(path, registry)), set(seqs)
    if missing := sorted(wholly - {seq for seq in found if any(found[seq])}):
        raise UsageError(f"{path}: event {missing[0]} is not there, or holds no text that can be forgotten")
    of_events = {text for seq in wholly for text in found[seq] if len(text) >= LONG}
    wanted = sorted({*texts, *of_events} - {""}, key=len, reverse=True)

    def without(marker: str, text: str) -> str:
        for one in wanted:
            text = text.replace(one, marker)
        return text

    def all_of(marker: str, text: str) -> str:
        return marker if text else ""

    hits = wholly | {
        seq for seq, held in found.items() if any(one in text for text in held for one in wanted)
    }
    needles = {*wanted, *(text for seq in wholly for text in found[seq])} - {""}
    touched = hits | _with_ids(read(path, registry), hits, needles)
    # An update that is touched cannot be rebuilt, and a grammar may have a piece of what was said in it.
    lost = wholly | {r.seq for r in read(path, registry) if isinstance(r, UpdateStarted)}
    erase(path, registry, {seq: all_of if seq in lost else without for seq in touched})
    return Forgotten(
        events=tuple(sorted(touched)),
        updates=tuple(_lost_updates(path, registry)),
        left=tuple(_left(path, registry, wanted)),
    )


def _with_ids(records: Iterable[Record], hits: set[int], needles: set[str]) -> set[int]:
    """The samples and updates whose token ids may hold words of the events `hits`, which are `needles`."""
    touched, transcript = set[int](), Transcript()
    names = set[str]()  # ids of the events hit
    saw = set[str]()  # samples before which one of the needles stood
    ends: dict[str, int] = {}  # up to where, in the sequence of a sample, such ids stand; 0: nowhere
    waiting = since_update = False

    def in_tail(prompt: PromptTokens | None) -> bool:
        end = ends.get(prompt.after or "", 0) if prompt is not None else 0
        return prompt is not None and (end == 0 or prompt.shared < end)

    for record in records:
        if record.seq in hits:
            names.add(record.id)
            waiting = since_update = True
        if isinstance(record, SampleTaken):
            length, end = record.prompt.shared + len(record.prompt.tail) // 4, 0
            if _stand_in(transcript.messages, needles):
                saw.add(record.id)
                end = ends.get(record.prompt.after or "", 0)
                if waiting or in_tail(record.prompt):
                    touched.add(record.seq)
                    end = length
            own = record.seq in hits
            ends[record.id] = length + len(record.token_ids) // 4 if own else end
            waiting = False
        elif isinstance(record, UpdateStarted):
            if since_update or any(
                row.correction in names
                or (row.sample in saw and any(map(in_tail, (row.teacher, row.neutral, row.prompt))))
                for row in record.examples
            ):
                touched.add(record.seq)
            since_update = False
        transcript.apply(record)
    return touched


def _stand_in(messages: list[Message], needles: set[str]) -> bool:
    """Whether one of the texts stands in what the model saw."""
    seen = msgspec.json.encode(messages)
    return any(msgspec.json.encode(text)[1:-1] in seen for text in needles)


def _lost_updates(path: Path, registry: Registry) -> Iterable[int]:
    transcript = fold(read(path, registry))
    for update in transcript.updates.values():
        try:
            plan_of(update, transcript)
        except ContentForgotten:
            yield update.seq


def _left(path: Path, registry: Registry, texts: list[str]) -> Iterable[int]:
    """The events in which one of the texts still stands."""
    escaped = [msgspec.json.encode(text)[1:-1] for text in texts]
    for record in read(path, registry):
        line = msgspec.json.encode(to_builtins(record))
        if any(text in line for text in escaped):
            yield record.seq
