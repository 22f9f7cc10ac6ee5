"""@path in a prompt."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.events import FileAttached, ToolRan
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.plugins.context.mentions import mentioned

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x = 2\n"})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    (folder / "odd name.txt").write_text("odd\n")
    return folder


def asked(project: Path, text: str, *turns: Call | str) -> tuple[Session, ScriptedUI]:
    ui = ScriptedUI()
    session = open_scripted(project, turns, ui=ui)
    engine.ask(session, text)
    return session, ui


def test_the_content_goes_with_the_prompt_after_the_users_words(project: Path) -> None:
    session, ui = asked(project, "Fix @a.py, please.")
    text = next(m.text for m in session.transcript.messages if m.role == "user")
    assert text.startswith("Fix @a.py, please.") and "1| x = 1" in text
    assert [type(e).__name__ for e in ui.events].count("FileAttached") == 1


def test_the_tools_know_that_it_was_seen(project: Path) -> None:
    session, ui = asked(project, "Fix @a.py", WRITE)
    (ran,) = (e for e in ui.events if isinstance(e, ToolRan))
    assert ran.success and (project / "a.py").read_text() == "x = 2\n"
    assert session.transcript.seen.keys() == {"a.py"}


def test_without_it_they_refuse(project: Path) -> None:
    _, ui = asked(project, "Fix a.py", WRITE)
    (ran,) = (e for e in ui.events if isinstance(e, ToolRan))
    assert not ran.success


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("@a.py", ["a.py"]),
        ('see @"odd name.txt" and @a.py.', ["odd name.txt", "a.py"]),
        ("mail me@example.org", []),
        ("twice @a.py @a.py", ["a.py"]),
        ("(@src/a-b_c.py)", ["src/a-b_c.py"]),
    ],
)
def test_what_counts_as_a_mention(text: str, paths: list[str]) -> None:
    assert mentioned(text) == paths


def test_a_path_that_is_no_file_is_said_and_a_decorator_is_not(project: Path) -> None:
    _, ui = asked(project, "use @property in @b.py")
    assert len(ui.messages) == 1 and "@b.py" in ui.messages[0]


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/hostname", "link"])
def test_nothing_outside_of_the_workspace_goes_along(project: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.txt").write_text("secret\n")
    (project / "link").symlink_to(tmp_path / "outside.txt")
    _, ui = asked(project, f"look at @{path}")
    assert not any(isinstance(e, FileAttached) for e in ui.events)
