"""Sessions recorded for `run.py`: one that is killed in an update and goes on, one without a correction."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from continualcode.core import engine
from continualcode.core.config import load
from continualcode.core.data import Sample
from continualcode.core.events import (
    ContextCleared,
    CorrectionGiven,
    DecisionMade,
    PromptSubmitted,
    UpdateApplied,
    UpdateFailed,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.session import open_session
from continualcode.core.transcript import fold
from continualcode.eventlog import Record, read
from continualcode.plugins.models.local.policy import LocalPolicy

SETTINGS = (
    "trainer.max_steps=2",
    "trainer.lr=5e-5",
    "trainer.anchors=0",
    "trainer.siblings=0",
    "trainer.gate=false",
    "trainer.demonstration_tokens=8",
    "trainer.rehearsal=0.2",
    "sampling.max_tokens=64",
    "budget.turns=1",
    "session.snapshots=false",
    "model.threads=1",
)
"""Cheap updates that move the weights far: what is measured is replay, not learning."""


def flags(settings: Sequence[str] = SETTINGS) -> list[str]:
    """As arguments of `cc run`."""
    return [part for setting in settings for part in ("--set", setting)]


def command(*arguments: str) -> list[str]:
    """The installed program, of this environment."""
    return [str(Path(sys.executable).parent / "continualcode"), *arguments]


def records(log: Path) -> list[Record]:
    """The events of a log."""
    return list(read(log, event_registry(Plugins(installed=False).event_types())))


# -- Scripts -------------------------------------------------------------------------------------------


def variant(
    script: Path,
    out: Path,
    *,
    first: int | None = None,
    after: int = 0,
    spent: Sequence[str] = (),
    untaught: str = "",
) -> Path:
    """`script` with its prompts `after` to `first`, without the rules `spent`; `untaught` teaches nothing."""
    tables = re.split(r"^(?=\[\[|\[operator\])", script.read_text(encoding="utf-8"), flags=re.M)
    prompts = [table for table in tables if table.startswith("[[prompt]]")][after:first]
    rules: list[str] = []
    for table in tables:
        if table.startswith("[[rule]]"):
            name = tomllib.loads(table)["rule"][0]["name"]
            taught = "train = false\n\n" if name == untaught else ""
            rules += [] if name in spent else [table.rstrip("\n") + "\n" + taught + "\n"]
    last = [table for table in tables if table.startswith("[operator]")]
    out.write_text("".join([*prompts, *rules, *last]), encoding="utf-8")
    return out


# -- A session that dies -------------------------------------------------------------------------------


def killed(line: Sequence[str], log: Path, screen: Path, number: int) -> None:
    """Run a session, and kill it as soon as its update `number` has begun."""
    with screen.open("w") as out:
        running = subprocess.Popen(line, stdout=out, stderr=subprocess.STDOUT)
        while running.poll() is None:
            time.sleep(0.01)
            if log.exists() and log.read_bytes().count(b'"update_started"') >= number:
                os.kill(running.pid, signal.SIGKILL)
                break
    if running.wait() != -signal.SIGKILL:
        raise RuntimeError(f"the session ended by itself: see {screen}")
    if fold(records(log)).unfinished_update() is None:
        raise RuntimeError(f"the kill came after the update: remove {log}, and begin again")


def rest(script: Path, log: Path, out: Path) -> Path:
    """What of `script` a session has not come to: prompts, and rules that have not denied a call yet."""
    every = records(log)
    typed = sum(isinstance(record, PromptSubmitted | ContextCleared) for record in every)
    by = [record.by.removeprefix("script:") for record in every if isinstance(record, DecisionMade)]
    return variant(script, out, after=typed, spent=by)


# -- What a log has learned ----------------------------------------------------------------------------


class Learned(NamedTuple):
    """An update: the events of its only correction and of its end, whose rule it is, weights after it."""

    correction: int
    applied: int
    rule: str
    weights: str
    moved: bool


def learned(log: Path | Sequence[Record]) -> list[Learned]:
    """The updates of a log, or of its records, in order."""
    every = records(log) if isinstance(log, Path) else log
    transcript, found = fold(every), list[Learned]()
    weights = transcript.started.weights if transcript.started else ""
    for record in every:
        if isinstance(record, UpdateApplied):
            (own,) = transcript.mark(transcript.updates[record.update].seq).pending.values()
            rule = own.by.removeprefix("script:")
            found.append(Learned(own.seq, record.seq, rule, record.weights, record.weights != weights))
            weights = record.weights
    return found


def audit(every: Sequence[Record]) -> dict[str, int]:
    """Whether each correction of a log was learned from, and once."""
    updates = learned(every)
    count = Counter(one.correction for one in updates)
    corrections = [record.seq for record in every if isinstance(record, CorrectionGiven)]
    return {
        "corrections": len(corrections),
        "updates": len(updates),
        "moved": sum(one.moved for one in updates),
        "begun": sum(isinstance(record, UpdateStarted) for record in every),
        "failed": sum(isinstance(record, UpdateFailed) for record in every),
        "trained_twice": sum(times > 1 for times in count.values()),
        "never_trained": sum(seq not in count for seq in corrections),
    }


# -- The same session without a correction -------------------------------------------------------------


class SaidAgain(LocalPolicy):
    """The model itself, and it learns; but it says what it said in a recorded session."""

    said: dict[tuple[int, ...], Sample]

    def sample(self, prompt_ids: Sequence[int], *arguments: Any, **named: Any) -> Sample:
        """What was sampled after this very prompt."""
        return self.said[tuple(prompt_ids)]


def again(log: Path, script: Path, out: Path, model: str) -> tuple[str, str]:
    """Record `log`'s session once more, by another script: digests of weights and optimiser at its end.

    The calls are those that were sampled then; everything else is done anew.
    """
    then = fold(records(log))
    config = load(
        project=out.parent,
        sets=SETTINGS,
        over={"model": {"name": model}, "ui": {"name": "script", "file": str(script)}},
    )
    plugins = Plugins(config.plugins)
    policy = SaidAgain(model, config.model)
    policy.said = {
        turn.prompt_ids: Sample(
            token_ids=turn.completion_ids, logprobs=turn.logprobs, text=turn.text, stop=then.samples[id].stop
        )
        for id in then.samples
        if (turn := then.sampled(id))
    }
    folder = out.with_suffix("")
    folder.mkdir(exist_ok=True)
    with out.with_suffix(".txt").open("w") as screen, contextlib.redirect_stdout(screen):
        session = open_session(config, plugins, workspace=folder, log=out, policy=policy)
        try:
            engine.run(session)
            return policy.weights(), policy.optimiser_state()
        finally:
            session.close("quit")
