"""The UI `script`: a session that runs unattended, from a TOML file of prompts and rules.

    [[prompt]]
    text = "Fix the test."                        # or a slash command; in order

    [[rule]]
    name = "edit-not-write"
    correction = "Use edit_lines; don't overwrite the whole file."
    violates = { tool = "write", path_exists = true }
    times = 2                                     # optional: deny at most so often
    # edit = { path = "b.py" }                    # instead of a correction: approve, with these arguments
    # train = false                               # optional: nothing is learned from it

    [operator]
    otherwise = "allow"                           # calls that no rule is about; or "deny", with a reason
    reason = "Not now."

A case set (`cc eval`) is a script too: its training prompts, and its rules; see `case_script`.

The decisions are recorded as `script:RULE`, so the log says honestly who made them; a correction counts
as the user's own. What happens is printed as it is by the UI `plain`.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.data import Data
from continualcode.core.errors import ConfigError
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.operator import OperatorRule, parse_rule
from continualcode.core.protocols import UI
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session
from continualcode.plugins.uis.case_script import CaseUI
from continualcode.plugins.uis.screen import Screen


class Prompt(Data, frozen=True):
    """One thing to type."""

    text: str


class Operator(Data, frozen=True):
    """What becomes of calls that no rule is about. A denial by it teaches nothing."""

    otherwise: Literal["allow", "deny"] = "allow"
    reason: str = "Not now."


class Script(Data, frozen=True):
    """The file as read."""

    prompt: tuple[Prompt, ...]
    rule: tuple[dict[str, Any], ...] = ()
    operator: Operator = Operator()


class ScriptOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[ui]` with name = "script"."""

    file: str


class ScriptUI(Screen):
    """Types the prompts in order, and answers by the rules, first match first."""

    def __init__(self, script: Script, rules: tuple[OperatorRule, ...]) -> None:
        super().__init__()
        self._prompts = list(script.prompt)
        self._rules = rules
        self._operator = script.operator
        self._denied: Counter[str] = Counter()

    def next_input(self, session: Session) -> str | None:
        """The next prompt; None after the last."""
        if not self._prompts:
            return None
        text = self._prompts.pop(0).text
        self.say(f"\n> {text}")
        return text

    def review(self, question: Question, session: Session) -> Answer:
        """The first rule that the call violates decides, or else the operator."""
        for rule in self._rules:
            spent = rule.times is not None and self._denied[rule.name] >= rule.times
            if spent or not rule.violates.holds(question.call, session.workspace):
                continue
            self._denied[rule.name] += 1
            by = f"script:{rule.name}"
            if rule.edit is not None:
                edited = {**question.call.arguments, **rule.edit}
                return Answer(
                    verdict="allow",
                    arguments=edited,
                    reason=rule.correction or None,
                    train=rule.train,
                    by=by,
                )
            return Answer(verdict="deny", reason=rule.correction, train=rule.train, by=by)
        if self._operator.otherwise == "deny":
            return Answer(verdict="deny", reason=self._operator.reason, train=False, by="script:otherwise")
        return Answer(verdict="allow", by="script:otherwise")


def load(file: Path) -> UI:
    """The UI that a script file describes. ConfigError names the file, the table and the key."""
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from None
    if "prompt" not in given and any("train" in table for table in given.get("rule", ())):
        return CaseUI(load_cases(file))
    script = checked(Script, given, str(file))
    rules = tuple(parse_rule(table, f"{file}: rule {number}") for number, table in enumerate(script.rule, 1))
    return ScriptUI(script, rules)


@hookimpl
def make_ui(name: str, options: Mapping[str, Any]) -> Callable[[], UI] | None:
    """Answers to `script`."""
    if name != "script":
        return None
    if "file" not in options:
        raise ConfigError('ui: the UI "script" needs a file: cc run --script FILE')
    return lambda: load(Path(checked(ScriptOptions, options, "ui").file))
