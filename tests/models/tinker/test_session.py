"""A whole session on a server: what is learned, what is logged, what is gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call
from continualcode.core.engine import run
from continualcode.core.events import UpdateApplied, UpdateStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import plan_of, replay_log
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI
from continualcode.eventlog import Registry, read
from continualcode.plugins.models.tinker.events import CheckpointSaved
from continualcode.plugins.models.tinker.speech import Speech
from continualcode.plugins.models.tinker.tokenizer import load
from tests.models.tinker.conftest import FEW, Open, says, spoken
from tests.models.tinker.served import NAME, Fault, Served

BASH = Call(tool="bash", arguments={"command": "ls"})
READ = Call(tool="read", arguments={"path": "."})
REPLY = Call(tool="reply", arguments={"text": "I see."})
DENY = Answer(verdict="deny", reason="Use bash to read the folder instead.")


def learned(opened: Open, served: Served, **model: object) -> ScriptedUI:
    """A session in which one call was denied; ended."""
    ui = ScriptedUI(["show the files"], [DENY])
    session = opened(ui, **model)
    served.say(says(session.policy, BASH))
    served.say(says(session.policy, READ))  # the teacher's demonstration
    served.say(says(session.policy, Call(tool="reply", arguments={"text": "I see."})))
    run(session)
    session.close("quit")
    return ui


def test_a_correction_is_learned_on_distributions_and_the_log_says_where_the_weights_are(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    ui = learned(opened, served)
    assert "top_k 20, sharpness 1.0, in_turn 8, gate_drift None, guidance 1.0, whiten None" in ui.messages[0]
    (applied,) = [event for event in ui.events if isinstance(event, UpdateApplied)]
    assert applied.divergence[1] < applied.divergence[0]
    (saved,) = [event for event in ui.events if isinstance(event, CheckpointSaved)]
    assert saved.weights == applied.weights and saved.path.startswith("tinker://")
    assert served.finished == ["success"]
    report = replay_log(tmp_path / "log.jsonl", Plugins(installed=False))
    assert report.ok and report.updates == 1
    assert report.nats < 1e-3 and report.metric < 1e-3 and report.tolerance is not None


def test_without_distributions_the_sampled_token_is_learned(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    served.distributions = False
    ui = learned(opened, served)
    assert "divergence sampled, sharpness 1.0" in ui.messages[0]
    (applied,) = [event for event in ui.events if isinstance(event, UpdateApplied)]
    assert applied.divergence[1] < applied.divergence[0]
    assert replay_log(tmp_path / "log.jsonl", Plugins(installed=False)).ok


def test_what_must_stay_is_held_and_watched_where_a_call_begins_with_many_tokens(
    opened: Open, served: Served
) -> None:
    ui = ScriptedUI(["show the files"], [DENY])
    session = opened(ui, trainer={"anchors": 3.0, "max_steps": 1})
    for call in (BASH, READ, REPLY):
        served.say(says(session.policy, call))
    run(session)
    (started,) = [event for event in ui.events if isinstance(event, UpdateStarted)]
    kinds = [ref.part for ref in started.examples]
    assert kinds.count("anchor") > 50 and kinds.count("probe") > 10
    learner: Any = session.policy
    plan = plan_of(started, session.transcript)
    rows = learner.prepare(plan.examples, plan.objective, plan.optimiser).rows
    assert all(row.free for row in rows), "the name of the tool is free"


def test_a_resumed_session_takes_its_weights_from_the_server(opened: Open, served: Served) -> None:
    ui = learned(opened, served)
    (applied,) = [event for event in ui.events if isinstance(event, UpdateApplied)]
    served.log.clear()
    resumed = opened(ScriptedUI(), resume=True)
    assert resumed.policy.weights() == applied.weights
    assert resumed.policy.optimiser_state() == applied.optimiser
    assert "load_weights" in served.log and "optim_step" not in served.log


def test_a_checkpoint_that_has_expired_is_made_again_from_the_log(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    ui = learned(opened, served)
    (applied,) = [event for event in ui.events if isinstance(event, UpdateApplied)]
    for file in served.folder.iterdir():
        file.unlink()
    served.log.clear()
    resumed = opened(ScriptedUI(), resume=True)
    assert resumed.policy.weights() == applied.weights
    assert "optim_step" in served.log
    kinds = [type(record) for record in read(tmp_path / "log.jsonl", registry())]
    assert kinds.count(UpdateApplied) == 1


@pytest.mark.parametrize("during", ["asample", "optim_step"])
def test_control_c_leaves_no_session_behind_on_the_server(
    served: Served, tokenizer: Path, tmp_path: Path, during: str
) -> None:
    """A process of its own, SIGINT in the middle of a request: it says so to the server, and ends."""
    url = served.start()
    speech = Speech(load(str(tokenizer)), opens=True)
    for call in (BASH, READ):
        served.say(spoken(speech, call))
    served.faults[during] = Fault(hang=20.0, status=500)
    (tmp_path / "work").mkdir()
    (tmp_path / "asked.toml").write_text(
        '[[prompt]]\ntext = "show the files"\n'
        '[[rule]]\nname = "r"\ncorrection = "Use read for that."\nviolates = { tool = "bash" }\n'
    )
    sets = {"model.url": url, "model.tokenizer": tokenizer, "model.rank": 8, "model.distributions": "false"}
    sets |= {f"trainer.{key}": str(value).lower() for key, value in FEW.items() if key != "name"}
    command = [str(Path(sys.executable).with_name("continualcode")), "run", str(tmp_path / "work")]
    command += ["--model", f"tinker:{NAME}", "--log", str(tmp_path / "log.jsonl")]
    command += ["--script", str(tmp_path / "asked.toml")]
    command += [a for key, value in sets.items() for a in ("--set", f"{key}={value}")]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while during not in served.log and process.poll() is None:
            time.sleep(0.1)
        time.sleep(0.5)
        clock = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert time.monotonic() - clock < 10, said
    assert served.finished == ["success"], "the turn was stopped, and the session ended as it should"
    assert b"Traceback" not in said


def registry() -> Registry:
    """All records, ours among them."""
    return event_registry(Plugins(installed=False).event_types())
