"""Reading test runs: the outputs are the runners' own, shortened where they say nothing about the outcome."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.plugins.feedback import runs
from continualcode.plugins.feedback.runs import Run, is_test_file, read_run

GO = """\
--- FAIL: TestAdd (0.00s)
    calc_test.go:7: got 4, want 5
FAIL
FAIL	example.com/calc	0.002s
ok  	example.com/other	0.001s
FAIL
"""
CARGO = """\
running 2 tests
test tests::adds ... FAILED
test tests::subtracts ... ok

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
"""
JEST = """\
FAIL ./calc.test.js
  ● calc › adds

Tests:       1 failed, 2 passed, 3 total
Time:        0.5 s
"""
VITEST = """\
 FAIL  calc.test.ts > calc > adds
 Test Files  1 failed (1)
      Tests  1 failed | 2 passed (3)
"""
MOCHA = """\
  2 passing (4ms)
  1 failing
"""
NODE = """\
✔ subtracts (0.4ms)
✖ adds (0.7ms)
ℹ tests 2
ℹ pass 1
ℹ fail 1
"""


@pytest.mark.parametrize(
    ("command", "output", "passed", "failed"),
    [
        ("go test ./...", GO, 1, {"TestAdd"}),
        ("cargo test", CARGO, 1, {"tests::adds"}),
        ("npm test", JEST, 2, {"./calc.test.js", "calc › adds"}),
        ("npx vitest run", VITEST, 2, {"calc.test.ts > calc > adds"}),
        ("yarn test", MOCHA, 2, set[str]()),
        ("node --test", NODE, 1, {"adds"}),
    ],
)
def test_what_a_runner_says(command: str, output: str, passed: int, failed: set[str]) -> None:
    run = read_run(command, output)
    assert run is not None
    assert (run.passed, run.failed, run.broken) == (passed, frozenset(failed), True)


PROJECT = """\
import unittest

class Calc(unittest.TestCase):
    def test_right(self):
        self.assertEqual(1, 1)
    def test_wrong(self):
        self.assertEqual(1, {})
"""


@pytest.mark.parametrize("wrong", [True, False], ids=["fails", "passes"])
@pytest.mark.parametrize(
    "arguments", [["-m", "pytest", "-q"], ["-m", "unittest"], ["-m", "pytest"], ["test_calc.py"]]
)
def test_real_runs_of_real_tests(tmp_path: Path, arguments: list[str], wrong: bool) -> None:
    main = "\nif __name__ == '__main__':\n    unittest.main()\n"
    (tmp_path / "test_calc.py").write_text(PROJECT.format(2 if wrong else 1) + main)
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    run = read_run(" ".join(["python", *arguments]), ran.stdout)
    assert run is not None
    assert (run.passed, run.broken) == (1 if wrong else 2, wrong)
    assert {runs.function_of(name) for name in run.failed} == ({"test_wrong"} if wrong else set())


PASSED = "3 passed in 0.01s"


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("pytest", set[str]()),
        ("pytest -q -x tests/a.py", {"tests/a.py"}),
        ("cd sub && pytest 2>&1 | tail -5", {"cd sub"}),
        ("PYTHONPATH=src timeout 60 python3.11 -m pytest -k 'add or sub'", {"-k", "add or sub"}),
        ("uv run pytest --lf > out.txt; cat out.txt", {"--lf"}),
        (".venv/bin/pytest", set[str]()),
    ],
)
def test_what_a_command_runs_is_told_apart_from_how(command: str, asked: set[str]) -> None:
    assert read_run(command, PASSED) == Run("pytest", frozenset(asked), 3, frozenset(), False)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("cat pytest.log", PASSED),
        ("echo pytest", PASSED),
        ("pip install pytest", PASSED),
        ("grep -r pytest .", PASSED),
        ("pytest", "ERROR: usage: pytest [options]"),
        ("pytest", "no tests ran in 0.01s"),
        ("pytest --version", "pytest 9.0"),
        ("npm test", "Error: no test specified"),
        ("go vet ./...", "ok  \ta\t0.1s"),
    ],
)
def test_what_is_no_run_or_does_not_say_how_it_ended(command: str, output: str) -> None:
    assert read_run(command, output) is None


def test_a_run_is_as_its_output_says_whatever_comes_after_it() -> None:
    run = read_run("pytest; false", "2 failed, 1 passed, 1 warning in 3.20s")
    assert run is not None and run.broken and run.passed == 1


@settings(deadline=None)
@given(st.text(), st.text())
def test_any_text_can_be_read(command: str, output: str) -> None:
    for prefix in ("", "pytest ", "cargo test ", "npm test "):
        run = read_run(prefix + command, output)
        assert run is None or run.passed >= 0


@pytest.mark.parametrize("path", ["src/latest.py", "contest.py", "testing.py", "spec.md", "attest/a.py"])
def test_files_that_only_sound_like_tests_are_none(path: str) -> None:
    assert not is_test_file(path)


def test_the_examples() -> None:
    assert doctest.testmod(runs).failed == 0
