"""A correction after which the model would make the same call again: said so, and not counted as learned."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from continualcode.core.data import Call, Example, Sample, ToolSpec
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
    assert row.weight == 0.5
    assert bytes(row.completion_ids).decode()[:parting] == SAME[:parting]
    assert len(row.completion_ids) == len(SAME) > 8


def test_where_another_tool_was_asked_for_it_is_not(tmp_path: Path) -> None:
    later = SAME.replace('"x"', '"y"')
    assert demonstrated(denied(tmp_path / "w", later, "Use edit_lines.")).weight == 0.0


class Stubborn(ScriptedPolicy):
    """Calls the last tool that the grammar, a list of their names, lets it."""

    def grammar(self, tools: Sequence[ToolSpec]) -> str:  # type: ignore[override]  # others have none
        return json.dumps([tool.name for tool in tools])

    def demonstrate(
        self, teacher_ids: Sequence[int], neutral_ids: Sequence[int], grammar: str | None, **how: Any
    ) -> Sample:
        last = json.loads(grammar or "[]")[-1]
        ids = tuple(self.format_call(Call(tool=last, arguments={"path": "b.py"})).encode())
        return Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text="", stop="end")


def stubborn(folder: Path, reason: str, **settings: Any) -> Example:
    """The row of a write that was denied for `reason`, where the model would call the rejected tool again."""
    call = Call(tool="bash", arguments={"command": "cat a.py"})
    ui = ScriptedUI(inputs=["Fix it."], answers=[Answer(verdict="deny", reason=reason)])
    opened = open_scripted(folder, ui=ui, policy=Stubborn([call, "done"]))
    run(opened)
    trainer = Sdpo(SdpoSettings(anchors=0.0, siblings=0, **settings))
    plan = trainer.plan(tuple(opened.transcript.corrections.values()), opened.transcript, opened.policy)
    return plan.examples[-1]


def test_the_tool_that_the_words_ask_for_is_learned_where_the_model_would_not_call_it(tmp_path: Path) -> None:
    row = stubborn(tmp_path / "w", "Use write; bash is not for that.")
    assert bytes(row.completion_ids).decode().startswith('{"name": "write"')
    assert (json.loads(row.grammar or ""), row.forced, row.weight) == (["write"], True, 0.5)
    assert "bash" in json.loads(row.student_grammar or "")


def test_where_the_words_ask_for_no_other_tool_it_is_not(tmp_path: Path) -> None:
    row = stubborn(tmp_path / "w", "Not that file.")
    assert (json.loads(row.grammar or ""), row.forced) == (["bash"], False)


def test_nor_with_a_divergence_that_needs_one_choice_for_both(tmp_path: Path) -> None:
    row = stubborn(tmp_path / "w", "Use write; bash is not for that.", divergence="jsd")
    assert (row.forced, row.weight) == (False, 0.0)


def test_a_call_that_only_begins_alike_is_another(tmp_path: Path) -> None:
    assert demonstrated(denied(tmp_path / "w", SAME[:12] + "!")).weight == 0.5


def test_a_call_that_never_parts_weighs_nothing(tmp_path: Path) -> None:
    assert demonstrated(denied(tmp_path / "w", SAME)).weight == 0.0


def test_beside_rows_that_teach_it_is_counted(tmp_path: Path) -> None:
    opened = denied(tmp_path / "w", SAME)
    corrections = tuple(opened.transcript.corrections.values())
    trainer = Sdpo(SdpoSettings(rows="both"))  # the rejected sample teaches
    outcome = trainer.update(trainer.plan(corrections, opened.transcript, opened.policy), opened.policy)
    assert outcome.steps and outcome.metrics["unheeded"] == 1.0
