"""Sessions in which a scripted model proposes calls and a scripted person decides them."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from continualcode.core import engine
from continualcode.core.config import Config, SessionConfig
from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted

Play = Callable[..., Session]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs a session: files to begin with, the model's turns, what the person types and answers."""

    def run(
        turns: Iterable[Call | str],
        *,
        files: Mapping[str, str] | None = None,
        inputs: Iterable[str] = ("Fix it.",),
        answers: Iterable[Answer] = (),
        feedback: Mapping[str, Any] | None = None,
        approvals: Literal["ask", "reads"] = "ask",
        snapshots: bool = False,
        plugins: Mapping[str, object] | None = None,
        ui: ScriptedUI | None = None,
    ) -> Session:
        folder = tmp_path / "project"
        folder.mkdir()
        for path, content in (files or {}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        config = Config(
            model={"name": "test:policy"},
            feedback=dict(feedback or {}),
            session=SessionConfig(approvals=approvals, snapshots=snapshots),
        )
        screen = ui or ScriptedUI(inputs, answers)
        session = open_scripted(folder, turns, ui=screen, config=config, plugins=plugins)
        engine.run(session)
        session.close("done")
        return session

    return run


@pytest.fixture
def given() -> Callable[[Session], list[CorrectionGiven]]:
    """The corrections of a session, in order."""
    return lambda session: list(session.transcript.corrections.values())
