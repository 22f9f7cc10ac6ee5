"""Undo, redo and going on with a real adapter: the digests are those recorded, bit for bit."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.config import BudgetConfig, Config, PluginsConfig
from continualcode.core.data import SamplingParams
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.models.local import store

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"


def opened(project: Path, ui: ScriptedUI, *, resume: bool) -> Session:
    config = Config(
        model={"name": MODEL, "threads": 1, "context": 2048},
        trainer={"name": "sdpo", "max_steps": 1},
        sampling=SamplingParams(max_tokens=48),
        budget=BudgetConfig(turns=1),
        plugins=PluginsConfig(),
    )
    log = project.parent / "log.jsonl"
    plugins = Plugins(config.plugins, installed=False)
    kept = project.parent / "checkpoints"
    return open_session(config, plugins, workspace=project, log=log, resume=resume, ui=ui, checkpoints=kept)


def test_every_undo_and_redo_comes_to_the_recorded_weights(project: Path) -> None:
    if store.installed(MODEL) is None:
        pytest.skip(f"{MODEL} is not installed: cc models pull {MODEL}")
    ui = ScriptedUI([], [Answer(verdict="deny", reason="Read it first.")] * 3)
    session = opened(project, ui, resume=False)
    digests = [session.policy.weights()]
    moments = [session.policy.optimiser_state()]
    for number in range(3):
        engine.ask(session, f"Set line {number + 1} of a.txt to two.")
        digests.append(session.policy.weights())
        moments.append(session.policy.optimiser_state())
    made = len(session.transcript.standing)
    assert 2 <= made == len(set(digests)) - 1  # what smollm2 says in one of the turns may be no call
    for at in (2, 1, 0):  # one from memory, the others made again from the log
        engine.command(session, "/undo")
        assert (session.policy.weights(), session.policy.optimiser_state()) == (digests[at], moments[at])
    for at in (1, 2, 3):
        engine.command(session, "/redo")
        assert (session.policy.weights(), session.policy.optimiser_state()) == (digests[at], moments[at])
    engine.command(session, "/undo update")
    assert session.policy.weights() == digests[2]
    session.close("quit")
    ui.progressed.clear()
    again = opened(project, ui, resume=True)
    assert not any("making the weights again" in label for label in ui.progressed)
    assert (again.policy.weights(), again.policy.optimiser_state()) == (digests[2], moments[2])
    engine.command(again, "/redo")
    assert again.policy.weights() == digests[3]
    again.close("quit")
    report = replay_log(session.log.path, Plugins(installed=False))
    assert report.ok and (report.updates, report.weights) == (made, digests[3])
