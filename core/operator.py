"""A user made of rules: which calls to deny, and with which words.

The same rules drive a scripted session (`plugins/uis/script.py`) and say what counts as a mistake when
learning is measured: `violates` and `obeys` are predicates on one call in its workspace.
"""

import re
from collections.abc import Mapping
from typing import Any

from continualcode.core.config import options
from continualcode.core.data import Arguments, Call, Data
from continualcode.core.errors import ConfigError, UsageError
from continualcode.core.workspace import Workspace


class Predicate(Data, frozen=True):
    """True of a call if everything that is given holds.

    tool: its name is this, or one of these. path_exists: the argument `path` is (not) a file of the
    workspace. arguments: each named argument, as text, matches the regular expression somewhere.
    any_of: at least one of these predicates holds.
    """

    tool: str | tuple[str, ...] | None = None
    path_exists: bool | None = None
    arguments: dict[str, str] = {}
    any_of: tuple["Predicate", ...] = ()

    def holds(self, call: Call, workspace: Workspace) -> bool:
        """Whether it is true of `call`, before it runs."""
        names = (self.tool,) if isinstance(self.tool, str) else self.tool
        if names is not None and call.tool not in names:
            return False
        if self.path_exists is not None and _exists(call.arguments, workspace) != self.path_exists:
            return False
        for name, pattern in self.arguments.items():
            if name not in call.arguments or not re.search(pattern, str(call.arguments[name])):
                return False
        return not self.any_of or any(one.holds(call, workspace) for one in self.any_of)

    def names(self) -> frozenset[str]:
        """Every tool that it names."""
        own = (self.tool,) if isinstance(self.tool, str) else self.tool or ()
        return frozenset(own).union(*(one.names() for one in self.any_of))

    def looks_at(self, tool: str) -> frozenset[str] | None:
        """Which arguments of a call of `tool` decide it, by name; None: no call of `tool` can make it true.

        Empty: the tool alone decides.
        """
        names = (self.tool,) if isinstance(self.tool, str) else self.tool
        if names is not None and tool not in names:
            return None
        own = frozenset(self.arguments)
        if self.path_exists is not None:
            own |= {"path"}
        if not self.any_of:
            return own
        parts = [part for one in self.any_of if (part := one.looks_at(tool)) is not None]
        return own.union(*parts) if parts else None


class OperatorRule(Data, frozen=True):
    """One thing that the user wants: what goes against it, what follows it, and the words of the correction.

    times: how often it denies, None: always. edit: instead of denying, approve with these arguments laid
    over the proposed ones. train: whether what it denies or edits is learned from.
    """

    name: str
    violates: Predicate
    correction: str = ""
    obeys: Predicate | None = None
    times: int | None = None
    edit: Arguments | None = None
    train: bool = True


def parse_rule(table: Mapping[str, Any], where: str) -> OperatorRule:
    """A rule from TOML. ConfigError names `where`, the key and what is allowed."""
    rule = options(OperatorRule, table, where)
    if not rule.correction and rule.edit is None:
        raise ConfigError(
            f"{where}: the rule {rule.name!r} needs a correction (the words of the denial) or an edit"
        )
    for predicate in (rule.violates, rule.obeys):
        if predicate is not None:
            check_patterns(predicate, where)
    return rule


def check_patterns(predicate: Predicate, where: str) -> None:
    """Refuse a predicate whose arguments are no regular expressions. ConfigError names `where` and which."""
    for one in (predicate, *predicate.any_of):
        for name, pattern in one.arguments.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"{where}: arguments.{name} is not a regular expression: {error}") from None
        for inner in one.any_of:
            check_patterns(inner, where)


def _exists(arguments: Arguments, workspace: Workspace) -> bool:
    try:
        return workspace.resolve(str(arguments.get("path", ""))).is_file()
    except UsageError:
        return False
