"""Corrections of another model's log given again on a server, and those of a server's log elsewhere."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from continualcode.cli.main import cli
from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI, open_scripted
from tests.models.tinker.conftest import FEW, Open, says
from tests.models.tinker.served import NAME, Served

BASH = Call(tool="bash", arguments={"command": "ls"})
READ = Call(tool="read", arguments={"path": "."})
REPLY = Call(tool="reply", arguments={"text": "I see."})
DENY = Answer(verdict="deny", reason="Use read to show a folder.")
PLUGIN = """
from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.testing import ScriptedPolicy

@hookimpl
def make_policy(model, options):
    call = Call(tool="bash", arguments={"command": "ls"})
    return (lambda progress: ScriptedPolicy([call])) if model == "else:where" else None
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy of another base model, in a module of the user's; logs and weights stay in the test."""
    (tmp_path / "scripted_elsewhere.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cc(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, arguments)])


def test_a_log_of_another_model_is_learned_on_the_server(
    served: Served, tokenizer: Path, policy: Any, tmp_path: Path
) -> None:
    session = open_scripted(
        tmp_path / "p", [BASH], ui=ScriptedUI(["show it"], [DENY]), log=tmp_path / "anna.jsonl"
    )
    engine.run(session)
    session.close("quit")
    made = policy(distributions=False)
    for call in (BASH, READ):  # the mistake, and the teacher's demonstration
        served.say(says(made, call))
    new = tmp_path / "new.jsonl"
    model = {"url": made.stack["server"], "tokenizer": tokenizer, "rank": 8, "distributions": "false"}
    sets = [f"model.{key}={value}" for key, value in model.items()]
    sets += [f"trainer.{key}={str(value).lower()}" for key, value in FEW.items() if key != "name"]
    ran = cc(
        session.log.path, "--model", f"tinker:{NAME}", "--log", new, *(a for s in sets for a in ("--set", s))
    )
    assert ran.exit_code == 0, ran.output
    assert "1 learned" in ran.stdout
    verified = cc(new, "--verify")
    assert verified.exit_code == 0 and "1 of 1" in verified.output, verified.output


def test_a_log_of_the_server_is_learned_on_another_model(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    session = opened(ScriptedUI(["show it"], [DENY]))
    for call in (BASH, READ, REPLY):
        served.say(says(session.policy, call))
    engine.run(session)
    session.close("quit")
    new = tmp_path / "new.jsonl"
    elsewhere = ("--plugin", "scripted_elsewhere", "--model", "else:where")
    ran = cc(session.log.path, *elsewhere, "--log", new)
    assert ran.exit_code == 0, ran.output
    assert "1 learned" in ran.stdout
