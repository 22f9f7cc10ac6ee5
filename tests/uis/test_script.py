"""The UI `script`: rules that deny, edit, and teach or do not."""

from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.testing import open_scripted
from continualcode.plugins.uis.script import load

SCRIPT = """
[[prompt]]
text = "go"

[[rule]]
name = "not-taught"
correction = "Not like that."
violates = { tool = "write" }
times = 1
train = false

[[rule]]
name = "taught"
correction = "Use edit."
violates = { tool = "write" }
times = 1
"""
WRITE = Call(tool="write", arguments={"path": "a.txt", "content": "x"})


def test_a_rule_that_teaches_nothing_denies_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "script.toml"
    file.write_text(SCRIPT)
    session = open_scripted(tmp_path / "project", [WRITE, WRITE, "Done."])
    session.ui = load(file)
    engine.run(session)
    transcript = session.transcript
    assert [one.by for one in transcript.decisions.values()] == ["script:not-taught", "script:taught"]
    (correction,) = transcript.corrections.values()
    assert (correction.by, correction.feedback) == ("script:taught", "Use edit.")
    said = capsys.readouterr().out
    assert "denied (script:not-taught): Not like that." in said and "learned in" in said


def test_an_update_without_a_step_is_not_called_learning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "script.toml"
    file.write_text(SCRIPT)
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", "divergence_floor": 100.0})
    session = open_scripted(tmp_path / "project", [WRITE, WRITE, "Done."], config=config)
    session.ui = load(file)
    engine.run(session)
    said = capsys.readouterr().out
    assert "nothing to learn: " in said and "the weights stand" in said and "learned in" not in said
