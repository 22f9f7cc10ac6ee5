"""Where a turn ends by itself: each budget, circles, and that nothing else is taken for one."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode import hookimpl
from continualcode.core import engine
from continualcode.core.config import BudgetConfig, Config, SessionConfig, load
from continualcode.core.data import Call, Sample, SamplingParams, ToolResult
from continualcode.core.errors import ConfigError
from continualcode.core.events import (
    BudgetReached,
    CorrectionGiven,
    SampleTaken,
    SessionEnded,
    ToolRan,
    TurnInterrupted,
    UpdateApplied,
    WentInCircles,
    event_registry,
)
from continualcode.core.limits import circle
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import read

READ = Call(tool="read", arguments={"path": "a.txt"})
OTHER = Call(tool="glob", arguments={"pattern": "*.py"})
WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "new\n"})
MANY = [Call(tool="glob", arguments={"pattern": f"*{n}"}) for n in range(9)]


def asked(
    folder: Path,
    says: Sequence[Call | str],
    answers: Sequence[Answer] = (),
    *,
    plugin: object = None,
    policy: ScriptedPolicy | None = None,
    ui: ScriptedUI | None = None,
    prompts: int = 1,
    **budget: Any,
) -> tuple[list[str], ScriptedUI, Session]:
    """How the turn of each prompt ended, with a budget; the session is closed."""
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "a.txt").write_text("one\n")
    ui = ui or ScriptedUI(answers=answers)
    config = Config(
        model={"name": "test:policy"}, session=SessionConfig(snapshots=False), budget=BudgetConfig(**budget)
    )
    plugins = {"mine": plugin} if plugin else {}
    session = open_scripted(project, says, ui=ui, config=config, plugins=plugins, policy=policy)
    endings: list[str] = [engine.ask(session, f"prompt {n}") for n in range(prompts)]
    session.close("quit")
    return endings, ui, session


def facts(ui: ScriptedUI, kind: type[Any]) -> list[Any]:
    return [e for e in ui.events if isinstance(e, kind)]


class Says:
    """A tool's output without the tool."""

    def __init__(self, *outputs: str, run: Callable[[Any], None] = lambda context: None) -> None:
        self._outputs, self._run = list(outputs), run

    @hookimpl
    def run_tool(self, call: Call, context: Any) -> ToolResult:
        self._run(context)
        return ToolResult(output=self._outputs.pop(0) if self._outputs else "")


# -- Budgets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "used"),
    [({"turns": 3}, 3), ({"tokens": 100}, None), ({"output": 300}, None), ({"seconds": 0.2}, None)],
)
def test_a_budget_that_is_used_up_ends_the_turn_is_recorded_and_said(
    tmp_path: Path, budget: dict[str, Any], used: int | None
) -> None:
    plugin = Says(*(f"{n}" * 99 for n in range(9)), run=lambda context: time.sleep(0.05))
    (ending,), ui, session = asked(tmp_path, MANY, plugin=plugin, **budget)
    ((name, limit),) = budget.items()
    (reached,) = facts(ui, BudgetReached)
    assert ending == "limit"
    assert (reached.budget, reached.limit) == (name, limit)
    assert reached.used >= limit if used is None else reached.used == used
    assert len(facts(ui, SampleTaken)) < len(MANY)
    (words,) = ui.messages
    assert f"budget.{name} = {limit}" in words
    assert f"--set budget.{name}={2 * limit:g}" in words
    assert any(isinstance(e, SessionEnded) for e in read(session.log.path, event_registry()))


@pytest.mark.parametrize("name", ["turns", "seconds", "output", "tokens", "repeats"])
def test_0_is_no_limit(tmp_path: Path, name: str) -> None:
    calls = [READ] * 6 if name == "repeats" else [*MANY, *(MANY * 2)]
    budget: dict[str, Any] = dict.fromkeys(("turns", "repeats", name), 0)
    (ending,), ui, _ = asked(tmp_path, [*calls, "done"], **budget)
    assert ending == "answered"
    assert len(facts(ui, ToolRan)) == len(calls)


def test_the_next_prompt_has_a_budget_of_its_own(tmp_path: Path) -> None:
    endings, ui, _ = asked(tmp_path, [*MANY[:5], "done"], turns=3, prompts=2)
    assert endings == ["limit", "answered"]
    assert len(facts(ui, ToolRan)) == 5


def test_output_beyond_the_budget_is_cut_and_the_model_is_told(tmp_path: Path) -> None:
    _, ui, session = asked(tmp_path, MANY, plugin=Says("ä" * 80, "b" * 500), output=200)
    first, second = facts(ui, ToolRan)
    assert first.output == "ä" * 80
    assert second.output == "b" * 40 + "\n… (460 bytes are left out: budget.output = 200 is used up)"
    assert session.transcript.messages[-1].text == second.output


def test_a_tool_is_stopped_when_the_time_is_over(tmp_path: Path) -> None:
    def wait(context: Any) -> None:
        assert context.cancelled.wait(20), "nobody stopped it"

    begun = time.monotonic()
    (ending,), ui, session = asked(tmp_path, [READ], plugin=Says(run=wait), seconds=0.3)
    assert time.monotonic() - begun < 10
    assert (ending, len(facts(ui, ToolRan)), len(facts(ui, TurnInterrupted))) == ("limit", 1, 0)
    assert not session.cancelled.is_set()


def test_a_model_is_stopped_when_the_time_is_over(tmp_path: Path) -> None:
    class Endless(ScriptedPolicy):
        def sample(
            self,
            prompt_ids: Sequence[int],
            grammar: str | None,
            params: SamplingParams,
            on_text: Callable[[str], None] | None = None,
            cancelled: threading.Event | None = None,
        ) -> Sample:
            assert cancelled is not None and cancelled.wait(20)
            return Sample(token_ids=(), logprobs=(), text="", stop="interrupted")

    (ending,), ui, _ = asked(tmp_path, [], policy=Endless(), seconds=0.3)
    assert (ending, len(facts(ui, BudgetReached)), len(facts(ui, SampleTaken))) == ("limit", 1, 0)


def test_a_person_who_thinks_costs_no_time(tmp_path: Path) -> None:
    class Slow(ScriptedUI):
        def review(self, question: Question, session: Session) -> Answer:
            time.sleep(0.5)
            return super().review(question, session)

    (ending,), ui, _ = asked(tmp_path, [READ, "done"], ui=Slow(), seconds=0.4)
    assert (ending, len(facts(ui, ToolRan))) == ("answered", 1)


def test_a_correction_of_the_last_step_is_still_learned(tmp_path: Path) -> None:
    no = Answer(verdict="deny", reason="read a.txt")
    (ending,), ui, _ = asked(tmp_path, [WRITE, WRITE], [no], turns=1)
    assert ending == "limit"
    assert len(facts(ui, CorrectionGiven)) == len(facts(ui, UpdateApplied)) == 1


# -- Circles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "circle_of"),
    [
        ([READ] * 9, 1),
        ([OTHER, *[READ] * 9], 1),
        ([OTHER, READ] * 9, 2),
        (["no call {"] * 9, 1),
    ],
)
def test_the_same_with_the_same_outcome_is_a_circle(
    tmp_path: Path, turns: list[Call | str], circle_of: int
) -> None:
    turns = ['{"name": "nothing"}' if isinstance(turn, str) else turn for turn in turns]
    (ending,), ui, _ = asked(tmp_path, turns)
    (stuck,) = facts(ui, WentInCircles)
    assert ending == "limit"
    assert (len(stuck.calls), stuck.times) == (circle_of, 3)
    assert "goes in circles" in ui.messages[-1] and "budget.repeats=6" in ui.messages[-1]


def test_the_same_denial_is_a_circle_and_another_reason_is_not(tmp_path: Path) -> None:
    same = [Answer(verdict="deny", reason="no", train=False)] * 9
    (ending,), ui, _ = asked(tmp_path / "", [WRITE] * 9, same)
    assert ending == "limit" and "denied for the same reason" in ui.messages[-1]
    (tmp_path / "other").mkdir()
    words = [Answer(verdict="deny", reason=f"no, {n}", train=False) for n in range(4)]
    (ending,), ui, _ = asked(tmp_path / "other", [*[WRITE] * 4, "done"], words)
    assert ending == "answered"


def test_the_same_call_with_another_result_is_no_circle(tmp_path: Path) -> None:
    plugin = Says(*(f"{n} tests left" for n in range(9)))
    (ending,), ui, _ = asked(tmp_path, [*[READ] * 8, "done"], plugin=plugin)
    assert (ending, facts(ui, WentInCircles)) == ("answered", [])


def test_how_often_is_too_often_can_be_set_and_once_is_refused(tmp_path: Path) -> None:
    _, ui, _ = asked(tmp_path, [READ] * 9, repeats=5)
    assert len(facts(ui, ToolRan)) == 5
    with pytest.raises(ConfigError, match="once is no repetition"):
        load(project=tmp_path, sets=["budget.repeats=1"])


def test_the_log_says_the_same_again(tmp_path: Path) -> None:
    _, ui, session = asked(tmp_path, [READ] * 9)
    (stuck,) = facts(ui, WentInCircles)
    again = fold(read(session.log.path, event_registry()))
    assert again.proposals[stuck.calls[0]].call == READ


@given(st.lists(st.integers(), unique=True), st.integers(2, 6))
def test_steps_that_all_differ_are_no_circle(steps: list[int], times: int) -> None:
    assert circle(steps, times) == 0


@given(
    st.lists(st.integers(0, 3), max_size=9),
    st.lists(st.integers(4, 9), min_size=1, max_size=2, unique=True),
    st.integers(2, 5),
)
def test_a_circle_is_found_when_it_is_complete_and_not_before(
    before: list[int], period: list[int], times: int
) -> None:
    steps = [*before, *period * times]
    assert circle(steps, times) == len(period)
    assert circle(steps[:-1], times) in ((0,) if len(period) == 2 else (circle(before, times), 0))


@settings(max_examples=30)
@given(st.permutations(range(9)), st.integers(0, 2))
def test_pairs_that_are_broken_once_are_no_circle(order: list[int], where: int) -> None:
    steps = [0, 1, 0, 1, 0, 1]
    steps[2 * where] = 2 + order[0]
    assert circle(steps, 3) == 0
