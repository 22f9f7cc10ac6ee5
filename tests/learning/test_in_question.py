"""Which tools a correction is about."""

from typing import Any

import pytest

from continualcode.core.data import Call, SamplingParams, ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.schema import flat_schema
from continualcode.core.testing import ScriptedPolicy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import grammar_of, tools_in_question


def tools() -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(name=name, description=name, parameters=flat_schema({"path": ("string", "It.")}))
        for name in ("write", "edit", "edit_lines", "read", "bash")
    )


def turn(call: Call | None, grammar: str | None = "all") -> SampledTurn:
    return SampledTurn((), (), (), SamplingParams(), grammar, (), tools(), "", "", call)


def named(words: str, call: Call | None = None, **more: Any) -> list[str]:
    call = call or Call(tool="write", arguments={})
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words, **more)
    return [tool.name for tool in tools_in_question(turn(call), correction)]


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ("No.", ["write"]),
        ("Use edit_lines; don't overwrite the whole file.", ["write", "edit_lines"]),
        ("Use `edit_lines`.", ["write", "edit_lines"]),
        ("Use EDIT, not write!", ["write", "edit"]),
        ("The editor is in bin/bash.", ["write"]),
        ("Do not touch read.md or .bash", ["write"]),
        ("Run it (bash).", ["write", "bash"]),
    ],
)
def test_the_rejected_tool_and_those_that_the_words_name(words: str, about: list[str]) -> None:
    assert named(words) == about


def test_the_tool_of_a_solution_is_in_question_too() -> None:
    assert named("Like this.", solution=Call(tool="bash", arguments={})) == ["write", "bash"]


def test_where_no_call_could_be_read_all_tools_are() -> None:
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback="No.")
    assert tools_in_question(turn(None), correction) == tools()


def test_the_grammar_of_fewer_tools_allows_only_them_and_no_plain_text() -> None:
    policy = ScriptedPolicy()
    seen: list[Any] = []
    policy.grammar = lambda offered: seen.append(tuple(offered)) or "narrow"  # type: ignore[method-assign]  # to see what it is asked for
    about = tools()[:2]
    assert grammar_of(about, turn(None), policy) == "narrow"
    assert [tool.name for tool in seen[0]] == ["write", "edit"]
    assert all(tool.ends_turn for tool in seen[0])


def test_of_all_tools_or_without_a_grammar_it_is_the_turns_own() -> None:
    assert grammar_of(tools(), turn(None), ScriptedPolicy()) == "all"
    assert grammar_of(tools()[:1], turn(None, None), ScriptedPolicy()) is None
