"""Which tools a correction is about."""

from typing import Any

import pytest

from continualcode.core.data import Call, Message, SamplingParams, ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.schema import flat_schema
from continualcode.core.testing import ScriptedPolicy
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.in_question import (
    asked_for,
    grammar_of,
    keeping,
    tools_in_question,
    value_of,
)


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
        ("Scripts begin with #!/usr/bin/env bash.", ["write"]),
        ("Tests are run with `make read`.", ["write"]),
        ("Say `bash build.sh` or `x`; then read it.", ["write", "read", "bash"]),
    ],
)
def test_the_rejected_tool_and_those_that_the_words_name(words: str, about: list[str]) -> None:
    assert named(words) == about


@pytest.mark.parametrize(
    ("words", "about"),
    [
        ("No plain mv. Rename files with `git mv`.", ["bash"]),
        ("Run `diff` on them.", ["bash"]),
        ("First `cp FILE FILE.bak`, then the rest.", ["bash"]),
        ("Don't use `sed` for that.", []),
        ("It ends with `return x`.", []),  # no command
        ("The README says `pip install`.", []),  # nobody is to run it
    ],
)
def test_who_says_which_command_to_run_asks_for_the_tool_that_runs_it(words: str, about: list[str]) -> None:
    bash = ToolSpec(name="bash", description="", parameters=flat_schema({"command": ("string", "It.")}))
    edited = turn(Call(tool="edit", arguments={}))._replace(tools=(*tools()[:3], bash))
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words)
    assert [tool.name for tool in asked_for(edited, correction)] == about


def test_the_tool_of_a_solution_is_in_question_too() -> None:
    assert named("Like this.", solution=Call(tool="bash", arguments={})) == ["write", "bash"]


@pytest.mark.parametrize(
    ("words", "tools"),
    [
        ("No.", []),
        ("No, use edit_lines.", ["edit_lines"]),
        ("Just edit it. Nothing has to be read or run with bash.", ["edit"]),
        ("Use write, not edit.", []),
        ("Use bash with `cat`; don't read it.", ["bash"]),
        ("Use edit instead of bash.", []),
        ("vendor/ is not ours: never touch it. Read why in its README.", ["read"]),
        ("Don't use bash", []),
        ("Don't write csv files, use bash with head; code is fine to write.", ["bash"]),
        ("Never write without a plan. Then write.", []),
    ],
)
def test_the_tools_that_the_words_ask_for(words: str, tools: list[str]) -> None:
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words)
    assert [t.name for t in asked_for(turn(Call(tool="write", arguments={})), correction)] == tools


def test_a_solution_asks_for_its_own_tool() -> None:
    like = Call(tool="bash", arguments={})
    correction = CorrectionGiven(sample="s", call_id="c", kind="edit", feedback="Read it.", solution=like)
    assert [t.name for t in asked_for(turn(Call(tool="write", arguments={})), correction)] == ["bash"]
    assert asked_for(turn(like), correction) == ()


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


# -- What stays as it was said -------------------------------------------------------------------------


def held(words: str, path: str = "a.py", **more: Any) -> dict[str, Any]:
    """By tool, what its argument `path` may be where a write to `path` was rejected after "Fix a.py."."""
    call = Call(tool="write", arguments={"path": path})
    asked = turn(call)._replace(messages=(Message(role="user", text="Fix a.py."),))
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words, **more)
    kept = keeping(tools_in_question(asked, correction), asked, correction)
    return {tool.name: tool.parameters["properties"]["path"].get("const") for tool in kept}


def test_another_tool_is_shown_on_the_file_that_the_user_spoke_of() -> None:
    assert held("Use edit_lines.") == {"write": None, "edit_lines": "a.py"}


@pytest.mark.parametrize("words", ["Use edit_lines on b.py.", "Use read in src/ first."])
def test_where_the_correction_speaks_of_a_file_nothing_is_held(words: str) -> None:
    assert set(held(words).values()) == {None}


def test_what_nobody_has_said_is_not_held() -> None:
    assert held("Use edit_lines.", path="b.py") == {"write": None, "edit_lines": None}
    assert held("Use edit_lines.", path="") == {"write": None, "edit_lines": None}


def test_a_solution_says_for_itself_what_it_is_about() -> None:
    assert held("Use edit_lines.", solution=Call(tool="edit_lines", arguments={}))["edit_lines"] is None


# -- What a call says ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ls", 'echo "a" >> b', "echo \\", "printf 'ü\n'"])
def test_an_argument_is_read_from_a_completion_as_it_was_meant(command: str) -> None:
    policy = ScriptedPolicy()
    ids = policy.format_call(Call(tool="bash", arguments={"path": command, "timeout": 3})).encode()
    assert value_of(ids, "path", turn(None), policy) == command


@pytest.mark.parametrize("cut", ['", "timeout', "b"])
def test_one_that_is_not_whole_or_another_is_none(cut: str) -> None:
    policy = ScriptedPolicy()
    text = policy.format_call(Call(tool="bash", arguments={"path": 'a "b" c', "timeout": 3}))
    assert value_of(text[: text.index(cut)].encode(), "path", turn(None), policy) is None
    assert value_of(text.encode(), "command", turn(None), policy) is None
    assert value_of(text.replace("c", "\\q").encode(), "path", turn(None), policy) is None, "no such escape"
