"""Arguments against a schema: what is put right, and how the rest is refused."""

from typing import Any

import pytest

from continualcode.core.data import ToolSpec
from continualcode.core.schema import check_arguments, flat_schema, normalise_arguments, signature

SPEC = ToolSpec(
    name="edit_lines",
    description="",
    parameters=flat_schema(
        {"path": ("string", "the file"), "start_line": ("integer", "the first line")},
        {"content": ("string", "the text"), "keep": ("boolean", "whether to")},
    ),
)
GOOD: dict[str, Any] = {"path": "a.py", "start_line": 1}


def test_good_arguments_pass_untouched() -> None:
    assert normalise_arguments(SPEC, GOOD) == (GOOD, ())
    assert check_arguments(SPEC, GOOD) is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"file_path": "a.py", "start_line": 1}, {"path": "a.py", "start_line": 1}),
        ({"Path": "a.py", "start-line": 1}, {"path": "a.py", "start_line": 1}),
        ({**GOOD, "text": "x"}, {**GOOD, "content": "x"}),
        ({**GOOD, "start_line": "14"}, {**GOOD, "start_line": 14}),
        ({**GOOD, "start_line": " -1 "}, {**GOOD, "start_line": -1}),
        ({**GOOD, "start_line": 14.0}, {**GOOD, "start_line": 14}),
        ({**GOOD, "keep": "True"}, {**GOOD, "keep": True}),
        ({**GOOD, "content": 5}, {**GOOD, "content": "5"}),
        ({**GOOD, "content": None}, GOOD),
    ],
)
def test_what_is_meant_beyond_doubt_is_put_right_and_noted(
    given: dict[str, Any], meant: dict[str, Any]
) -> None:
    before = dict(given)
    arguments, notes = normalise_arguments(SPEC, given)
    assert arguments == meant
    assert [type(v) for v in arguments.values()] == [type(v) for v in meant.values()]
    assert notes
    assert given == before, "the input was changed"


@pytest.mark.parametrize(
    "given",
    [
        {**GOOD, "start_line": "one"},
        {**GOOD, "start_line": 1.5},
        {**GOOD, "start_line": True},
        {**GOOD, "keep": "yes"},
        {**GOOD, "file": "b.py"},  # path is given: what would this be?
        {"file": "a.py", "filename": "b.py", "start_line": 1},
        {"path": None, "start_line": 1},
    ],
)
def test_what_stays_doubtful_is_left_for_the_check_to_refuse(given: dict[str, Any]) -> None:
    arguments, _ = normalise_arguments(SPEC, given)
    assert check_arguments(SPEC, arguments) is not None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"path": "a.py"}, "start_line (integer) is missing"),
        ({**GOOD, "start_line": "one"}, "start_line must be integer, not string: 'one'"),
        ({**GOOD, "start_line": True}, "start_line must be integer, not boolean: True"),
        ({**GOOD, "start_line": 1.5}, "start_line must be integer, not number: 1.5"),
        ({**GOOD, "path": ["a.py"]}, "path must be string, not array: ['a.py']"),
        ({**GOOD, "path": None}, "path must be string, not null: None"),
        ({**GOOD, "contant": "x"}, "there is no argument 'contant'; did you mean 'content'?"),
        ({**GOOD, "path": "\ud800"}, r"path holds half a character ('\ud800')"),
        ({**GOOD, "path": ["x" * 200]}, "x…"),
    ],
)
def test_a_refusal_names_the_field_what_it_got_and_what_is_expected(given: dict[str, Any], said: str) -> None:
    problem = check_arguments(SPEC, given)
    assert problem is not None
    assert said in problem
    assert problem.startswith("edit_lines: ")
    call = "edit_lines(path: string, start_line: integer, content?: string, keep?: boolean)"
    assert problem.endswith(f"Call it as {call}")


def test_all_that_is_wrong_is_said_at_once() -> None:
    problem = check_arguments(SPEC, {"paht": "a.py", "keep": 3})
    assert problem is not None
    assert all(
        part in problem
        for part in ("path (string) is missing", "start_line (integer)", "'paht'", "keep must")
    )


def test_a_field_of_ones_own_is_no_alias() -> None:
    spec = ToolSpec(
        name="say",
        description="",
        parameters=flat_schema({"text": ("string", ""), "content": ("string", "")}),
    )
    given = {"text": "a", "content": "b"}
    assert normalise_arguments(spec, given) == (given, ())


def test_choices_and_bounds_of_other_peoples_schemas_are_checked() -> None:
    fields = {"mode": {"enum": ["a", "b"]}, "n": {"type": "integer", "minimum": 1, "maximum": 3}, "x": {}}
    spec = ToolSpec(name="other", description="", parameters={"type": "object", "properties": fields})
    assert check_arguments(spec, {"mode": "a", "n": 3, "x": [1], "more": 1}) is None
    assert "mode must be one of 'a', 'b', not 'c'" in (check_arguments(spec, {"mode": "c"}) or "")
    assert "n must be at least 1, not 0" in (check_arguments(spec, {"n": 0}) or "")
    assert "n must be at most 3, not 4" in (check_arguments(spec, {"n": 4}) or "")


def test_a_signature_fits_on_a_line() -> None:
    assert (
        signature(SPEC) == "edit_lines(path: string, start_line: integer, content?: string, keep?: boolean)"
    )
