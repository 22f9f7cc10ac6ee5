"""When a test run corrects a change, and when it is only information: with real tests, really run."""

import sys
from collections.abc import Callable

from continualcode.core.data import Call
from continualcode.core.events import CorrectionGiven, UpdateApplied
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.feedback.failing_test import BROKE, NOT_MENDED

Play = Callable[..., Session]
Given = Callable[[Session], list[CorrectionGiven]]

ON = {"failing_test": True}
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"
TESTS = """\
import unittest
from calc import add

class Adding(unittest.TestCase):
    def test_zero(self):
        self.assertEqual(add(0, 0), 0)
    def test_two(self):
        self.assertEqual(add(1, 1), 2)
"""
MORE_TESTS = TESTS + "    def test_three(self):\n        self.assertEqual(add(1, 1), 3)\n"
FILES = {"calc.py": RIGHT, "test_calc.py": TESTS}
BROKEN = {**FILES, "calc.py": WRONG}
RUN = Call(tool="bash", arguments={"command": f"{sys.executable} -B -m unittest"})
READ, READ_TESTS = (Call(tool="read", arguments={"path": path}) for path in FILES)
ANSWER = Call(tool="reply", arguments={"text": "Done."})


def write(path: str, content: str) -> Call:
    return Call(tool="write", arguments={"path": path, "content": content})


BREAK, MEND, NO_GOOD = (
    write("calc.py", WRONG),
    write("calc.py", RIGHT),
    write("calc.py", f"# Mended.\n{WRONG}"),
)
NAMED = "test_calc.py fails. Mend calc.py."


def test_a_change_that_breaks_a_test_is_corrected_with_what_failed(play: Play, given: Given) -> None:
    session = play([READ, RUN, BREAK, RUN, ANSWER], files=FILES, feedback=ON)
    (correction,) = given(session)
    assert session.transcript.call(correction.call_id).call == BREAK
    assert session.transcript.sampled(correction.sample).call == BREAK
    assert (correction.kind, correction.by) == ("failing_test", "plugin:failing_test")
    assert correction.feedback == BROKE
    assert "AssertionError: 0 != 2" in correction.environment
    slots = session.transcript.slots(correction)
    assert (slots.feedback, slots.environment) == (BROKE, correction.environment)


def test_it_is_learned_like_any_other(play: Play) -> None:
    session = play([READ, RUN, BREAK, RUN, ANSWER], files=FILES, feedback=ON)
    assert [type(o) for o in session.transcript.outcomes.values()] == [UpdateApplied]


def test_it_is_off_unless_it_is_turned_on(play: Play, given: Given) -> None:
    assert given(play([READ, RUN, BREAK, RUN, ANSWER], files=FILES)) == []


def test_a_fault_that_is_reproduced_is_no_mistake(play: Play, given: Given) -> None:
    session = play([READ, RUN, MEND, RUN, ANSWER], files=BROKEN, feedback=ON, inputs=[NAMED])
    assert given(session) == []


def test_nor_is_a_test_written_first(play: Play, given: Given) -> None:
    turns = [READ_TESTS, RUN, write("test_calc.py", MORE_TESTS), RUN, ANSWER]
    assert (
        given(play(turns, files=FILES, feedback=ON, inputs=["Write a failing test in test_calc.py."])) == []
    )


def test_nor_is_a_new_test_that_fails_beside_a_change_that_broke_nothing(play: Play, given: Given) -> None:
    turns = [
        READ,
        READ_TESTS,
        RUN,
        write("calc.py", f"# Adds.\n{RIGHT}"),
        write("test_calc.py", MORE_TESTS),
        RUN,
    ]
    assert given(play([*turns, ANSWER], files=FILES, feedback=ON)) == []


def test_without_a_run_that_passed_nobody_knows_what_broke_it(play: Play, given: Given) -> None:
    assert given(play([READ, BREAK, RUN, ANSWER], files=FILES, feedback=ON)) == []


def test_a_change_that_does_not_mend_the_named_test_is_corrected_when_the_turn_ends(
    play: Play, given: Given
) -> None:
    session = play([READ, RUN, NO_GOOD, RUN, ANSWER], files=BROKEN, feedback=ON, inputs=[NAMED])
    (correction,) = given(session)
    assert session.transcript.call(correction.call_id).call == NO_GOOD
    assert correction.feedback == NOT_MENDED
    assert "AssertionError: 0 != 2" in correction.environment


def test_or_when_the_tests_are_run_after_that(play: Play, given: Given) -> None:
    turns = [READ, RUN, NO_GOOD, ANSWER, RUN, ANSWER]
    session = play(turns, files=BROKEN, feedback=ON, inputs=[NAMED, "Run the tests."])
    assert [session.transcript.call(c.call_id).call for c in given(session)] == [NO_GOOD]


def test_an_answer_in_plain_text_ends_the_turn_as_well(play: Play, given: Given) -> None:
    turns = [READ, RUN, NO_GOOD, "All done.", RUN, ANSWER]
    session = play(turns, files=BROKEN, feedback=ON, inputs=[NAMED, "Run the tests."])
    assert [session.transcript.call(c.call_id).call for c in given(session)] == [NO_GOOD]


def test_before_the_turn_ends_the_model_may_still_mend_it(play: Play, given: Given) -> None:
    turns = [READ, RUN, NO_GOOD, RUN, MEND, RUN, ANSWER]
    assert given(play(turns, files=BROKEN, feedback=ON, inputs=[NAMED])) == []


def test_a_test_that_nobody_asked_about_may_go_on_failing(play: Play, given: Given) -> None:
    turns = [READ, RUN, NO_GOOD, RUN, ANSWER]
    assert given(play(turns, files=BROKEN, feedback=ON, inputs=["Add a comment to calc.py."])) == []


def test_a_change_is_corrected_once(play: Play, given: Given) -> None:
    session = play(
        [READ, RUN, BREAK, RUN, RUN, ANSWER, RUN], files=FILES, feedback=ON, inputs=[NAMED, "Run."]
    )
    assert len(given(session)) == 1


def test_what_the_user_typed_is_not_the_models_mistake(play: Play, given: Given) -> None:
    edited = Answer(verdict="allow", arguments=BREAK.arguments)
    answers = [Answer(verdict="allow"), Answer(verdict="allow"), edited]
    turns = [READ, RUN, write("calc.py", f"# Adds.\n{RIGHT}"), RUN, ANSWER]
    found = given(play(turns, files=FILES, feedback=ON, answers=answers))
    assert [c.kind for c in found] == ["edit"]


def test_a_change_that_is_not_to_be_learned_from_is_left_alone(play: Play, given: Given) -> None:
    answers = [Answer(verdict="allow"), Answer(verdict="allow"), Answer(verdict="allow", train=False)]
    assert given(play([READ, RUN, BREAK, RUN, ANSWER], files=FILES, feedback=ON, answers=answers)) == []


def test_a_file_that_the_user_changed_in_between_makes_it_nobodys_mistake(play: Play, given: Given) -> None:
    class Meddler(ScriptedUI):
        """Changes a file by hand while it is asked whether the tests may be run again."""

        def review(self, question: Question, session: Session) -> Answer:
            answer = super().review(question, session)
            if len(self.questions) == 4:
                (session.workspace.root / "other.py").write_text("x = 1\n")
            return answer

    turns = [READ, RUN, BREAK, RUN, ANSWER]
    assert len(given(play(turns, files=FILES, feedback=ON, snapshots=True, ui=Meddler(["Go."])))) == 0


def test_with_snapshots_and_nobody_else_it_is(play: Play, given: Given) -> None:
    turns = [READ, RUN, BREAK, RUN, ANSWER]
    assert len(given(play(turns, files=FILES, feedback=ON, snapshots=True))) == 1


def test_a_command_that_changes_files_in_between_leaves_it_open_too(play: Play, given: Given) -> None:
    sed = Call(tool="bash", arguments={"command": "sed -i s/+/-/ calc.py"})
    turns = [READ, RUN, write("calc.py", f"# Adds.\n{RIGHT}"), sed, RUN, ANSWER]
    assert given(play(turns, files=FILES, feedback=ON, snapshots=True)) == []


def test_a_change_that_was_undone_is_not_corrected(play: Play, given: Given) -> None:
    turns = [READ, RUN, ANSWER, BREAK, ANSWER, RUN, ANSWER]
    inputs = ["Run the tests.", "Change it.", "/undo", "Run them again."]
    session = play(turns, files=FILES, feedback=ON, inputs=inputs)  # no snapshots: the file stays broken
    assert (session.workspace.root / "calc.py").read_text() == WRONG
    assert given(session) == []


def test_the_change_of_the_file_that_the_output_names_is_meant(play: Play, given: Given) -> None:
    crash = write("calc.py", "def add(a, b):\n    return a.plus(b)\n")
    session = play(
        [READ, RUN, crash, write("notes.py", "# Nothing.\n"), RUN, ANSWER], files=FILES, feedback=ON
    )
    assert [session.transcript.call(c.call_id).call for c in given(session)] == [crash]
