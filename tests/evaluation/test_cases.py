"""The file of a case set: what it says, and what is said about mistakes in it."""

from pathlib import Path

import pytest

from continualcode.core.data import Call
from continualcode.core.errors import ConfigError, UsageError
from continualcode.core.evaluation.cases import Cases, PastCall, load_cases
from continualcode.core.operator import Predicate
from continualcode.core.workspace import Workspace
from continualcode.plugins.trainers.probes import PROBES
from continualcode.plugins.trainers.situations import OTHERWISE, SITUATIONS

UPTAKE = Path(__file__).parents[2] / "benchmarks" / "uptake"


def test_a_file_is_rules_with_their_prompts_and_controls(cases: Cases) -> None:
    edit, quiet = cases.rule
    assert (edit.name, edit.group, edit.train[0].history) == (
        "edit-not-write",
        "tools",
        (PastCall(name="read", arguments={"path": "test_calc.py"}),),
    )
    assert quiet.obeys is None and quiet.violates.arguments == {"command": "^pytest(?!.* -q)"}
    (control,) = cases.control
    assert control.expects == Predicate(tool="read") and control.group == "unrelated"


def test_a_rule_is_also_a_user_who_denies(cases: Cases, tmp_path: Path) -> None:
    operator = cases.rule[0].operator()
    (tmp_path / "a.py").write_text("x")
    over, new = (Call(tool="write", arguments={"path": p, "content": ""}) for p in ("a.py", "b.py"))
    assert operator.violates.holds(over, Workspace(tmp_path))
    assert not operator.violates.holds(new, Workspace(tmp_path))
    assert operator.correction == cases.rule[0].correction


def test_rules_are_chosen_by_name_in_the_order_given(cases: Cases) -> None:
    assert [rule.name for rule in cases.named(["quiet", "edit-not-write"])] == ["quiet", "edit-not-write"]
    with pytest.raises(UsageError, match="no rule 'quite' in the case set; did you mean 'quiet'"):
        cases.named(["quite"])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "nothing to measure"),
        ("rule = 3", r"rule must be an array of tables: \[\[rule\]\]"),
        ("[[rules]]", "unknown key 'rules'; did you mean 'rule'"),
        ("[[rule]]\nname = 'a'\ncorrection = 'b'", "rule 1: .*violates"),
        ("[[rule]]\nname = 'a'\ncorrection = 'b'\nviolates = {}\n[[rule.train]]\npromt = 'x'", "train 1"),
        (
            "[[rule]]\nname = 'a'\ncorrection = 'b'\nviolates = { arguments = { command = '(' } }",
            "rule 1: violates: arguments.command is not a regular expression",
        ),
        ("[[control]]\nprompt = 'a'\nexpects = { arguments = { path = '[' } }", "control 1: expects"),
        ("x = [", "not TOML"),
        (
            "[[rule]]\nname = 'a'\ncorrection = 'b'\nviolates = {}\n"
            "[[rule]]\nname = 'a'\ncorrection = 'b'\nviolates = {}",
            "two rules are called 'a'",
        ),
        (
            "[[control]]\nprompt = 'a'\nfiles = { '../x' = '' }",
            "control 1: the file '../x' is not a path inside",
        ),
        (
            "[[rule]]\nname = 'a'\ncorrection = 'b'\nviolates = {}\n"
            "[[rule.held_out]]\nprompt = 'x'\nfiles = { 'a' = '', 'a/b' = '' }",
            "rule 'a': held_out 1: 'a' cannot be a file and the folder of 'a/b'",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path: Path, text: str, error: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=error) as caught:
        load_cases(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_cases(tmp_path / "none.toml")


# -- Which arguments a predicate looks at ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("predicate", "tool", "looks_at"),
    [
        (Predicate(tool="write"), "write", frozenset[str]()),
        (Predicate(tool="write"), "read", None),
        (Predicate(), "read", frozenset[str]()),
        (Predicate(tool="write", path_exists=True), "write", frozenset({"path"})),
        (Predicate(arguments={"command": "x"}), "bash", frozenset({"command"})),
        (Predicate(any_of=(Predicate(tool="a"), Predicate(arguments={"p": ""}))), "a", frozenset({"p"})),
        (Predicate(any_of=(Predicate(tool="a"), Predicate(tool="b"))), "c", None),
    ],
)
def test_a_predicate_says_which_arguments_decide(
    predicate: Predicate, tool: str, looks_at: frozenset[str] | None
) -> None:
    assert predicate.looks_at(tool) == looks_at


# -- The case set that our own figures come from -----------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "rules", "groups"),
    [("rules.toml", 13, {"unrelated", "opposite"}), ("unseen.toml", 6, {"unrelated"})],
)
def test_the_benchmarks_rules_can_be_taught_and_measured(file: str, rules: int, groups: set[str]) -> None:
    cases = load_cases(UPTAKE / file)
    assert len(cases.rule) == rules
    for rule in cases.rule:
        assert len(rule.train) >= 2 and len(rule.held_out) >= 4, rule.name
        prompts = [case.prompt for case in (*rule.train, *rule.held_out)]
        assert len(set(prompts)) == len(prompts), rule.name
    assert {control.group for control in cases.control} == groups


def test_what_an_update_looks_at_is_no_prompt_of_the_benchmark() -> None:
    files = [load_cases(file) for file in sorted(UPTAKE.glob("*.toml"))]
    assert len(files) == 12
    measured = {c.prompt for cases in files for rule in cases.rule for c in (*rule.train, *rule.held_out)}
    measured |= {control.prompt for cases in files for control in cases.control}
    assert not measured & {one.text for one in (*SITUATIONS, *OTHERWISE, *PROBES)}
