"""A whole session on a server: what is learned, what is logged, what is gone on with."""

from pathlib import Path

from continualcode.core.data import Call
from continualcode.core.engine import run
from continualcode.core.events import UpdateApplied, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI
from continualcode.eventlog import Registry, read
from continualcode.plugins.models.tinker.events import CheckpointSaved
from tests.models.tinker.conftest import Open, says
from tests.models.tinker.served import Served

BASH = Call(tool="bash", arguments={"command": "ls"})
READ = Call(tool="read", arguments={"path": "."})
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
    assert "top_k 20, sharpness 1.0, guidance 1.0, whiten None" in ui.messages[0]
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


def registry() -> Registry:
    """All records, ours among them."""
    return event_registry(Plugins(installed=False).event_types())
