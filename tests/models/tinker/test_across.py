"""One base model, here and on a server: a log of either is carried out by the other; figures are compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import Qwen2ForCausalLM

from continualcode.cli.main import cli
from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, SamplingParams
from continualcode.core.events import DecisionMade, PromptSubmitted, ToolProposed, UpdateApplied
from continualcode.core.plugins import Plugins
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI
from tests.models.conftest import save_random_model
from tests.models.tinker.arithmetic import Model, State
from tests.models.tinker.conftest import FEW
from tests.models.tinker.served import Served

BASH = Call(tool="bash", arguments={"command": "ls"})
AS_A_SERVER: dict[str, Any] = {"opening": True, "acts_on": "all", "upper": 1.0, "rank": 8}
PORTABLE: dict[str, Any] = FEW | {
    "divergence": "sampled",
    "guidance": 1.0,
    "sharpness": 1.0,
    "siblings": 0,
    "lr": 1e-4,
    "max_steps": 2,
    "demonstration_tokens": 16,
}


class Twin(Model):
    """The weights of a folder, on the server; what is trained comes on top."""

    def __init__(self, folder: Path) -> None:
        load: Any = Qwen2ForCausalLM
        self.network: Any = load.from_pretrained(folder, dtype=torch.float32)
        super().__init__(int(self.network.config.vocab_size))

    def logprobs(self, ids: Any, state: State, last: int = 0) -> Any:
        with torch.no_grad():
            logits = self.network(torch.tensor([list(ids)])).logits[0, -last:].double()
        rows = torch.log_softmax(logits + torch.tensor(state.table[list(ids)[-last:]]), -1)
        return rows.numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Any) -> Path:
    """A random model with room for a session's prompts."""
    made = tmp_path_factory.mktemp("twin")
    return save_random_model(made, make_tokenizer("smollm"), max_position_embeddings=8192)


@pytest.fixture
def server(served: Served, folder: Path) -> str:
    """The URL of a server of that model."""
    served.model, served.name, served.distributions = Twin(folder), str(folder), False
    return served.start()


def corrected(tmp_path: Path, model: Mapping[str, Any], trainer: Mapping[str, Any]) -> Path:
    """The log of a session in which two calls were denied."""
    (tmp_path / "work").mkdir()
    session = open_session(
        Config(model=dict(model), trainer=dict(trainer), sampling=SamplingParams(max_tokens=20)),
        Plugins(installed=False),
        workspace=tmp_path / "work",
        log=tmp_path / "log.jsonl",
        ui=ScriptedUI(),
    )
    for prompt in ("show the files", "what is here"):
        deny(session, prompt)
    session.close("quit")
    return tmp_path / "log.jsonl"


def deny(session: Session, prompt: str) -> None:
    """The model speaks, which is taken for a call, and that is denied."""
    session.append(PromptSubmitted(text=prompt))
    taken = engine.sample(session)
    proposed = session.append(ToolProposed(sample=taken.id, call=BASH, how="ok"), cause=taken.id)
    denied = DecisionMade(call_id=proposed.id, verdict="deny", by="user", reason="Use read for that.")
    engine.noticed(session, session.append(denied, cause=proposed.id))
    assert isinstance(engine.learn(session), UpdateApplied)


def verify(log: Path, model: str, **settings: Any) -> Result:
    sets = [f"model.{key}={str(value).lower()}" for key, value in settings.items()]
    arguments = [a for item in sets for a in ("--set", item)]
    return CliRunner().invoke(cli, ["replay", str(log), "--verify", "--model", model, *arguments])


def test_a_local_log_is_carried_out_on_the_server(server: str, folder: Path, tmp_path: Path) -> None:
    log = corrected(tmp_path, {"name": str(folder), "threads": 1, **AS_A_SERVER}, PORTABLE)
    ran = verify(log, f"tinker:{folder}", url=server, rank=8, distributions=False)
    assert ran.exit_code == 0, ran.output
    assert "2 of 2 updates came out within 0.05 nats of what was logged" in ran.output
    strict = CliRunner().invoke(
        cli,
        ["replay", str(log), "--verify", "--tolerance", "1e-9", "--model", f"tinker:{folder}"]
        + ["--set", f"model.url={server}", "--set", "model.rank=8", "--set", "model.distributions=false"],
    )
    assert strict.exit_code == 1 and "a server" in strict.output, strict.output


def test_a_log_of_the_server_is_carried_out_here(server: str, folder: Path, tmp_path: Path) -> None:
    model = {"name": f"tinker:{folder}", "url": server, "rank": 8, "distributions": False}
    log = corrected(tmp_path, model, PORTABLE)
    ran = verify(log, str(folder), threads=1, rank=8, acts_on="all", upper=1.0)
    assert ran.exit_code == 0, ran.output
    assert "2 of 2 updates came out within 0.05 nats of what was logged" in ran.output


def test_what_a_server_cannot_carry_out_is_refused_by_name(server: str, folder: Path, tmp_path: Path) -> None:
    local = {"name": str(folder), "threads": 1, "rank": 8}
    log = corrected(tmp_path, local, FEW | {"max_steps": 1, "siblings": 0})
    ran = verify(log, f"tinker:{folder}", url=server, rank=8, distributions=False)
    said = str(ran.exception)
    assert "needs full_distribution, guided_teacher" in said and "without --verify" in said


def test_tokens_drawn_under_a_grammar_are_not_compared(server: str, folder: Path, tmp_path: Path) -> None:
    log = corrected(tmp_path, {"name": str(folder), "threads": 1, "rank": 8}, PORTABLE)
    ran = verify(log, f"tinker:{folder}", url=server, rank=8, distributions=False)
    said = str(ran.exception)
    assert "masks no tokens" in said and "model.opening=true" in said
