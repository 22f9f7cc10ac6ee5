"""`[feedback]` in the configuration: which kinds notice something."""

from collections.abc import Callable
from typing import Any

import pytest

from continualcode import hookimpl
from continualcode.core.data import Call, Slots
from continualcode.core.errors import ConfigError
from continualcode.core.events import CorrectionGiven, ToolRan
from continualcode.core.plugins import Plugins
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record

Play = Callable[..., Session]
Given = Callable[[Session], list[CorrectionGiven]]

GLOB = Call(tool="glob", arguments={"pattern": "*"})
NO = Answer(verdict="deny", reason="No.")


def test_a_kind_can_be_turned_off(play: Play, given: Given) -> None:
    assert given(play([GLOB], answers=[NO], feedback={"deny": False})) == []


def test_what_is_not_mentioned_is_as_it_is_by_default(play: Play, given: Given) -> None:
    assert [c.kind for c in given(play([GLOB], answers=[NO], feedback={"edit": False}))] == ["deny"]


def test_a_skipped_decision_teaches_nothing(play: Play, given: Given) -> None:
    assert given(play([GLOB], answers=[Answer(verdict="deny", reason="No.", train=False)])) == []


def test_a_kind_of_somebody_elses_is_turned_off_in_the_same_way(play: Play, given: Given) -> None:
    class EveryCall:
        kind = "every_call"

        def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
            if not isinstance(record, ToolRan):
                return None
            sample = transcript.call(record.call_id).sample
            return CorrectionGiven(kind=self.kind, sample=sample, call_id=record.call_id, feedback="Hm.")

        def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
            return Slots(feedback=correction.feedback)

    class Mine:
        @hookimpl
        def register_feedback(self) -> list[EveryCall]:
            return [EveryCall()]

    assert given(play([GLOB], plugins={"mine": Mine()}, feedback={"every_call": False})) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"approved_retri": True}, "no kind of correction 'approved_retri'.*approved_retry"),
        ({"deny": 1}, "feedback.deny: 1 is neither true, nor false, nor a table"),
        ({"linter": {"command": "ruff"}}, "feedback.linter: unknown key 'command'.*commands"),
        ({"linter": {"commands": {"py": "ruff {path}"}}}, "feedback.linter: commands: 'py'"),
        ({"linter": {"commands": {".py": "ruff ."}}}, "where the file goes"),
    ],
)
def test_what_cannot_be_chosen_is_an_error_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Plugins(installed=False).feedback(options)
