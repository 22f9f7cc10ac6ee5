"""Forgetting: the words go, and the ids made of them; the log verifies; what can be rebuilt is as it was."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, UpdatePlan
from continualcode.core.errors import ContentForgotten, UsageError
from continualcode.core.events import (
    BUILTIN_EVENTS,
    PromptSubmitted,
    SampleTaken,
    UpdateStarted,
    event_registry,
)
from continualcode.core.forgetting import forget_contents
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, plan_of, trainers_of
from continualcode.core.review import Answer
from continualcode.core.sessions import fork
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import Record, merge, read, unpack_u32, verify
from continualcode.eventlog.record import HEADER_FIELDS

SECRET = "tangerine 47"
NO = Answer(verdict="deny", reason="No.")


def call(content: str = "x") -> Call:
    return Call(tool="write", arguments={"path": "b.txt", "content": content})


def recorded(folder: Path, inputs: list[str], turns: list[Call | str], answers: list[Answer]) -> Path:
    """The log of a session in which that was typed, proposed and answered."""
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", "rehearsal": 0.0})
    session = open_scripted(folder / "p", turns, ui=ScriptedUI(inputs, answers), config=config)
    engine.run(session)
    session.close("quit")
    return session.log.path


def records(log: Path) -> list[Record]:
    return list(read(log, event_registry()))


def token_arrays(record: Record) -> Iterator[bytes]:
    """Every array of token ids in a record. The scripted policy's tokens are bytes."""
    if isinstance(record, SampleTaken):
        yield from (record.prompt.tail, record.token_ids)
    if isinstance(record, UpdateStarted):
        for row in record.examples:
            yield row.completion
            yield from (p.tail for p in (row.teacher, row.neutral, row.prompt) if p is not None)


def plans(log: Path) -> dict[int, UpdatePlan]:
    """The plans of the updates that can be rebuilt, by seq."""
    transcript, found = fold(records(log)), dict[int, UpdatePlan]()
    for update in transcript.updates.values():
        try:
            found[update.seq] = plan_of(update, transcript)
        except ContentForgotten:
            continue
    return found


def nowhere(log: Path, text: str) -> bool:
    """Whether `text` is neither in a file of the log nor in what its token ids spell."""
    files = [p for p in log.parent.iterdir() if p.name.startswith(log.name) and p.is_file()]
    spelt = [bytes(i & 255 for i in unpack_u32(ids)) for r in records(log) for ids in token_arrays(r)]
    return not any(text.encode() in data for data in [*spelt, *(p.read_bytes() for p in files)])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three updates: before the secret, on a prompt that holds it, and after the conversation was cleared."""
    inputs = ["one", f"my password is {SECRET}", "/clear", "three"]
    return recorded(tmp_path, inputs, [call(), "a", call(), "b", call(), "c"], [NO, NO, NO])


def test_a_text_goes_from_every_event_and_from_the_ids_and_the_log_verifies(log: Path) -> None:
    size, before = log.stat().st_size, verify(log)
    done = forget_contents(log, event_registry(), texts=[SECRET])
    assert nowhere(log, SECRET)
    assert verify(log) == before
    assert log.stat().st_size == size
    kept = records(log)
    assert [r.text for r in kept if isinstance(r, PromptSubmitted)][1] == "my password is «gone»"
    assert [r.seq for r in kept if r.gone is not msgspec.UNSET] == list(done.events)
    assert done.left == ()


def test_the_updates_that_did_not_depend_on_it_are_rebuilt_as_they_were(log: Path) -> None:
    before = plans(log)
    done = forget_contents(log, event_registry(), texts=[SECRET])
    after = plans(log)
    first, second, third = before
    assert done.updates == (second,)
    assert after == {first: before[first], third: before[third]}


def test_replay_says_which_update_it_cannot_rebuild(log: Path) -> None:
    _, second, _ = plans(log)
    forget_contents(log, event_registry(), texts=[SECRET])
    replayer = Replayer(ScriptedPolicy(), trainers_of(Plugins(installed=False)))
    with pytest.raises(
        ContentForgotten, match=rf"\(event {second}\) cannot be rebuilt any more: .*forgotten"
    ):
        replayer.run(iter(records(log)))
    assert (replayer.report.updates, replayer.report.matched) == (1, 1)


def test_an_events_texts_go_and_where_else_they_stand(tmp_path: Path) -> None:
    log = recorded(tmp_path, ["go", SECRET], [call(SECRET), "a"], [Answer(verdict="deny", reason=SECRET)])
    seq = next(r.seq for r in records(log) if isinstance(r, PromptSubmitted) and r.text == SECRET)
    forget_contents(log, event_registry(), seqs=[seq])
    assert nowhere(log, SECRET)
    assert fold(records(log)).messages  # it still folds


def test_what_is_no_content_is_said_to_be_left(log: Path) -> None:
    started = records(log)[0]
    assert forget_contents(log, event_registry(), texts=[str(log.parent)]).left == (started.seq,)
    with pytest.raises(UsageError, match="event 0 is not there, or holds no text"):
        forget_contents(log, event_registry(), seqs=[0])


def test_a_session_goes_on_after_forgetting_what_it_did_not_learn_from(tmp_path: Path) -> None:
    log = recorded(tmp_path, [f"hello {SECRET}"], ["a"], [])
    forget_contents(log, event_registry(), texts=[SECRET])
    session = open_scripted(tmp_path / "p", ["b"], ui=ScriptedUI(["again"]), log=log, resume=True)
    engine.run(session)
    session.close("quit")
    assert verify(log).ok
    transcript = fold(records(log))
    assert b"again" in bytes(transcript.sequence(list(transcript.samples)[-1]))


def test_forks_and_merges_keep_it_forgotten(log: Path) -> None:
    copy = log.with_name("copy.jsonl")
    fork(log, records(log)[-1].seq, copy)
    forget_contents(log, event_registry(), texts=[SECRET])
    fork(log, records(log)[-1].seq, log.with_name("later.jsonl"))
    merge([copy, log], log.with_name("both.jsonl"))
    for name in ("later.jsonl", "both.jsonl"):
        assert verify(log.with_name(name)).ok
        assert nowhere(log.with_name(name), SECRET)


NO_CONTENT = {
    "after", "approvals", "before", "by", "call_id", "correction", "earlier", "grammar", "hook", "how",
    "kind", "line", "missing", "name", "offer", "optimiser", "origin", "path", "plugin", "product", "retry",
    "rewound", "rule_id", "sample", "sandbox", "sha256", "tag", "tool", "trainer", "tree", "update",
    "weights", "workspace",
}  # fmt: skip
"""Text fields of built-in records that name something: ids, digests, paths, versions, words of ours."""


@pytest.mark.parametrize("kind", BUILTIN_EVENTS, ids=lambda kind: kind.__name__)
def test_each_text_of_a_record_is_contents_or_names_something(kind: type[Record]) -> None:
    """Words of a user, a model or a tool are `Text`, so that they can be forgotten."""
    ours = {("session_ended", "reason"), ("workspace_recorded", "why")}
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    plain = {
        field.name
        for field in info.fields
        if field.name not in HEADER_FIELDS
        for member in getattr(field.type, "types", (field.type,))
        if isinstance(member, msgspec.inspect.StrType)
    }
    assert {name for name in plain - NO_CONTENT if (info.tag, name) not in ours} == set()


INPUTS = st.lists(
    st.sampled_from(["go", "go on", f"see {SECRET}", SECRET[:6], "/clear", "/undo", "/redo"]),
    min_size=2,
    max_size=6,
)
TURNS = st.lists(
    st.sampled_from([call(), call(SECRET), f"said {SECRET}", "fine", "tang"]), min_size=3, max_size=8
)
ANSWERS = st.lists(
    st.sampled_from([NO, Answer(verdict="deny", reason=f"no {SECRET}"), Answer(verdict="allow")]), max_size=6
)


@settings(max_examples=6, deadline=None)
@given(INPUTS, TURNS, ANSWERS)
def test_whatever_was_said_when_nothing_of_it_stays_and_all_else_does(
    inputs: list[str], turns: list[Call | str], answers: list[Answer]
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        log = recorded(Path(folder), inputs, turns, answers)
        before, held = plans(log), not nowhere(log, SECRET)
        done = forget_contents(log, event_registry(), texts=[SECRET])
        assert nowhere(log, SECRET)
        assert verify(log).ok
        assert bool(done.events) == held
        assert plans(log) == {seq: plan for seq, plan in before.items() if seq not in done.updates}
