"""What a linter newly finds in a file that the model changed, with linters that are really run."""

import doctest
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given as with_any
from hypothesis import settings
from hypothesis import strategies as st

from continualcode import hookimpl
from continualcode.core.data import Call, ToolResult
from continualcode.core.events import CorrectionGiven, RuleAdded, UpdateApplied
from continualcode.core.review import Answer, Ruling
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.feedback import linter
from continualcode.plugins.feedback.linter import added, findings

Play = Callable[..., Session]
Given = Callable[[Session], list[CorrectionGiven]]

TODO = {"linter": {"commands": {".py": "grep -nH TODO {path} || true"}}}
RUFF = Path(sys.executable).with_name("ruff")
READ = Call(tool="read", arguments={"path": "a.py"})
YES, NO = Answer(verdict="allow"), Answer(verdict="deny")


def write(content: str, path: str = "a.py") -> Call:
    return Call(tool="write", arguments={"path": path, "content": content})


def test_what_was_not_found_before_corrects_the_change(play: Play, given: Given) -> None:
    change = write("# TODO old\nx = 2\n# TODO new\n")
    session = play([READ, change], files={"a.py": "x = 1\n# TODO old\n"}, feedback=TODO)
    (correction,) = given(session)
    assert session.transcript.sampled(correction.sample).call == change
    assert (correction.kind, correction.by) == ("linter", "plugin:linter")
    assert correction.environment == "a.py:3: # TODO new"
    assert "The linter (grep) finds this in a.py after the change" in correction.feedback
    assert session.transcript.slots(correction).environment == correction.environment


def test_it_is_learned_like_any_other(play: Play) -> None:
    session = play([write("# TODO\n")], feedback=TODO)
    assert [type(o) for o in session.transcript.outcomes.values()] == [UpdateApplied]


def test_what_moved_is_not_new(play: Play, given: Given) -> None:
    change = write("x = 0\nx = 1\n# TODO\n")
    assert given(play([READ, change], files={"a.py": "# TODO\n"}, feedback=TODO)) == []


def test_it_is_off_unless_it_is_turned_on(play: Play, given: Given) -> None:
    ui = ScriptedUI(["Go."])
    assert given(play([write("# TODO\n")], ui=ui)) == []
    assert len(ui.questions) == 1, "about the write alone"


@pytest.mark.skipif(not RUFF.exists(), reason="ruff is not installed beside this Python")
def test_with_ruff(play: Play, given: Given) -> None:
    options = {"linter": {"commands": {".py": linter.RUFF.replace("ruff", str(RUFF), 1)}}}
    change = write("import os\nimport sys\n\nprint(os)\n")
    session = play([READ, change], files={"a.py": "import os\n"}, feedback=options)
    (correction,) = given(session)
    assert correction.environment.startswith("a.py:2:8: F401")
    assert list(session.workspace.root.iterdir()) == [session.workspace.root / "a.py"], "no cache is left"


def test_other_files_are_left_alone(play: Play, given: Given) -> None:
    ui = ScriptedUI(["Go."])
    assert given(play([write("# TODO\n", "a.txt")], ui=ui, feedback=TODO)) == []
    assert len(ui.questions) == 1


def test_a_path_that_a_shell_would_read_is_only_a_path(play: Play, given: Given) -> None:
    names = ["a b.py", "$(touch oops).py", "-rf.py", "it's.py", "sub/; touch oops;.py"]
    session = play([write("# TODO\n", name) for name in names], feedback=TODO)
    assert [c.environment for c in given(session)] == [f"{name}:1: # TODO" for name in names]
    assert not (session.workspace.root / "oops").exists()


# -- What may run ------------------------------------------------------------------------------------


def commands(ui: ScriptedUI) -> list[str]:
    """The commands that the person was asked about."""
    return [q.call.arguments["command"] for q in ui.questions if q.call.tool == "bash"]


def test_the_command_is_asked_about_once_and_then_allowed_by_a_rule(play: Play, given: Given) -> None:
    ui = ScriptedUI(["Go."])
    session = play([write("# TODO\n"), write("# TODO\n", "b.py")], ui=ui, feedback=TODO)
    assert commands(ui) == [TODO["linter"]["commands"][".py"]]
    assert [e.rule.tool for e in ui.events if isinstance(e, RuleAdded)] == ["bash"]
    assert len(given(session)) == 2


def test_the_rule_does_not_let_the_model_run_the_command_on_anything(play: Play) -> None:
    command = TODO["linter"]["commands"][".py"].replace("{path}", "secret")
    ui = ScriptedUI(["Go."])
    play([write("x = 1\n"), Call(tool="bash", arguments={"command": command})], ui=ui, feedback=TODO)
    assert commands(ui)[-1] == command


@pytest.mark.parametrize("answer", [NO, Answer(verdict="allow", arguments={"command": "true"})])
def test_where_the_user_says_no_or_something_else_nothing_runs(
    play: Play, given: Given, answer: Answer
) -> None:
    options = {"linter": {"commands": {".py": "touch ran; grep -nH TODO {path}"}}}
    ui = ScriptedUI(["Go."], [YES, answer])
    session = play([write("# TODO\n"), write("# TODO\n", "b.py")], ui=ui, feedback=options)
    assert given(session) == []
    assert not (session.workspace.root / "ran").exists()
    assert len(commands(ui)) == 1, "asked once"
    assert [m for m in ui.messages if "will not run" in m] != []


def test_a_plugin_that_forbids_the_command_forbids_it_here(play: Play, given: Given) -> None:
    class Guard:
        @hookimpl
        def review_tool_call(self, call: Call) -> Ruling | None:
            return Ruling(verdict="deny", reason="no shell") if call.tool == "bash" else None

    ui = ScriptedUI(["Go."])
    session = play([write("# TODO\n")], ui=ui, feedback=TODO, plugins={"guard": Guard()})
    assert (given(session), commands(ui)) == ([], [])


def test_it_runs_where_the_commands_of_the_model_run(play: Play, given: Given) -> None:
    class Elsewhere:
        @hookimpl
        def run_tool(self, call: Call) -> ToolResult | None:
            if call.tool != "bash":
                return None
            path = call.arguments["command"].split()[-3].removeprefix("./")
            return ToolResult(output=f"{path}:7: found elsewhere" if self.second() else "(nothing)")

        def __init__(self) -> None:
            self.runs = 0

        def second(self) -> bool:
            self.runs += 1
            return self.runs == 2

    change = write("x = 2\n")
    session = play([READ, change], files={"a.py": "x = 1\n"}, feedback=TODO, plugins={"box": Elsewhere()})
    assert [c.environment for c in given(session)] == ["a.py:7: found elsewhere"]


# -- When it does not work ---------------------------------------------------------------------------


def test_a_linter_that_is_missing_is_said_once(play: Play, given: Given) -> None:
    options = {"linter": {"commands": {".py": "no-such-linter {path}"}}}
    ui = ScriptedUI(["Go."])
    assert given(play([write("x\n"), write("y\n", "b.py")], ui=ui, feedback=options)) == []
    (said,) = [m for m in ui.messages if "does not work here" in m]
    assert "no-such-linter {path}" in said and "there is no such command" in said


def test_one_that_takes_too_long_is_stopped(play: Play, given: Given) -> None:
    options = {"linter": {"commands": {".py": "sleep 60; echo {path}"}, "seconds": 1}}
    ui = ScriptedUI(["Go."])
    assert given(play([write("x\n")], ui=ui, feedback=options)) == []
    assert any("not done after 1 s" in m for m in ui.messages)


def test_where_it_did_not_work_before_nothing_is_new_after(play: Play, given: Given) -> None:
    options = {
        "linter": {"commands": {".py": "grep -q broken {path} && exit 2; grep -nH TODO {path} || true"}}
    }
    change = write("# TODO\n")
    assert given(play([READ, change], files={"a.py": "broken\n"}, feedback=options)) == []


def test_a_failed_change_a_skipped_one_and_an_edited_one_are_left_alone(play: Play, given: Given) -> None:
    unread = write("# TODO\n", "unread.py")
    skip = Answer(verdict="allow", train=False)
    typed = Answer(verdict="allow", arguments={"path": "c.py", "content": "# TODO\n"})
    session = play(
        [unread, write("# TODO\n"), write("x = 1\n", "c.py")],
        files={"unread.py": "x = 1\n"},
        answers=[YES, YES, skip, typed],
        feedback=TODO,
    )
    assert [c.kind for c in given(session)] == ["edit"]


# -- Findings ----------------------------------------------------------------------------------------

texts = st.sampled_from(["E501 too long", "F401 unused", "F841 never used"])
lists = st.lists(texts, max_size=6)


def listed(abouts: list[str], start: int = 1) -> str:
    return "\n".join(f"./a.py:{line}:2: {about}" for line, about in enumerate(abouts, start))


@settings(deadline=None)
@with_any(lists, st.integers(1, 99))
def test_the_same_findings_in_other_lines_are_none(abouts: list[str], start: int) -> None:
    before = Counter(f.about for f in findings(listed(abouts), "a.py"))
    assert added(before, findings(listed(abouts, start), "a.py")) == []


@settings(deadline=None)
@with_any(lists, lists)
def test_as_many_are_new_as_there_are_more(before: list[str], after: list[str]) -> None:
    known = Counter(f.about for f in findings(listed(before), "a.py"))
    assert len(added(known, findings(listed(after), "a.py"))) == (Counter(after) - Counter(before)).total()


@pytest.mark.parametrize(
    "line", ["Found 2 errors.", "All checks passed!", "b.py:1: x", "a.py: cannot open", ""]
)
def test_what_is_not_about_a_line_of_the_file_is_no_finding(line: str) -> None:
    assert findings(line, "a.py") == []


def test_the_examples() -> None:
    assert doctest.testmod(linter).failed == 0
