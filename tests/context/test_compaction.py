"""/compact and compaction at the limit: shorter, the newest kept, no word of a correction lost."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core import engine
from continualcode.core.data import Call, Message
from continualcode.core.events import Compacted, SampleTaken, UpdateStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, trainers_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import read
from continualcode.plugins.context.compaction import HEADING

CORRECTION = "Use edit_lines, never `write`:\n  it loses\n\nwhat was there. · {braces} · → …"


def reading(path: str) -> Call:
    return Call(tool="read", arguments={"path": path})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.txt").write_text(f"line of {number}\n" * 150)
    return folder


def small(context: int, turns: list[Call | str]) -> ScriptedPolicy:
    policy = ScriptedPolicy(turns)
    policy.model = msgspec.structs.replace(policy.model, context=context)
    return policy


def ran(project: Path, context: int, denied: int = 0) -> tuple[Session, ScriptedUI]:
    """A turn that reads eight files of 3 kB each; the first calls are denied with CORRECTION."""
    turns: list[Call | str] = [reading(f"{n}.txt") for n in range(8)]
    answers = [Answer(verdict="deny", reason=f"{n}: {CORRECTION}") for n in range(denied)]
    ui = ScriptedUI([], answers)
    session = open_scripted(project, ui=ui, policy=small(context, turns))
    engine.ask(session, "Read them all, and keep this prompt.")
    return session, ui


def everything(session: Session) -> str:
    return "\n".join(m.text for m in session.transcript.messages)


def test_compact_keeps_corrections_notes_and_prompts_word_for_word(project: Path) -> None:
    session, ui = ran(project, 40_000, denied=2)
    engine.command(session, "/note never touch the build files")
    before = len(everything(session))
    engine.command(session, "/compact")
    text = everything(session)
    assert len(text) < 0.9 * before
    for words in (f"0: {CORRECTION}", f"1: {CORRECTION}", "never touch the build files", "keep this prompt."):
        assert words in text
    assert "word for word" in ui.messages[-1]


def test_the_newest_messages_stay_as_they_are(project: Path) -> None:
    session, _ = ran(project, 40_000)
    last = session.transcript.messages[-2:]
    engine.command(session, "/compact")
    assert session.transcript.messages[-2:] == last
    assert session.transcript.messages[0].role == "system"


def test_near_the_limit_it_happens_by_itself_and_is_said(project: Path) -> None:
    session, ui = ran(project, 12_000, denied=1)
    records = [e for e in ui.events if isinstance(e, Compacted)]
    assert records and all(r.by == "limit" and r.after < r.before for r in records)
    assert any("shortened from" in message for message in ui.messages)
    assert f"0: {CORRECTION}" in everything(session)
    samples = [e for e in ui.events if isinstance(e, SampleTaken)]
    lengths = [len(session.transcript.expand(s.prompt)) for s in samples]
    assert max(lengths) < 12_000 - 512


def test_it_happens_again_and_again_and_the_first_correction_stays(project: Path) -> None:
    session, ui = ran(project, 12_000, denied=1)
    for _ in range(3):
        session.policy.turns += [reading(f"{n}.txt") for n in range(8)]  # type: ignore[attr-defined]  # scripted
        engine.ask(session, "Once more.")
    assert sum(isinstance(e, Compacted) for e in ui.events) > 3
    assert f"0: {CORRECTION}" in everything(session)
    assert everything(session).count(HEADING) == 1


def test_a_short_conversation_is_left_alone(project: Path) -> None:
    ui = ScriptedUI()
    session = open_scripted(project, ui=ui)
    engine.ask(session, "hello")
    engine.command(session, "/compact")
    assert "Nothing to shorten" in ui.messages[0]


def test_a_resumed_and_a_replayed_log_have_the_same_context(project: Path) -> None:
    session, _ = ran(project, 12_000, denied=1)
    engine.command(session, "/compact")
    records = list(read(session.log.path, event_registry()))
    assert fold(records).messages == session.transcript.messages
    policy = small(12_000, [])
    assert Replayer(policy, trainers_of(Plugins(installed=False))).run(records).ok


def test_what_was_sampled_before_is_trained_on_with_the_prompt_of_then(project: Path) -> None:
    session, ui = ran(project, 12_000, denied=1)
    engine.command(session, "/compact")
    (started,) = (e for e in ui.events if isinstance(e, UpdateStarted))
    sample = next(e for e in ui.events if isinstance(e, SampleTaken))
    assert started.examples[0].sample == sample.id
    assert "What happened before" not in session.transcript.sampled(sample.id).messages[-1].text


def test_undo_takes_a_compaction_back(project: Path) -> None:
    session, _ = ran(project, 40_000)
    before = list(session.transcript.messages)
    engine.command(session, "/compact")
    engine.command(session, "/undo")
    assert session.transcript.messages == before


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=300)
"""What a user may say. (A terminal gives no carriage return and no NUL.)"""


@settings(max_examples=12, deadline=None)
@given(said=st.lists(st.tuples(st.sampled_from(["deny", "note", "prompt"]), WORDS), min_size=1, max_size=12))
def test_no_word_of_the_user_is_ever_lost(
    said: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("p") / "p"
    folder.mkdir()
    (folder / "a.txt").write_text("filler\n" * 150)
    ui = ScriptedUI()
    policy = small(9000, [])
    session = open_scripted(folder, ui=ui, policy=policy)
    for kind, words in said:
        if kind == "note":
            engine.command(session, f"/note {words.strip() or 'x'}")
        else:
            policy.turns += [reading("a.txt"), "done"]
            ui.answers = [Answer(verdict="deny", reason=words)] if kind == "deny" else []
            engine.ask(session, "go" if kind == "deny" else words)
    engine.command(session, "/compact")
    text = everything(session)
    for kind, words in said:
        assert (words if kind == "deny" else words.strip()) in text
    assert isinstance(session.transcript.messages[0], Message)
    session.close("quit")
