"""A correction that broke a case is found in ⌈log₂ n⌉ evaluations."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.bisection import Bisection, Bisector, Probe, first_broken
from continualcode.core.curriculum import Course
from continualcode.core.data import Example, Objective, Optimiser, StepReport, ToolSpec
from continualcode.core.errors import ReplayError, UsageError
from continualcode.core.evaluation.cases import CaseRule, Cases, Control
from continualcode.core.evaluation.measure import Ruler
from continualcode.core.operator import Predicate
from continualcode.core.protocols import Trainer
from continualcode.core.store import EVERY, WeightStore
from continualcode.core.testing import ScriptedPolicy, open_scripted

Record = Callable[..., Path]
TrainerOf = Callable[[str, Any], Trainer]
CourseAt = Callable[[Path], Course]

PLANTED = "Never read."
CASES = Cases(
    rule=(
        CaseRule(
            name="reads",
            correction="Read it.",
            violates=Predicate(tool="bash"),
            held_out=(Control(prompt="Look."),),
        ),
    ),
    control=(
        Control(prompt="Anything."),
        Control(prompt="Show me the README.", expects=Predicate(tool="read")),
        Control(prompt="List the files.", expects=Predicate(tool="bash")),
    ),
)
"""With the base model the second control is kept, and the third is broken."""


REJECTED = "Anything else."


class Impressed(ScriptedPolicy):
    """Reads, until it has learned `PLANTED`: then it runs commands, and its weights begin with "bad".

    The gate rejects what it learns of `REJECTED`. prepared: how many updates it began.
    """

    prepared = 0
    started = ""

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Any:
        self.prepared += 1
        self.started = self._weights
        return super().prepare(examples, objective, optimiser)

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        was_bad = self._weights.startswith("bad")
        report = super().step(batch, stop_below=stop_below)
        said = (bytes(row.teacher_ids) for row in batch.examples if row.part == "demonstration")
        if report.stepped and (was_bad or any(PLANTED.encode() in words for words in said)):
            self._weights = "bad" + self._weights
        spoils = bytes(batch.examples[0].teacher_ids).rstrip().splitlines()[-2].endswith(REJECTED.encode())
        spoilt = spoils and self._weights != self.started
        return msgspec.structs.replace(report, kept=0.0) if spoilt else report

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        bad = self._weights.startswith("bad")
        return {tool.name: float(tool.name == ("bash" if bad else "read")) for tool in tools}


class Search:
    """Bisects a log on a policy of its own.

    probes: the evaluations that it made, the ends included. trained: how many updates were, for each.
    """

    def __init__(self, folder: Path, trainer_of: TrainerOf) -> None:
        self.policy = Impressed()
        self.session = open_scripted(folder / "measuring", policy=self.policy)
        self.store = WeightStore(folder / "weights")
        self.probes: list[Probe] = []
        self.trained: list[int] = []
        self._trainer_of = trainer_of

    def __call__(self, course: Course, *names: str, cases: Cases = CASES) -> Bisection:
        self.probes.clear()

        def said(probe: Probe) -> None:
            self.probes.append(probe)
            self.trained.append(self.policy.prepared)
            self.policy.prepared = 0

        return Bisector(
            course,
            cases,
            Ruler(self.session),
            self.session.policy,
            self._trainer_of,
            self.store,
            names=names,
            said=said,
        ).run()


@pytest.fixture
def search(tmp_path: Path, trainer_of: TrainerOf) -> Search:
    return Search(tmp_path, trainer_of)


def planted(record: Record, at: int | None, n: int = 16, **options: Any) -> Path:
    says = [PLANTED if i == at else f"Number {i}." for i in range(n)]
    return record(says, gated=False, trainer={"anchors": 0.0, "rehearsal": 0.0}, **options)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_what_stays_broken_is_found_in_so_many_evaluations(case: tuple[int, int]) -> None:
    n, first = case
    asked: list[int] = []

    def broken(k: int) -> bool:
        asked.append(k)
        return k >= first

    assert first_broken(n, broken) == first
    assert len(asked) == len(set(asked)) <= math.ceil(math.log2(n))
    assert not {0, n} & set(asked)


@given(st.lists(st.booleans(), max_size=40))
def test_what_breaks_and_mends_is_found_at_a_place_where_it_breaks(between: list[bool]) -> None:
    broken = [False, *between, True]
    k = first_broken(len(broken) - 1, broken.__getitem__)
    assert broken[k] and not broken[k - 1]


@pytest.mark.parametrize("at", range(16))
def test_a_bad_correction_among_16_is_found_in_4_evaluations(
    record: Record, course_at: CourseAt, search: Search, at: int
) -> None:
    course = course_at(planted(record, at))
    found = search(course)
    assert found.update is not None
    assert [(c.seq, c.words) for c in found.update.corrections] == [(course.attempts[at].own[0].seq, PLANTED)]
    assert found.updates == 16
    assert found.evaluations == len(search.probes) - 2 == 4
    assert found.before is not None and found.after is not None
    assert (found.before.figures["control 2"], found.after.figures["control 2"]) == (1.0, 0.0)
    assert (found.before.updates, found.after.updates) == (at, at + 1)


def test_an_evaluation_trains_from_the_nearest_state_that_was_kept(
    record: Record, course_at: CourseAt, search: Search
) -> None:
    search(course_at(planted(record, 9)))
    assert search.trained[0] == 16, "the whole log, once"
    assert max(search.trained[1:]) < EVERY


def test_a_rule_breaks_when_its_mistake_becomes_more_probable(
    record: Record, course_at: CourseAt, search: Search
) -> None:
    found = search(course_at(planted(record, 2, n=5)), "reads")
    assert found.update is not None
    assert found.update.corrections[0].words == PLANTED
    assert (found.base.figures, found.last.figures) == ({"reads": 0.0}, {"reads": 1.0})


def test_updates_that_the_gate_rejects_moved_nothing_and_are_not_searched(
    record: Record, course_at: CourseAt, search: Search
) -> None:
    says = ["One.", REJECTED, "Two.", PLANTED, REJECTED]
    course = course_at(record(says, gated=False, trainer={"anchors": 0.0, "rehearsal": 0.0}))
    found = search(course)
    assert found.update is not None
    assert (found.update.seq, found.updates) == (course.attempts[3].started.seq, 3)


@pytest.mark.parametrize(
    ("at", "names", "why"),
    [(None, (), "not broken with the weights"), (3, ("control 3",), "broken with the base model already")],
)
def test_where_no_correction_is_to_blame_it_says_why(
    record: Record, course_at: CourseAt, search: Search, at: int | None, names: tuple[str, ...], why: str
) -> None:
    found = search(course_at(planted(record, at, n=4)), *names)
    assert found.update is None
    assert why in found.why
    assert found.evaluations == 0


def test_a_log_that_learned_nothing_has_nothing_to_search(
    record: Record, course_at: CourseAt, search: Search
) -> None:
    with pytest.raises(ReplayError, match="no correction in it has moved the weights"):
        search(course_at(record(["Use edit."], skipped=[0])))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("raeds",), "did you mean 'reads'"),
        (("control 1",), "does not say what it `expects`"),
    ],
)
def test_a_case_that_cannot_break_is_refused(
    record: Record, course_at: CourseAt, search: Search, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        search(course_at(planted(record, 0, n=1)), *names)


def test_without_controls_a_rule_must_be_named(record: Record, course_at: CourseAt, search: Search) -> None:
    with pytest.raises(UsageError, match="name a rule with --case: reads"):
        search(course_at(planted(record, 0, n=1)), cases=Cases(rule=CASES.rule))
