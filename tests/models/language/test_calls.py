"""Completions read as calls: strictly, with the repairs that small models need, or with a reason why not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Call, ToolSpec
from continualcode.plugins.models.language.calls import Found, read
from continualcode.plugins.models.language.families import HERMES

OPEN, CLOSE = "<tool_call>", "</tool_call>"
READ = '{"name": "read", "arguments": {"path": "a.py"}}'
CALL = Call(tool="read", arguments={"path": "a.py"})


@pytest.fixture(scope="module")
def known(tools: tuple[ToolSpec, ...]) -> dict[str, ToolSpec]:
    return {tool.name: tool for tool in tools}


def reading(text: str, known: dict[str, ToolSpec], stop: Any = "end") -> Found:
    return read(HERMES, text, known, stop)


def test_a_well_formed_call_needs_no_repair(known: dict[str, ToolSpec]) -> None:
    text = f"{OPEN}\n{READ}\n{CLOSE}"
    assert reading(text, known) == Found("", CALL, "ok", None, (0, len(text)))


def test_text_before_the_call_is_kept_apart(known: dict[str, ToolSpec]) -> None:
    found = reading(f"I will look.\n{OPEN}{READ}{CLOSE}", known)
    assert (found.text, found.call, found.how, found.span) == (
        "I will look.",
        CALL,
        "ok",
        (13, 13 + len(OPEN + READ + CLOSE)),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{OPEN}\n{READ}", "no </tool_call>"),
        (f"{OPEN}\n{READ}\n{CLOSE}\nDone!", "text after the call"),
        (f"{OPEN}\n{READ} and so on", "no </tool_call>"),
        (f"```json\n{READ}\n```", "no <tool_call>"),
        (READ, "no <tool_call>"),
        (f"{OPEN}{{'name': 'read', 'arguments': {{'path': 'a.py'}}}}{CLOSE}", "Python's quotes"),
        (f'{OPEN}{{"tool": "read", "arguments": {{"path": "a.py"}}}}{CLOSE}', "'tool' read as 'name'"),
        (
            f'{OPEN}{{"name": "read", "parameters": {{"path": "a.py"}}}}{CLOSE}',
            "'parameters' read as 'arguments'",
        ),
        (f'{OPEN}{{"name": "read", "arguments": "{{\\"path\\": \\"a.py\\"}}"}}{CLOSE}', "a string of JSON"),
        (f'{OPEN}{{"type": "function", "function": {READ}}}{CLOSE}', "inside 'function'"),
    ],
)
def test_what_is_meant_beyond_doubt_is_repaired(known: dict[str, ToolSpec], text: str, why: str) -> None:
    found = reading(text, known)
    assert (found.call, found.how) == (CALL, "repaired")
    assert why in str(found.why)


def test_line_breaks_inside_a_string_are_repaired(known: dict[str, ToolSpec]) -> None:
    found = reading(
        f'{OPEN}{{"name": "write", "arguments": {{"path": "a", "content": "x\ny"}}}}{CLOSE}', known
    )
    assert found.call == Call(tool="write", arguments={"path": "a", "content": "x\ny"})
    assert found.why == "line breaks inside a string"


@pytest.mark.parametrize(
    ("text", "stop", "why"),
    [
        (f"{OPEN}\n{READ[:-5]}", "length", "max_tokens was reached"),
        (f"{OPEN}\n{READ[:-5]}", "interrupted", "it was interrupted"),
        (f"{OPEN}\n{READ[:-5]}", "end", "not JSON"),
        (OPEN, "end", "not JSON"),
        ("I think", "length", "max_tokens was reached"),
        ("", "interrupted", "it was interrupted"),
        (f'{OPEN}{{"name": "raed", "arguments": {{}}}}{CLOSE}', "end", "did you mean 'read'"),
        (f"{OPEN}[1, 2]{CLOSE}", "end", "not JSON"),
        (f'{OPEN}{{"arguments": {{}}}}{CLOSE}', "end", "does not name a tool"),
        (f'{OPEN}{{"name": "read", "arguments": [1]}}{CLOSE}', "end", "not an object"),
        (f'{OPEN}{{"name": "read", "arguments": {{"path": NaN}}}}{CLOSE}', "end", "not JSON"),
        (f'{OPEN}{{"name": "read", "arguments": {{"path": 1e999}}}}{CLOSE}', "end", "not JSON"),
        (f'{OPEN}{{"name": "read", "arguments": {{"path": "\\ud800"}}}}{CLOSE}', "end", "not JSON"),
        (OPEN + '{"a":' * 100_000, "end", "not JSON"),
    ],
)
def test_what_cannot_be_read_says_why(known: dict[str, ToolSpec], text: str, stop: Any, why: str) -> None:
    found = reading(text, known, stop)
    assert (found.call, found.how) == (None, "failed")
    assert why in str(found.why)


def test_a_whole_call_counts_even_if_it_was_the_last_that_fitted(known: dict[str, ToolSpec]) -> None:
    assert reading(f"{OPEN}\n{READ}\n{CLOSE}", known, "length").how == "ok"


def test_prose_is_text(known: dict[str, ToolSpec]) -> None:
    assert reading("The set {1, 2} is fine.", known) == Found("The set {1, 2} is fine.", None, "text")


def test_without_tools_everything_is_text() -> None:
    assert reading(f"{OPEN}{READ}{CLOSE}", {}).how == "text"
    assert reading("half an ans", {}, "length").why == "the answer is not whole: max_tokens was reached"


PIECES = st.sampled_from(
    [OPEN, CLOSE, READ, "{", "}", "[", '"', "'", '"name"', ":", '"read"', ",", "\\", "\n", "1e999"]
)
NOISE = st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=12).map("".join)


@given(text=NOISE, stop=st.sampled_from(["end", "length", "interrupted"]))
def test_reading_never_raises_and_says_why(known: dict[str, ToolSpec], text: str, stop: Any) -> None:
    found = reading(text, known, stop)
    assert (found.call is not None) == (found.how in ("ok", "repaired"))
    assert (found.why is not None) == (found.how in ("repaired", "failed"))
    if found.call is not None:
        assert found.call.tool in known
        json.dumps(found.call.arguments, allow_nan=False, ensure_ascii=False).encode()
    if found.span is not None:
        assert 0 <= found.span[0] < found.span[1] <= len(text)
