"""A case set: prompts on which a mistake can be seen, and what counts as one (`cc eval CASES.toml`).

    [[rule]]
    name = "edit-not-write"
    correction = "Use edit_lines; don't overwrite the whole file."
    violates = { tool = "write", path_exists = true }
    obeys = { tool = "edit_lines" }

    [[rule.train]]                            # what a session is corrected on (`--teach`)
    prompt = "test_calc.py fails. Fix the wrong assertion."
    files = { "test_calc.py" = "…" }
    history = [ { name = "read", arguments = { path = "test_calc.py" } } ]   # calls already made

    [[rule.held_out]]                         # what it is measured on: other files, other words
    …
    [[control]]                               # what must stay as it is
    prompt = "Show me the README."
    files = { "README.md" = "…" }
    expects = { tool = "read" }
    group = "unrelated"

The predicates are those of the scripted operator (`core.operator`), so a rule is also a user who denies.
The results of the calls in `history` are not written down: they come from running the calls.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from continualcode.core.config import options
from continualcode.core.data import Arguments, Data
from continualcode.core.errors import ConfigError, UsageError, nearest
from continualcode.core.operator import OperatorRule, Predicate, check_patterns


class PastCall(Data, frozen=True):
    """A call that was made before the turn in question."""

    name: str
    arguments: Arguments = {}


class Case(Data, frozen=True):
    """A situation: files by relative path, what the user asked, the calls that were made since."""

    prompt: str
    files: dict[str, str] = {}
    history: tuple[PastCall, ...] = ()
    group: str = ""


class Control(Case, frozen=True):
    """A situation in which nothing should change; `expects` says which call is right, where one is."""

    expects: Predicate | None = None


class CaseRule(Data, frozen=True):
    """One thing that users want, where to teach it, and where to look whether it was learned.

    `group` puts rules together in reports. `obeys` None: whatever does not violate.
    """

    name: str
    correction: str
    violates: Predicate
    obeys: Predicate | None = None
    train: tuple[Case, ...] = ()
    held_out: tuple[Case, ...] = ()
    group: str = ""

    def operator(self) -> OperatorRule:
        """The rule as a scripted user's."""
        return OperatorRule(
            name=self.name, correction=self.correction, violates=self.violates, obeys=self.obeys
        )


class Cases(Data, frozen=True):
    """A whole file."""

    rule: tuple[CaseRule, ...] = ()
    control: tuple[Control, ...] = ()

    def each(self) -> Iterator[tuple[str, Case]]:
        """Every case, and where in the file it stands."""
        for rule in self.rule:
            for kind, cases in (("train", rule.train), ("held_out", rule.held_out)):
                for number, case in enumerate(cases, 1):
                    yield f"rule {rule.name!r}: {kind} {number}", case
        for number, control in enumerate(self.control, 1):
            yield f"control {number}", control

    def named(self, names: Iterable[str]) -> tuple[CaseRule, ...]:
        """The rules of these names, in the order given. UsageError names what there is."""
        by_name = {rule.name: rule for rule in self.rule}
        wanted = list(names)
        for name in wanted:
            if name not in by_name:
                raise UsageError(f"there is no rule {name!r} in the case set; {nearest(name, by_name)}")
        return tuple(by_name[name] for name in wanted)


def unknown_tools(cases: Cases, tools: Iterable[str]) -> list[str]:
    """What to say of tools that predicates name and that are not there: a call of them cannot be made."""
    there, said = set(tools), list[str]()
    rules = [(f"rule {rule.name!r}", (rule.violates, rule.obeys)) for rule in cases.rule]
    controls = [(f"control {n}", (control.expects,)) for n, control in enumerate(cases.control, 1)]
    for where, predicates in (*rules, *controls):
        names = {name for predicate in predicates if predicate is not None for name in predicate.names()}
        said += [
            f"{where}: there is no tool {name!r}; {nearest(name, there)}" for name in sorted(names - there)
        ]
    return said


def load_cases(file: Path) -> Cases:
    """The case set in `file`. ConfigError names the file, the table, the key, and what is allowed."""
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    for key in given:
        if key not in ("rule", "control"):
            raise ConfigError(f"{file}: unknown key {key!r}; {nearest(key, ('rule', 'control'))}")
    rules: list[CaseRule] = []
    for number, table in enumerate(_tables(given, "rule", file), 1):
        where = f"{file}: rule {number}"
        for kind in ("train", "held_out"):
            for place, case in enumerate(_tables(table, kind, where), 1):
                options(Case, case, f"{where}: {kind} {place}")  # names the key that is wrong
        rule = options(CaseRule, table, where)
        for name, predicate in (("violates", rule.violates), ("obeys", rule.obeys)):
            if predicate is not None:
                check_patterns(predicate, f"{where}: {name}")
        rules.append(rule)
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{file}: two rules are called {twice[0]!r}; each needs a name of its own")
    controls: list[Control] = []
    for number, table in enumerate(_tables(given, "control", file), 1):
        control = options(Control, table, f"{file}: control {number}")
        if control.expects is not None:
            check_patterns(control.expects, f"{file}: control {number}: expects")
        controls.append(control)
    if not rules and not controls:
        raise ConfigError(f"{file}: no [[rule]] and no [[control]] in it: there is nothing to measure")
    cases = Cases(rule=tuple(rules), control=tuple(controls))
    for where, one in cases.each():
        check_files(one, f"{file}: {where}")
    return cases


def check_files(case: Case, where: str) -> None:
    """ConfigError where a file is no path inside a workspace, or is another's folder."""
    paths = {name: PurePosixPath(name) for name in case.files}
    for name, path in paths.items():
        if not path.parts or ".." in path.parts or path.is_absolute():
            raise ConfigError(f"{where}: the file {name!r} is not a path inside a workspace")
        if above := [other for other, one in paths.items() if one in path.parents]:
            raise ConfigError(f"{where}: {above[0]!r} cannot be a file and the folder of {name!r}")


def _tables(given: Mapping[str, Any], key: str, where: object) -> list[dict[str, Any]]:
    """The array of tables at `key`, empty if there is none; a ConfigError if it is something else."""
    try:
        return msgspec.convert(given.get(key, []), list[dict[str, Any]])
    except msgspec.ValidationError:
        raise ConfigError(f"{where}: {key} must be an array of tables: [[{key}]]") from None
