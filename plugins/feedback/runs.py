"""Test runs as they are seen from outside: which command ran which tests, and how that ended.

Both must be clear, or there is no run: a command that is known to run tests, and an output in which the
runner itself says how many passed and failed. The exit code is not asked, as a pipe hides it and a later
command of the line changes it. pytest, unittest, jest, vitest, mocha, `node --test`, cargo test, go test.
"""

import re
import shlex
from collections.abc import Callable
from typing import NamedTuple


class Run(NamedTuple):
    """One test run: the runner, what it was told to run, and what came of it.

    `asked` is what the outcome depends on: files, names, filters, the folder; not how much is printed.
    `failed` holds the failing tests by the names that the runner prints; it may print fewer than failed, or
    none. `broken`: something failed, whether or not it has a name.
    """

    runner: str
    asked: frozenset[str]
    passed: int
    failed: frozenset[str]
    broken: bool


class _Told(NamedTuple):
    """What an output says: how many passed, which failed, and whether any did."""

    passed: int
    failed: frozenset[str]
    broken: bool


def read_run(command: str, output: str) -> Run | None:
    """The test run that `command` was, if it was one and `output` says how it ended.

    >>> told = "FAILED test_a.py::test_b - x\\n1 failed, 3 passed in 0.1s"
    >>> run = read_run("pytest -q tests 2>&1 | tail", told)
    >>> run.runner, set(run.asked), run.passed, set(run.failed)
    ('pytest', {'tests'}, 3, {'test_a.py::test_b'})
    """
    folders: list[str] = []
    for segment in re.split(r"&&|\|\||[;|\n&]", _REDIRECTION.sub(" ", command)):
        words = _words(segment)
        if words[:1] == ["cd"]:
            folders.append(segment.strip())
        elif (found := _runner(words)) is not None:
            starts, arguments = found
            asked = frozenset([*folders, *(a for a in arguments if not _HOW.fullmatch(a))])
            for runner, read in _READERS[starts]:
                if (told := read(output)) is not None:
                    return Run(runner, asked, told.passed, told.failed, told.broken)
    return None


def names_of(failing: str) -> frozenset[str]:
    """What people call a failing test: its function or title, its file, its class or module.

    >>> sorted(names_of("tests/test_calc.py::TestAdd::test_two[1-2]"))
    ['TestAdd', 'test_calc', 'test_calc.py', 'test_two']
    """
    parts = [part.strip() for part in re.split(r"::| [›>] ", re.sub(r"\[.*\]$", "", failing))]
    if len(parts) == 1 and re.fullmatch(r"[\w.]+", failing) and not _FILE.fullmatch(failing):
        parts = failing.split(".")  # unittest: module.Class.function
    files = [part.rsplit("/", 1)[-1] for part in parts if _FILE.fullmatch(part)]
    stems = [name.split(".")[0] for name in files]
    names = [*(part for part in parts if not _FILE.fullmatch(part)), *files, *stems]
    return frozenset(name for name in names if len(name) > 3)


def function_of(failing: str) -> str:
    """The one test meant: the last of its parts, or its file where that is all that is known.

    >>> function_of("tests/test_calc.py::test_two[1-2]"), function_of("test_calc.TestAdd.test_two")
    ('test_two', 'test_two')
    """
    last = re.split(r"::| [›>] ", re.sub(r"\[.*\]$", "", failing))[-1].strip()
    return last.rsplit(".", 1)[-1] if re.fullmatch(r"[\w.]+", last) and not _FILE.fullmatch(last) else last


def is_test_file(path: str) -> bool:
    """Whether a file holds tests, by the names that the runners look for.

    >>> [is_test_file(p) for p in ("test_a.py", "src/a.py", "tests/helpers.py", "a_test.go", "a.spec.ts")]
    [True, False, True, True, True]
    """
    *folders, name = path.split("/")
    return bool({"test", "tests", "__tests__", "spec"}.intersection(folders)) or bool(
        re.fullmatch(r"test_.*|tests?\.\w+|conftest\.py|.*_test\.\w+|.*\.(test|spec)\.\w+", name)
    )


# -- The command --------------------------------------------------------------------------------------

_REDIRECTION = re.compile(r"(?:\d|&)?>>?(?:&\d|\s*[^\s|;&]+)")
_HOW = re.compile(
    r"-[qvsxl]+|-r\w+|--(?:tb|color)=.*|--(?:verbose|quiet|silent|no-header|bail|exitfirst|nocapture)|--"
)
"""Arguments that change what is printed, or where it stops, but not what is run."""

_FILE = re.compile(r"\S*\.(?:py|[cm]?[jt]sx?|go|rs)")

_BEFORE = frozenset("env time timeout nice exec uv poetry pipenv hatch npx pnpx bunx run -m -u -B".split())
"""Words that may stand before the runner: what starts it. With them, any Python, assignments and numbers."""


def _words(segment: str) -> list[str]:
    try:
        return shlex.split(segment)
    except ValueError:  # an open quote: the split at | or ; cut one in two
        return segment.split()


def _runner(words: list[str]) -> tuple[str, list[str]] | None:
    """The runner that a simple command starts, and its arguments."""
    for place, word in enumerate(words):
        name, rest = word.rsplit("/", 1)[-1], words[place + 1 :]
        match name, rest:
            case "pytest" | "py.test", _:
                return "pytest", rest
            case "unittest", _:
                return "unittest", rest
            case "jest" | "vitest" | "mocha", _:
                return "javascript", [r for r in rest if r != "run"]
            case "node", ["--test", *more]:
                return "javascript", more
            case "npm" | "yarn" | "pnpm" | "bun", ["test" | "t", *more] | ["run", "test", *more]:
                return "javascript", more
            case "cargo", ["test" | "t", *more] | ["nextest", "run", *more]:
                return "cargo", more
            case "go", ["test", *more]:
                return "go", more
            case _:
                pass
        if re.fullmatch(r"python3?(\.\d+)?", name) and rest and rest[0].endswith(".py"):
            return "script", rest
        if not (name in _BEFORE or re.match(r"python3?(\.\d+)?$|\w+=|\d+[smh]?$", name)):
            return None
    return None


# -- The output ---------------------------------------------------------------------------------------


def _count(word: str, text: str) -> int:
    found = re.search(rf"\b(\d+) {word}\b", text)
    return int(found[1]) if found else 0


def _pytest(output: str) -> _Told | None:
    lines = re.findall(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+) in [\d.]+s.*$", output, re.MULTILINE)
    if not lines:
        return None
    passed, bad = _count("passed", lines[-1]), _count("failed", lines[-1]) + _count("errors?", lines[-1])
    if not passed and not bad:
        return None
    names = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return _Told(passed, frozenset(names), bad > 0)


def _unittest(output: str) -> _Told | None:
    ran = re.findall(r"^Ran (\d+) tests? in ", output, re.MULTILINE)
    ended = re.findall(r"^(OK|FAILED)(?: \((.*)\))?$", output, re.MULTILINE)
    if not ran or not ended:
        return None
    verdict, details = ended[-1]
    bad = sum(int(n) for n in re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", details))
    skipped = sum(int(n) for n in re.findall(r"(?:skipped|expected failures)=(\d+)", details))
    passed = int(ran[-1]) - bad - skipped
    names = re.findall(r"^(?:FAIL|ERROR): \S+ \((\S+?)\)", output, re.MULTILINE)
    return _Told(passed, frozenset(names), verdict == "FAILED") if passed or bad else None


def _jest(output: str) -> _Told | None:
    lines = re.findall(r"^\s*Tests:?\s+(.*(?:\btotal|\(\d+\)).*)$", output, re.MULTILINE)
    if not lines:
        return None
    names = re.findall(r"^\s*(?:●|FAIL) +(.+?)\s*$", output, re.MULTILINE)
    passed, bad = _count("passed", lines[-1]), _count("failed", lines[-1])
    return _Told(passed, frozenset(names), bad > 0) if passed or bad else None


def _mocha(output: str) -> _Told | None:
    if not re.search(r"^\s*\d+ passing\b", output, re.MULTILINE):
        return None
    bad = _count("failing", output)
    return _Told(_count("passing", output), frozenset(), bad > 0)


def _node(output: str) -> _Told | None:
    passed = re.findall(r"^\S+ pass (\d+)$", output, re.MULTILINE)
    bad = re.findall(r"^\S+ fail (\d+)$", output, re.MULTILINE)
    if not passed or not bad:
        return None
    names = re.findall(r"^\s*(?:not ok \d+ - |✖ )(.+?)(?: \([\d.]+m?s\))?$", output, re.MULTILINE)
    return _Told(int(passed[-1]), frozenset(names), int(bad[-1]) > 0)


def _cargo(output: str) -> _Told | None:
    ends = re.findall(r"^test result: (ok|FAILED)\. (\d+) passed; (\d+) failed", output, re.MULTILINE)
    if not ends:
        return None
    names = re.findall(r"^test (\S+)(?: - .*)? \.\.\. FAILED", output, re.MULTILINE)
    return _Told(sum(int(p) for _, p, _ in ends), frozenset(names), any(v == "FAILED" for v, _, _ in ends))


def _go(output: str) -> _Told | None:
    good = re.findall(r"^ok\s+\S+\s", output, re.MULTILINE)
    bad = re.findall(r"^FAIL\s+\S+", output, re.MULTILINE)
    if not good and not bad:
        return None
    # Without -v go counts packages: as good a count as tests, for what it is compared with.
    passed = re.findall(r"^\s*--- PASS: (\S+)", output, re.MULTILINE)
    names = re.findall(r"^\s*--- FAIL: (\S+)", output, re.MULTILINE)
    return _Told(len(passed) or len(good), frozenset(names), bool(bad))


_Reader = Callable[[str], _Told | None]
_READERS: dict[str, tuple[tuple[str, _Reader], ...]] = {
    "pytest": (("pytest", _pytest),),
    "unittest": (("unittest", _unittest),),
    "script": (("unittest", _unittest), ("pytest", _pytest)),
    "javascript": (("jest", _jest), ("mocha", _mocha), ("node", _node)),
    "cargo": (("cargo", _cargo),),
    "go": (("go", _go),),
}
"""By what the command starts: who may have written the output. A script or `npm test` starts any of them."""
