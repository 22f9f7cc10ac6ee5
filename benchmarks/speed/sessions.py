"""Sessions on the rules of benchmarks/uptake: their first turns; one that is taught, and its replay."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from continualcode.core import engine
from continualcode.core.config import load
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.evaluation.teach import stage, teach
from continualcode.core.events import event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, how_it_began, trainers_of
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.core.transcript import SampledTurn
from continualcode.eventlog import read

RULES = Path(__file__).parent.parent / "uptake" / "rules.toml"
WORK = (
    *("sample", "nearness", "demonstrate", "prepare", "step", "snapshot", "restore"),
    *("weights", "optimiser_state"),
)
"""What of a policy takes time."""


class Taught(NamedTuple):
    """A log, its updates (those that stand), and the seconds that the model worked."""

    log: Path
    updates: int
    seconds: float


def start(model: str, threads: int) -> float:
    """Seconds from a new process to a model that can be asked; see benchmarks/start for a whole session."""
    code = (
        "from continualcode.plugins.models.local.policy import LocalPolicy; "
        f"LocalPolicy({model!r}, {{'threads': {threads}}}).weights()"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def taught(model: str, threads: int, rules: int) -> Taught:
    """Teach the first prompt of the first `rules` rules, one after the other."""
    folder = Path(tempfile.mkdtemp())
    project, log = folder / "project", folder / "log.jsonl"
    project.mkdir()
    config = load(project=project, sets=[f"model.threads={threads}"], over={"model": {"name": model}})
    session = open_session(config, Plugins(config.plugins), workspace=project, log=log, ui=ScriptedUI())
    spent = _clocked(session.policy)
    for rule in load_cases(RULES).rule[:rules]:
        teach(session, rule, rule.train[0])
    updates = len(list(session.transcript.standing))
    session.close("measured")
    return Taught(log, updates, sum(spent.values()))


def replayed(log: Path) -> float:
    """Seconds of a replay, the model loaded. Raises RuntimeError where a digest differs."""
    began_with = how_it_began(log, Plugins())
    plugins = Plugins()
    policy = plugins.choose(
        "make_policy", began_with.config["model"]["name"], began_with.config["model"], _quiet
    )
    try:
        began = time.perf_counter()
        report = Replayer(policy, trainers_of(plugins)).run(read(log, event_registry(plugins.event_types())))
        took = time.perf_counter() - began
    finally:
        policy.close()
    if report.first_divergence is not None:
        raise RuntimeError(f"{log}: the replay's digests differ: {report.first_divergence}")
    return took


def first_turns(model: dict[str, Any], rules: int) -> Iterator[tuple[str, Any, SampledTurn]]:
    """The first call on the first prompt of each rule: the rule's name, the policy, the turn as sampled."""
    with tempfile.TemporaryDirectory() as folder:
        config = load(project=Path(folder), over={"model": model})
        log, plugins = Path(folder) / "log.jsonl", Plugins(config.plugins)
        session = open_session(config, plugins, workspace=Path(folder), log=log, ui=ScriptedUI())
        for rule in load_cases(RULES).rule[:rules]:
            stage(session, rule.train[0])
            yield rule.name, session.policy, session.transcript.sampled(engine.sample(session).id)
        session.close("measured")


def _clocked(policy: Any) -> dict[str, float]:
    """Seconds by method of `policy`, from now on."""
    spent = dict.fromkeys(WORK, 0.0)

    def clocked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - began

        return run

    for name in WORK:
        setattr(policy, name, clocked(name, getattr(policy, name)))
    return spent


def _quiet(label: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
