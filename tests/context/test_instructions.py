"""AGENTS.md: of the root, of the folder worked in, changed, gone, and in the log."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.events import InstructionsRead, event_registry
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import read


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src" / "deep").mkdir(parents=True)
    (folder / "AGENTS.md").write_text("Tabs, never spaces.\n")
    (folder / "src" / "AGENTS.md").write_text("Type everything.\n")
    (folder / "src" / "deep" / "a.py").write_text("x = 1\n")
    (folder / "b.py").write_text("y = 1\n")
    return folder


def reading(path: str) -> Call:
    return Call(tool="read", arguments={"path": path})


def prompt(session: Session) -> str:
    return bytes(session.policy.render(session.transcript.messages, ())).decode()


def opened(project: Path, *turns: Call | str, **more: object) -> Session:
    return open_scripted(project, turns, ui=ScriptedUI(), **more)  # type: ignore[arg-type]  # its own


def test_the_roots_file_is_in_the_system_message(project: Path) -> None:
    session = opened(project)
    engine.ask(session, "go")
    system = session.transcript.messages[0]
    assert system.role == "system" and "Tabs, never spaces." in system.text
    assert "Type everything." not in prompt(session)


def test_the_nearest_file_of_a_folder_is_added_when_a_tool_works_there_once(project: Path) -> None:
    session = opened(project, reading("src/deep/a.py"), reading("src/deep/a.py"))
    engine.ask(session, "go")
    assert prompt(session).count("Type everything.") == 1
    messages = session.transcript.messages
    place = next(i for i, m in enumerate(messages) if "Type everything." in m.text)
    assert messages[place - 1].role == "tool", "right after the result of the call that worked there"


def test_a_file_in_another_folder_brings_nothing(project: Path) -> None:
    session = opened(project, reading("b.py"))
    engine.ask(session, "go")
    assert "Type everything." not in prompt(session)


def test_a_change_during_the_session_is_told_at_the_next_prompt(project: Path) -> None:
    session = opened(project)
    engine.ask(session, "go")
    (project / "AGENTS.md").write_text("Spaces after all.\n")
    engine.ask(session, "more")
    assert "Spaces after all." in session.transcript.messages[-2].text
    (project / "AGENTS.md").unlink()
    engine.ask(session, "and more")
    assert "AGENTS.md is gone" in prompt(session)


def test_after_clear_all_of_it_is_in_the_system_message(project: Path) -> None:
    session = opened(project, reading("src/deep/a.py"))
    engine.ask(session, "go")
    engine.command(session, "/clear")
    engine.ask(session, "again")
    assert "Type everything." in session.transcript.messages[0].text


def test_a_long_file_is_cut_and_says_so(project: Path) -> None:
    (project / "AGENTS.md").write_text("".join(f"Rule {n}.\n" for n in range(100_000)))
    session = opened(project)
    engine.ask(session, "go")
    system = session.transcript.messages[0].text
    assert "Rule 1." in system and "[cut here: the file has" in system
    assert len(system) < ScriptedPolicy().model.context * 0.25


def test_a_resumed_session_sees_the_same_and_notices_changes(project: Path) -> None:
    session = opened(project, reading("src/deep/a.py"))
    engine.ask(session, "go")
    seen = prompt(session)
    session.close("quit")
    again = opened(project, log=session.log.path, resume=True)
    assert prompt(again) == seen
    again.close("quit")
    (project / "src" / "AGENTS.md").write_text("Type nothing.\n")
    third = opened(project, log=session.log.path, resume=True)
    assert "Type nothing." in prompt(third)


def test_what_was_read_is_in_the_log_with_its_hash(project: Path) -> None:
    session = opened(project, reading("src/deep/a.py"))
    engine.ask(session, "go")
    found = [r for r in read(session.log.path, event_registry()) if isinstance(r, InstructionsRead)]
    assert [r.path for r in found] == ["AGENTS.md", "src/AGENTS.md"]
    assert fold(read(session.log.path, event_registry())).messages == session.transcript.messages


def test_a_link_out_of_the_workspace_is_not_followed(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    (project / "AGENTS.md").unlink()
    (project / "AGENTS.md").symlink_to(tmp_path / "secret")
    session = opened(project)
    engine.ask(session, "go")
    assert "a secret" not in prompt(session)


def test_undoing_the_turn_takes_the_folders_instructions_back(project: Path) -> None:
    session = opened(project, "hello", reading("src/deep/a.py"))
    engine.ask(session, "one")
    before = prompt(session)
    engine.ask(session, "two")
    engine.command(session, "/undo")
    assert prompt(session) == before
    assert "src/AGENTS.md" not in session.transcript.instructions
