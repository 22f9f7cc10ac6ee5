"""What the weights of a log are made of: the updates on its path, and the corrections that each took up.

An update that was undone is not on the path; one that the gate rejected is, as with other weights before it
the gate may let it through. Several logs make one curriculum: updates in the order of time, where a log's
time never runs backwards, then by log id, so that the order depends on the logs alone. What two
logs share (one is a fork of the other) counts once.

A selector says which corrections are meant: SEQ (the event of a correction or of an update, which means all
that it took up), by:NAME (who gave it), kind:NAME, tag:NAME (`/tag`), log:NAME, or NAME@SEQ in the log of
that name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from continualcode.core.data import Data
from continualcode.core.errors import ReplayError, UsageError, nearest
from continualcode.core.events import (
    CorrectionGiven,
    CorrectionTagged,
    SessionStarted,
    UpdateApplied,
    UpdateRejected,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import FeedbackType
from continualcode.core.transcript import Transcript
from continualcode.core.undo_events import Rewound, UpdateReverted
from continualcode.eventlog import Record, Registry, read, read_header


class Attempt(NamedTuple):
    """One update that a log ran: as logged, how it came out, and the corrections that were its own."""

    log: str
    path: str
    started: UpdateStarted
    outcome: UpdateApplied | UpdateRejected
    own: tuple[CorrectionGiven, ...]
    transcript: Transcript
    place: tuple[str, str, int]
    """Time, log id and seq: the order of a curriculum."""
    tags: Mapping[str, frozenset[str]] = {}
    """What the log's corrections were called, by id."""


class Course(NamedTuple):
    """One log as a curriculum: its name and id, how it started, and its updates in order."""

    name: str
    id: str
    started: SessionStarted
    transcript: Transcript
    attempts: tuple[Attempt, ...]


def course(
    log: Path,
    plugins: Plugins,
    *,
    until: int | None = None,
    feedback: Mapping[str, FeedbackType] | None = None,
) -> Course:
    """The log in the file `log`, up to and with the event `until`; named after the file."""
    records = up_to(until, read(log, event_registry(plugins.event_types())), log)
    return course_of(records, log.stem, read_header(log).log, feedback, str(log.resolve()))


def up_to(seq: int | None, records: Iterable[Record], log: Path) -> Iterator[Record]:
    """The records of `log` up to and with the event `seq`, or all of them; UsageError where it is not there.

    Nothing is read after it: that may be damaged.
    """
    last = -1
    for record in records:
        last = record.seq
        if seq is None or last <= seq:
            yield record
        if last == seq:
            return
    if seq is not None:
        raise UsageError(f"no event {seq} in {log}: there are 0 to {last}")


def require_event(seq: int | None, log: Path) -> None:
    """UsageError where `log` has no event `seq`; for before a model is loaded."""
    for _ in up_to(seq, read(log, Registry()), log) if seq is not None else ():
        pass


def course_of(
    records: Iterable[Record],
    name: str,
    log: str,
    feedback: Mapping[str, FeedbackType] | None = None,
    path: str = "",
) -> Course:
    """Likewise, of records. Raises ReplayError where they are no session's, or those of several."""
    transcript, time = Transcript(feedback), ""
    tried: tuple[str, ...] = ()
    tried_at: list[tuple[str, ...]] = []
    times: dict[str, str] = {}
    tags: dict[str, frozenset[str]] = {}
    for record in records:
        if isinstance(record, SessionStarted) and transcript.started is not None:
            raise ReplayError(
                f"{name}: event {record.seq} is a second session's start: this log was merged from several; "
                "give those instead, all at once"
            )
        transcript.apply(record)
        time = max(time, record.ts)
        match record:
            case UpdateStarted():
                times[record.id] = time
            case CorrectionTagged():
                tags[record.correction] = tags.get(record.correction, frozenset()) | {record.tag}
            case UpdateApplied() | UpdateRejected():
                tried = (*tried, record.update)
            case UpdateReverted():
                tried = tuple(update for update in tried if update != record.update)
            case Rewound():
                tried = tried_at[record.to]
            case _:
                pass
        tried_at.append(tried)
    if transcript.started is None:
        raise ReplayError(f"{name}: holds no session_started: there is nothing to replay from")
    attempts: list[Attempt] = []
    for update in tried:
        started, outcome = transcript.updates[update], transcript.outcomes[update]
        assert isinstance(outcome, UpdateApplied | UpdateRejected)  # nothing else was put in `tried`
        own = tuple(transcript.mark(started.seq).pending.values())
        place = (times[update], log, started.seq)
        attempts.append(Attempt(name, path, started, outcome, own, transcript, place, tags))
    return Course(name, log, transcript.started, transcript, tuple(attempts))


def in_order(courses: Sequence[Course]) -> list[Attempt]:
    """The updates of all of them as one curriculum."""
    every = sorted((a for one in courses for a in one.attempts), key=lambda attempt: attempt.place)
    return list({attempt.started.id: attempt for attempt in every}.values())


# -- Which corrections ---------------------------------------------------------------------------------


class Choice(Data, frozen=True):
    """Which corrections take part, by selectors: all but `without`; only `only`, if there are any.

    weights: selector → what the rows of these corrections weigh; 1 where nothing is said.
    """

    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    weights: dict[str, float] = {}


class Verdict(NamedTuple):
    """What a choice comes to for one correction. why: the selector, or empty."""

    taken: bool
    why: str = ""
    weight: float = 1.0


def decide(attempts: Sequence[Attempt], choice: Choice) -> dict[str, Verdict]:
    """Correction id → verdict. UsageError names a selector that means nothing here, or several things."""
    matched = {
        text: set(_matching(text, attempts)) for text in (*choice.without, *choice.only, *choice.weights)
    }
    verdicts: dict[str, Verdict] = {}
    for attempt in attempts:
        for correction in attempt.own:
            id = correction.id
            out = next((text for text in choice.without if id in matched[text]), None)
            within = next((text for text in choice.only if id in matched[text]), None)
            weight = 1.0
            for text, factor in choice.weights.items():
                weight *= factor if id in matched[text] else 1.0
            if out is not None:
                verdicts[id] = Verdict(False, f"--without {out}")
            elif choice.only and within is None:
                verdicts[id] = Verdict(False, f"not in --only {','.join(choice.only)}")
            elif weight == 0.0:
                verdicts[id] = Verdict(False, "weight 0")
            else:
                verdicts[id] = Verdict(True, f"--only {within}" if within else "", weight)
    return verdicts


def _matching(text: str, attempts: Sequence[Attempt]) -> Iterator[str]:
    """Ids of the corrections that `text` selects; at least one."""
    key, colon, value = text.partition(":")
    name, at, seq = text.rpartition("@")
    if seq.isdecimal() and (not at or name):
        yield from _at_event(text, name, int(seq), attempts)
        return
    if not colon or key not in ("by", "kind", "tag", "log"):
        raise UsageError(
            f"{text!r} selects no corrections: an event's number does, NAME@SEQ in the log of that name, "
            "by:NAME, kind:NAME, tag:NAME, log:NAME"
        )
    pairs = [(a, c) for a in attempts for c in a.own]
    found = [c.id for a, c in pairs if value in _looked_at(key, a, c)]
    if not found:
        there = frozenset[str]().union(*(_looked_at(key, a, c) for a, c in pairs))
        raise UsageError(f"{text!r} selects no correction that was learned here; {nearest(value, there)}")
    yield from found


def _looked_at(key: str, attempt: Attempt, correction: CorrectionGiven) -> frozenset[str]:
    """What a selector with that key is compared with."""
    tags = attempt.tags.get(correction.id, frozenset())
    one = {"by": correction.by, "kind": correction.kind, "log": attempt.log}
    return tags if key == "tag" else frozenset({one[key]})


def _at_event(text: str, name: str, seq: int, attempts: Sequence[Attempt]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for attempt in attempts:
        if name and name != attempt.log:
            continue
        if seq in (attempt.started.seq, attempt.outcome.seq):
            found.setdefault(attempt.log, []).extend(c.id for c in attempt.own)
        else:
            found.setdefault(attempt.log, []).extend(c.id for c in attempt.own if c.seq == seq)
    hit = {log: ids for log, ids in found.items() if ids}
    if not hit:
        there = ", ".join(f"{a.log}@{c.seq}" if name else str(c.seq) for a in attempts for c in a.own)
        raise UsageError(
            f"{text!r} is no correction, and no update of one, that the weights are made of; "
            f"those are the events {there or 'none'}"
        )
    if len(hit) > 1:
        raise UsageError(f"{text!r} could be in {' or '.join(sorted(hit))}: say which, as NAME@{seq}")
    yield from next(iter(hit.values()))
