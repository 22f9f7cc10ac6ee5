"""JSON as models write it: read strictly, repaired where nothing is in doubt, never completed."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from continualcode.plugins.models.language.loose_json import (
    BACKSLASH,
    BARE,
    BREAKS,
    COMMA,
    PYTHON,
    Value,
    read,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)


@settings(max_examples=50)
@given(value=OBJECTS, indent=st.sampled_from([None, 2]), ascii_only=st.booleans())
def test_json_is_read_as_json(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert read(text + " and more", 0) == Value(value, len(text))


@settings(max_examples=50)
@given(value=OBJECTS)
def test_python_is_read_as_json_too(value: Any) -> None:
    assume('"' not in repr(value))  # Python's own choice where that saves an escape: then it may be JSON's
    found = read(repr(value), 0)
    assert found is not None
    assert found.value == value


@pytest.mark.parametrize(
    ("text", "value", "repair"),
    [
        ("{'a': 'it\\'s'}", {"a": "it's"}, PYTHON),
        ('{"a": True, "b": None}', {"a": True, "b": None}, PYTHON),
        ('{"a": "x\n\ty"}', {"a": "x\n\ty"}, BREAKS),
        ('{"a": [1, 2,],}', {"a": [1, 2]}, COMMA),
        ("{a: 1}", {"a": 1}, BARE),
        ('{"a": "\\d+\\s"}', {"a": "\\d+\\s"}, BACKSLASH),
        ('{"a": "\\ud83d\\ude42", b: 1}', {"a": "🙂", "b": 1}, BARE),
    ],
)
def test_what_is_meant_beyond_doubt_is_repaired(text: str, value: Any, repair: str) -> None:
    assert read(text, 0) == Value(value, len(text), (repair,))


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"a"', '{"a": 1', '{"a": 1e999}', '{"a": NaN}', '{"a": "\\ud800"}', "{'a': 'b", "{,}", "x"],
)
def test_what_is_no_whole_value_is_none(text: str) -> None:
    assert read(text, 0) is None


def test_a_value_too_deep_is_none() -> None:
    assert read("{'a':" * 100_000, 0) is None


@settings(max_examples=50)
@given(value=OBJECTS, python=st.booleans(), data=st.data())
def test_a_value_that_breaks_off_is_never_completed(value: Any, python: bool, data: st.DataObject) -> None:
    text = repr(value) if python else json.dumps(value)
    assert read(text[: data.draw(st.integers(0, len(text) - 1))], 0) is None


@given(text=st.text(st.sampled_from("{}[]\"'\\,:unltrefas01.e- \n"), max_size=40))
def test_reading_never_raises(text: str) -> None:
    found = read(text, 0)
    assert found is None or 0 < found.end <= len(text)
