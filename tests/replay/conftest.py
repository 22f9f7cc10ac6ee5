"""Logs with corrections: recorded by a scripted session, some of them not learned from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.core import engine
from continualcode.core.config import BudgetConfig, Config, SessionConfig
from continualcode.core.curriculum import Course, course
from continualcode.core.data import Call, StepReport
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Trainer
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted

PLUGINS = Plugins(installed=False)


class Gated(ScriptedPolicy):
    """Most states that it comes to have lost too much else: a function of the weights."""

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        report = super().step(batch, stop_below=stop_below)
        spoilt = self._weights and int(self.weights()[:2], 16) % 8 != 0
        return msgspec.structs.replace(report, kept=0.0 if spoilt else 1.0)


class Recorder:
    """Records logs: number i of a session is a write of file i, denied with the words `says[i]`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __call__(
        self,
        says: Sequence[str],
        *,
        skipped: Sequence[int] = (),
        trainer: dict[str, Any] | None = None,
        name: str = "",
        gated: bool = True,
    ) -> Path:
        """A log in which all but the `skipped` ones are learned from; the same conversation in any case."""
        self._count += 1
        folder = self._folder / f"{self._count}"
        calls = [Call(tool="write", arguments={"path": f"{i}.txt", "content": "x"}) for i in range(len(says))]
        answers = [
            Answer(verdict="deny", reason=words, train=i not in skipped) for i, words in enumerate(says)
        ]
        config = Config(
            model={"name": "test:policy"},
            trainer={"name": "sdpo", **(trainer or {})},
            session=SessionConfig(snapshots=False),
            budget=BudgetConfig(turns=len(says) + 1),
        )
        session = open_scripted(
            folder / "project",
            config=config,
            policy=Gated(calls) if gated else ScriptedPolicy(calls),
            ui=ScriptedUI(["go"], answers),
            log=folder / f"{name or 'log'}.jsonl",
        )
        engine.run(session)
        session.close("quit")
        return session.log.path


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


@pytest.fixture
def new_recorder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Recorder]:
    """Makes recorders with a folder of their own."""
    return lambda: Recorder(tmp_path_factory.mktemp("logs"))


@pytest.fixture
def trainer_of() -> Callable[[str, Any], Trainer]:
    return lambda name, settings: PLUGINS.choose("make_trainer", name, settings)


@pytest.fixture
def course_at() -> Callable[[Path], Course]:
    """Reads a log as a curriculum."""
    return lambda log: course(log, PLUGINS, feedback=PLUGINS.feedback())


@pytest.fixture
def new_policy() -> Callable[[], ScriptedPolicy]:
    """Makes untrained policies like the one that recorded."""
    return Gated
