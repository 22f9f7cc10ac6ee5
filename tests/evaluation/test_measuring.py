"""How often mistakes are made: exact where the tool decides, drawn where arguments do."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.core.data import Sample
from continualcode.core.errors import ConfigError
from continualcode.core.evaluation.cases import Case, CaseRule, Cases, PastCall
from continualcode.core.evaluation.measure import Ruler, Settings, begun, is_whole_call, written
from continualcode.core.operator import Predicate
from continualcode.core.session import Session
from continualcode.core.workspace import Workspace


def test_where_the_tool_decides_nothing_is_drawn_and_the_figure_is_exact(
    session: Session, cases: Cases, policy: Any
) -> None:
    rule = msgspec.structs.replace(cases.rule[0], violates=Predicate(tool="write"))
    figures = Ruler(session).case(rule.held_out[0], rule)
    assert (figures.violates, figures.obeys) == (0.5, 0.4)
    assert policy.drawn == []


def test_where_arguments_decide_calls_of_that_tool_are_drawn_with_consecutive_seeds(
    session: Session, cases: Cases, policy: Any
) -> None:
    rule = cases.rule[1]
    figures = Ruler(session, Settings(draws=4, seed=10)).case(rule.held_out[0], rule)
    assert policy.drawn == [10, 11, 12, 13]
    assert figures.violating == {"bash": (False, True, False, True)}
    assert figures.violates == pytest.approx(0.99 / 2)
    assert figures.obeys == pytest.approx(1 - 0.99 / 2), "no `obeys`: whatever does not violate"
    assert figures.obeying == {"bash": (True, False, True, False)} and figures.cut == 0.0


def test_a_call_that_is_cut_off_is_judged_by_what_was_written_and_that_is_said(
    session: Session, policy: Any
) -> None:
    """At 48 bytes `pytest` is there, and what comes after it is not."""
    rule = _rule(Predicate(tool="bash", arguments={"command": "^pyt"}))
    figures = Ruler(session, Settings(draws=2, max_tokens=48)).case(Case(prompt="Do the tests pass?"), rule)
    assert figures.violating == {"bash": (True, True)}
    assert figures.cut == pytest.approx(0.99)


def test_improbable_tools_are_not_drawn_from_and_reported(session: Session, policy: Any) -> None:
    rule = _rule(Predicate(arguments={"path": "x"}))
    figures = Ruler(session, Settings(draws=1)).case(Case(prompt="Do the tests pass?"), rule)
    assert figures.undrawn == pytest.approx(0.01)
    assert len(policy.drawn) == 1


def _rule(violates: Predicate) -> CaseRule:
    return CaseRule(name="r", correction="No.", violates=violates)


def test_files_are_there_for_the_predicate_and_for_earlier_calls(session: Session, cases: Cases) -> None:
    rule = cases.rule[0]
    case = Case(
        prompt="Correct notes.md.",
        files={"notes.md": "2019\n"},
        history=(PastCall(name="read", arguments={"path": "notes.md"}),),
    )
    ruler = Ruler(session)
    assert ruler.case(case, rule).violates == 0.5
    assert ruler.case(Case(prompt="Correct notes.md."), rule).violates == 0.0, "a new file: no mistake"


def test_the_model_sees_what_the_calls_really_gave(session: Session, tmp_path: Path) -> None:
    case = Case(
        prompt="Correct it.",
        files={"notes.md": "2019\n"},
        history=(PastCall(name="read", arguments={"path": "notes.md"}),),
    )
    empty = tmp_path / "stage"
    empty.mkdir()
    seen = bytes(Ruler(session).prompt(case, Workspace(empty))).decode()
    assert seen.startswith("system: ") and "user: Correct it.\n" in seen
    assert "1| 2019" in seen.split('"read"')[1]


@pytest.mark.parametrize(
    ("past", "error"),
    [
        (PastCall(name="raed"), "history: raed: there is no such tool; did you mean 'read'"),
        (PastCall(name="read", arguments={}), "history: read: .*path"),
        (PastCall(name="read", arguments={"path": "none.md"}), r"history: read: .*none\.md"),
    ],
)
def test_a_history_that_cannot_have_happened_is_a_fault_of_the_case(
    session: Session, tmp_path: Path, past: PastCall, error: str
) -> None:
    with pytest.raises(ConfigError, match=f"the case 'Go on.': {error}"):
        Ruler(session).prompt(Case(prompt="Go on.", history=(past,)), Workspace(tmp_path))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", ""])
def test_a_cases_files_stay_in_its_workspace(session: Session, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not a path inside a workspace"):
        Ruler(session).prompt(Case(prompt="x", files={name: "x"}), Workspace(tmp_path))


def test_a_control_says_what_is_likeliest_whether_it_is_right_and_a_call(
    session: Session, cases: Cases
) -> None:
    figures = Ruler(session).control(cases.control[0])
    assert (figures.likeliest, figures.right, figures.valid) == ("read", 1.0, True)
    assert '"read"' in figures.begins, "how a call of it begins"


def test_measuring_leaves_no_trace_in_the_log(session: Session, cases: Cases) -> None:
    before = session.log.path.read_bytes()
    Ruler(session, Settings(draws=1)).measure(cases)
    assert session.log.path.read_bytes() == before
    assert list(session.workspace.root.iterdir()) == []


# -- Reading calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"name": "bash", "arguments": {"command": "ls", ', {"command": "ls"}),
        ('{"name": "bash", "arguments": {"command": "l\\"s"}', {"command": 'l"s'}),
        ('{"name": "bash", "arguments": {"command": "ls', {}),
        ('{"name": "bash", "argu', {}),
        ('{"arguments": {"line": 12', {}),
        ('{"arguments": {"line": 12,', {"line": 12}),
    ],
)
def test_arguments_that_are_finished_are_read_from_a_call_that_is_not(
    text: str, found: dict[str, object]
) -> None:
    assert written(text, frozenset({"command", "line"})) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"name": "write", "arguments": {"path": "a", "content": "x = 1', {"content": "x = 1"}),
        ('{"name": "write", "arguments": {"path": "a", "content": "é\\', {"content": "é"}),
        ('{"name": "write", "arguments": {"path": "a", "content": "é\\u00e', {"content": "é"}),
        ('{"name": "write", "arguments": {"content": "x\\\\u12', {"content": "x\\u12"}),
        ('{"name": "write", "arguments": {"content": "', {}),
        ('{"name": "write", "argu', {}),
        ('{"name": "write", "arguments": {"content": 12', {}),
    ],
)
def test_a_string_that_is_being_written_is_read_as_far_as_it_goes(
    text: str, found: dict[str, object]
) -> None:
    assert begun(text, frozenset({"content"})) == found


def test_a_call_whose_arguments_do_not_fit_is_none(session: Session) -> None:
    def whole(text: str) -> bool:
        sample = Sample(token_ids=tuple(text.encode()), logprobs=(0.0,) * len(text), text=text, stop="end")
        return is_whole_call(session.policy, sample, session.transcript.tools)

    assert whole('{"name": "read", "arguments": {"path": "a"}}')
    assert not whole('{"name": "read", "arguments": {}}')
    assert not whole("just words")
