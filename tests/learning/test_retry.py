"""A denied call's demonstration is learned where the model is asked again, too."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example
from continualcode.core.events import UpdateStarted
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import DENIED
from continualcode.plugins.trainers.anchors import DENIALS, REFUSED
from continualcode.plugins.trainers.situations import KINDS

WRITE = Call(tool="write", arguments={"path": "b.log", "content": "x"})
DONE = Call(tool="reply", arguments={"text": "Done."})
DENY = Answer(verdict="deny", reason="Use bash.")


class Alike(ScriptedPolicy):
    """Finds alike what is of the kind of one situation that is held on to after a denial."""

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        (kind,) = (kind for kind in KINDS if REFUSED[-1] in kind.requests)
        texts = [bytes(other).decode() for other in others]
        return [float(any(one.text in text for one in kind.requests)) for text in texts]


def session(folder: Path, *answers: Answer, prompts: int = 1, **trainer: Any) -> Session:
    """A session in which each prompt's call of `write` is answered, and the model then says it is done."""
    folder.mkdir()
    policy = ScriptedPolicy([WRITE, DONE] * prompts)
    ui = ScriptedUI([f"prompt {number}" for number in range(prompts)], answers)
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo", **trainer})
    opened = open_scripted(folder, ui=ui, policy=policy, config=config)
    engine.run(opened)
    return opened


def rows(opened: Session, number: int = 0) -> tuple[Example, ...]:
    started: UpdateStarted = list(opened.transcript.updates.values())[number]
    return plan_of(started, opened.transcript).examples


def of(found: tuple[Example, ...], part: str) -> list[Example]:
    return [row for row in found if row.part == part]


def test_it_is_learned_on_the_very_prompt_that_the_model_sees_next(tmp_path: Path) -> None:
    opened = session(tmp_path / "w", DENY)
    (retry,) = of(rows(opened), "retry")
    denied, tried_again = (opened.transcript.sampled(sample) for sample in opened.transcript.samples)
    assert denied.prompt_ids != retry.prompt_ids == tried_again.prompt_ids


def test_it_is_the_demonstration_told_as_on_the_first_prompt(tmp_path: Path) -> None:
    found = rows(session(tmp_path / "w", DENY))
    (shown,), (retry,) = of(found, "demonstration"), of(found, "retry")
    assert (shown.completion_ids, shown.teacher_ids) == (retry.completion_ids, retry.teacher_ids)
    assert (shown.weight, retry.weight) == (0.5, 0.5)


@pytest.mark.parametrize("share", [0.2, 0.75])
def test_the_two_weigh_together_what_a_demonstration_does(tmp_path: Path, share: float) -> None:
    found = rows(session(tmp_path / "w", DENY, retry=share))
    (shown,), (retry,) = of(found, "demonstration"), of(found, "retry")
    assert retry.weight == share and math.isclose(shown.weight + retry.weight, 1.0)


@pytest.mark.parametrize("trainer", [{"retry": 0.0}, {"rows": "sample", "guidance": 1.0}])
def test_not_where_it_is_switched_off_nor_of_a_sample(tmp_path: Path, trainer: dict[str, Any]) -> None:
    found = rows(session(tmp_path / "w", DENY, **trainer))
    assert not of(found, "retry")
    assert [row.weight for row in found if row.part in ("demonstration", "sample")] == [1.0]


def test_not_where_the_prompt_would_be_too_long(tmp_path: Path) -> None:
    (retry,) = of(rows(session(tmp_path / "w", DENY)), "retry")
    needed = len(retry.prompt_ids) + len(retry.completion_ids)
    for number, most in enumerate((needed, needed - 1)):
        found = rows(session(tmp_path / str(number), DENY, max_context=most))
        assert len(of(found, "retry")) == 1 - number
        assert sum(row.weight for row in found if row.part in ("demonstration", "retry")) == 1.0


def test_not_where_the_call_was_edited_as_nothing_is_tried_again(tmp_path: Path) -> None:
    edit = Answer(verdict="allow", arguments={"path": "c.log", "content": "x"}, reason="c.log")
    found = rows(session(tmp_path / "w", edit))
    assert of(found, "demonstration") and not of(found, "retry")


def test_later_both_are_rehearsed(tmp_path: Path) -> None:
    opened = session(tmp_path / "w", DENY, Answer(verdict="deny", reason="Ask me."), prompts=2)
    first, second = rows(opened, 0), rows(opened, 1)
    learned = [row for row in first if row.part in ("demonstration", "retry")]
    again = {row.prompt_ids: row.weight for row in of(second, "rehearsed")}
    assert again == {row.prompt_ids: row.weight for row in learned} and len(again) == 2


def test_what_is_done_after_other_denials_is_held(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    ui = ScriptedUI(["go"], [DENY])
    opened = open_scripted(tmp_path / "w", [WRITE, DONE], ui=ui, config=Config(model={"name": "test:policy"}))
    engine.run(opened)
    held = [bytes(row.prompt_ids).decode() for row in of(rows(opened), "anchor") if row.weight]
    after = [said for said in held if DENIED in said]
    assert len(after) == len(REFUSED) > 5 and len(set(after)) == len(after)
    assert {said.rpartition(f"{DENIED}: ")[2].partition("\n")[0] for said in after} == set(DENIALS)


def test_but_not_of_a_request_that_is_learned_on_or_near_it(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    policy = Alike([WRITE, DONE])
    ui = ScriptedUI(["go"], [DENY])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    opened = open_scripted(tmp_path / "w", ui=ui, policy=policy, config=config)
    engine.run(opened)
    held = [row for row in of(rows(opened), "anchor") if DENIED in bytes(row.prompt_ids).decode()]
    free = [bytes(row.prompt_ids).decode() for row in held if not row.weight]
    assert any(REFUSED[-1].text in said for said in free) and len(free) < len(held) / 2
