"""kill -9 in the middle of an update: resumed, verified, and nothing trained twice."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.events import UpdateApplied, UpdateFailed, UpdateStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, plan_of, trainers_of
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import read

DENIALS = 3

SESSION = f"""
import os, signal, sys
from pathlib import Path
from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted

class Killed(ScriptedPolicy):
    left = int(sys.argv[2])

    def step(self, batch, *, stop_below):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(batch, stop_below=stop_below)

folder = Path(sys.argv[1])
calls = [Call(tool="write", arguments={{"path": f"{{i}}.txt", "content": "x"}}) for i in range({DENIALS})]
ui = ScriptedUI(["go"], [Answer(verdict="deny", reason=f"Number {{i}}.") for i in range({DENIALS})])
engine.run(open_scripted(folder / "p", policy=Killed(calls), ui=ui, log=folder / "log.jsonl"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is POSIX")
@pytest.mark.parametrize("step", [0, 1, 4])
def test_an_update_that_was_killed_is_trained_once(tmp_path: Path, step: int) -> None:
    """Killed before its first step, after one, and in a later update."""
    died = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path), str(step)], env=dict(os.environ), check=False
    )
    assert died.returncode == -signal.SIGKILL

    session = open_scripted(tmp_path / "p", ui=ScriptedUI(), log=tmp_path / "log.jsonl", resume=True)
    engine.run(session)
    session.close("quit")

    records = list(read(tmp_path / "log.jsonl", event_registry()))
    transcript = fold(records)
    started = [r for r in records if isinstance(r, UpdateStarted)]
    applied = [r for r in records if isinstance(r, UpdateApplied)]
    assert len(started) == len(applied) + 1
    assert sum(isinstance(r, UpdateFailed) for r in records) == 1
    own = Counter(
        correction.id
        for record in applied
        for correction in transcript.mark(transcript.updates[record.update].seq).pending.values()
    )
    assert own == Counter(transcript.corrections.keys())

    # The killed update and the one done instead are the same data on the same weights.
    killed, again = started[-2:]
    assert killed.weights == again.weights
    assert plan_of(killed, transcript) == plan_of(again, transcript)
    report = Replayer(ScriptedPolicy(), trainers_of(Plugins(installed=False))).run(records)
    assert report.ok and report.updates == len(applied)
