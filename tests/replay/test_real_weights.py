"""The laws of replay on real weights: a session of SmolLM2, its turns as they were drawn the first time."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode import hookimpl
from continualcode.core import engine
from continualcode.core.config import BudgetConfig, Config, SessionConfig
from continualcode.core.curriculum import Choice, course
from continualcode.core.data import Sample, SamplingParams
from continualcode.core.events import SampleTaken, UpdateApplied, UpdateFailed, UpdateStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy, Progress
from continualcode.core.replay import Replayer, replay_log, trainers_of
from continualcode.core.retraining import Changes, retrained
from continualcode.core.review import Answer
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.eventlog import read, unpack_f32, unpack_u32
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.policy import LocalPolicy

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
OPTIONS: dict[str, Any] = {"threads": 1, "context": 2048}
TRAINER = {
    "name": "sdpo",
    "max_steps": 2,
    "divergence_floor": 0.0,
    "anchors": 0.0,
    "gate": False,
    "rehearsal": 0.5,
    "demonstration_tokens": 12,
    "fresh": False,
}
WORDS = ("Use read.", "Use bash for that.", "List the files first.", "Use grep.", "Not that file.", "Ask me.")


class AsDrawn(LocalPolicy):
    """Says what `samples` hold, in order, whatever was learned; after the last it draws for itself."""

    def __init__(self, samples: Sequence[SampleTaken]) -> None:
        super().__init__(MODEL, OPTIONS)
        self._left = list(samples)

    def sample(self, *given: Any, **more: Any) -> Sample:
        if not self._left:
            return super().sample(*given, **more)
        logged = self._left.pop(0)
        return Sample(
            token_ids=tuple(unpack_u32(logged.token_ids)),
            logprobs=tuple(unpack_f32(logged.logprobs)),
            text=logged.text,
            stop=logged.stop,
        )


class Given:
    """A plugin with one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @hookimpl
    def make_policy(self, model: str) -> Callable[[Progress], Policy] | None:
        return (lambda progress: self._policy) if model == "test:given" else None


def recorded(folder: Path, samples: Sequence[SampleTaken] = (), skipped: Sequence[int] = ()) -> Path:
    """A log in which each of `WORDS` denies a call, and all but the `skipped` are learned from."""
    plugins = Plugins(installed=False)
    plugins.add(Given(AsDrawn(samples)), "given")
    ui = ScriptedUI(
        [f"Show me {i}.txt." for i in range(len(WORDS))],
        [Answer(verdict="deny", reason=words, train=i not in skipped) for i, words in enumerate(WORDS)],
    )
    config = Config(
        model={"name": "test:given"},
        trainer=TRAINER,
        sampling=SamplingParams(max_tokens=48),
        session=SessionConfig(snapshots=False),
        budget=BudgetConfig(turns=1),
    )
    folder.mkdir(parents=True)
    log = folder.parent / f"{folder.name}.jsonl"
    session = open_session(config, plugins, workspace=folder, log=log, ui=ui)
    engine.run(session)
    session.close("quit")
    return log


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if store.installed(MODEL) is None:
        pytest.skip(f"{MODEL} is not installed: cc models pull {MODEL}")
    return recorded(tmp_path_factory.mktemp("real") / "whole")


@contextlib.contextmanager
def local(**options: Any) -> Generator[LocalPolicy]:
    policy = LocalPolicy(MODEL, OPTIONS | options)
    try:
        yield policy
    finally:
        policy.close()


def trainer_of(name: str, settings: Any) -> Any:
    return trainers_of(Plugins(installed=False))(name, settings)


def of(log: Path, kind: type[Any]) -> list[Any]:
    return [record for record in read(log, event_registry()) if isinstance(record, kind)]


def test_every_update_comes_out_bit_for_bit(log: Path) -> None:
    with local() as policy:
        report = Replayer(policy, trainer_of).run(read(log, event_registry()))
    assert report.ok and report.updates == len(WORDS)


@pytest.mark.parametrize("out", [0, 3, 5])
def test_without_one_is_a_log_that_never_had_it(log: Path, tmp_path: Path, out: int) -> None:
    """First, middle and last; the optimiser remembers, and earlier corrections are rehearsed."""
    plugins = Plugins(installed=False)
    whole = course(log, plugins, feedback=plugins.feedback())
    never = recorded(tmp_path / "never", of(log, SampleTaken), skipped=[out])
    (correction,) = whole.attempts[out].own
    with local() as policy:
        found = retrained([whole], trainer_of, policy, Changes(choice=Choice(without=(str(correction.seq),))))
    last = of(never, UpdateApplied)[-1]
    assert (found.weights, found.optimiser) == (last.weights, last.optimiser)
    assert found.weights != whole.transcript.weights


def test_on_another_number_of_threads_it_says_so_and_how_far_off_it_is(log: Path) -> None:
    with local(threads=2) as policy:
        report = Replayer(policy, trainer_of).run(read(log, event_registry()))
    assert report.stack == {"threads": ("1", "2")}
    assert report.updates == len(WORDS)
    assert report.nats < 0.01 and report.metric < 0.01
    assert report.ok == (report.first_divergence is None)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from continualcode.core import engine
from continualcode.core.config import BudgetConfig, Config, SessionConfig
from continualcode.core.data import SamplingParams
from continualcode.core.plugins import Plugins
from continualcode.core.review import Answer
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.models.local.learner import Learner

steps, left = Learner.step, int(sys.argv[2])

def step(self, *given, **more):
    global left
    left -= 1
    report = steps(self, *given, **more)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)  # the weights have moved, and nothing says so
    return report

Learner.step = step
options, trainer = json.loads(sys.argv[3])
config = Config(
    model=options, trainer=trainer, sampling=SamplingParams(max_tokens=48),
    session=SessionConfig(snapshots=False), budget=BudgetConfig(turns=1),
)
folder = Path(sys.argv[1])
ui = ScriptedUI(["Show me a.txt.", "Run it."], [Answer(verdict="deny", reason="Use grep.")] * 2)
session = open_session(config, Plugins(installed=False), workspace=folder, log=folder.parent / "k.jsonl",
                       resume=(folder.parent / "k.jsonl").exists(), ui=ui if left < 99 else ScriptedUI())
engine.run(session)
session.close("quit")
"""


def test_killed_in_the_middle_of_an_update_it_goes_on_and_trains_nothing_twice(
    log: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    given = json.dumps([{"name": MODEL, **OPTIONS}, TRAINER])

    def run(steps: int) -> int:
        command = [sys.executable, "-c", KILLED, str(folder), str(steps), given]
        return subprocess.run(command, env=dict(os.environ), check=False).returncode

    assert run(4) == -signal.SIGKILL, "in the second update, after a step"
    assert run(99) == 0
    killed = tmp_path / "k.jsonl"
    started, applied = of(killed, UpdateStarted), of(killed, UpdateApplied)
    assert (len(started), len(applied), len(of(killed, UpdateFailed))) == (3, 2, 1)
    assert started[1].weights == started[2].weights == applied[0].weights
    assert started[1].examples == started[2].examples
    report = replay_log(killed, Plugins(installed=False))
    assert report.ok and report.updates == 2
