"""A correction after which the model would make the same call again: said so, and not counted as learned."""

from pathlib import Path

from continualcode.core.data import Call, Example
from continualcode.core.engine import run
from continualcode.core.events import UpdateRejected
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.plugins.trainers.sdpo import UNHEEDED, Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

WRITE = Call(tool="write", arguments={"path": "a.py", "content": "x"})
SAME = ScriptedPolicy().format_call(WRITE)
SHORT = Sdpo(SdpoSettings(demonstration_tokens=8))


def denied(folder: Path, shows: str, reason: str = "No such content.") -> Session:
    """A session in which a write was denied; the model, shown the correction, would do `shows`."""
    ui = ScriptedUI(inputs=["Fix it."], answers=[Answer(verdict="deny", reason=reason)])
    opened = open_scripted(folder, ui=ui, policy=ScriptedPolicy([WRITE, "done"], shows=shows))
    run(opened)
    return opened


def demonstrated(opened: Session) -> Example:
    """The row that a trainer of short demonstrations makes of the session's correction."""
    corrections = tuple(opened.transcript.corrections.values())
    rows = SHORT.plan(corrections, opened.transcript, opened.policy).examples
    (row,) = [row for row in rows if row.part == "demonstration"]
    return row


def test_the_update_is_rejected_before_it_takes_a_step(tmp_path: Path) -> None:
    opened = denied(tmp_path / "w", SAME)
    (outcome,) = opened.transcript.outcomes.values()
    assert isinstance(outcome, UpdateRejected)
    assert (outcome.why, outcome.steps) == (UNHEEDED, 0)
    assert outcome.weights == opened.policy.weights() == ScriptedPolicy().weights()


def test_it_is_settled_and_does_not_come_back(tmp_path: Path) -> None:
    assert not denied(tmp_path / "w", SAME).transcript.pending()


def test_what_parts_later_than_a_demonstration_is_long_is_looked_at_up_to_there(tmp_path: Path) -> None:
    parting = SAME.index('"x"')
    row = demonstrated(denied(tmp_path / "w", SAME.replace('"x"', '"y", "more": "of it"')))
    assert row.weight == 1.0
    assert bytes(row.completion_ids).decode()[:parting] == SAME[:parting]
    assert len(row.completion_ids) == len(SAME) > 8


def test_where_another_tool_was_asked_for_it_is_not(tmp_path: Path) -> None:
    later = SAME.replace('"x"', '"y"')
    assert demonstrated(denied(tmp_path / "w", later, "Use edit_lines.")).weight == 0.0


def test_a_call_that_only_begins_alike_is_another(tmp_path: Path) -> None:
    assert demonstrated(denied(tmp_path / "w", SAME[:12] + "!")).weight == 1.0


def test_a_call_that_never_parts_weighs_nothing(tmp_path: Path) -> None:
    assert demonstrated(denied(tmp_path / "w", SAME)).weight == 0.0


def test_beside_rows_that_teach_it_is_counted(tmp_path: Path) -> None:
    opened = denied(tmp_path / "w", SAME)
    corrections = tuple(opened.transcript.corrections.values())
    trainer = Sdpo(SdpoSettings(rows="both"))  # the rejected sample teaches
    outcome = trainer.update(trainer.plan(corrections, opened.transcript, opened.policy), opened.policy)
    assert outcome.steps and outcome.metrics["unheeded"] == 1.0
