"""Which rules cover a call. A rule never covers more than its words say.

A path is compared as the file that it leads to, links and `..` followed, so that neither can carry a call
out of what was allowed. A shell command is allowed if each of the commands in it is, or if it is, to the
letter, one that was allowed as a whole.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from continualcode.core.data import Arguments, Call, Json
from continualcode.core.errors import UsageError
from continualcode.core.events import Rule
from continualcode.core.workspace import Workspace
from continualcode.plugins.approvals.shell import Part, Unclear, parts

OPEN_ENDED = frozenset(
    "sh bash dash zsh fish ksh env xargs sudo su doas eval exec source . command builtin nohup setsid time "
    "timeout nice find ssh python python3 node perl ruby php awk sed make docker podman".split()
)
"""Programs that run, or write, whatever their arguments say: a prefix must name more than one of these."""

Covered = tuple[str, ...]
"""The ids of the rules that together cover a call, in the order of its parts."""


def covering(call: Call, rules: Mapping[str, Rule], root: Path) -> Covered | None:
    """The rules that let `call` through; None: it is asked about. `rules` by id."""
    for rule_id, rule in rules.items():
        if not rule.prefix and covers(rule, call, root):
            return (rule_id,)
    command = call.arguments.get("command")
    if not isinstance(command, str):
        return None
    try:
        found = [part_rule(part, call.tool, rules) for part in parts(command)]
    except Unclear:
        return None
    whole = tuple(dict.fromkeys(rule_id for rule_id in found if rule_id is not None))
    return whole if None not in found else None


def covers(rule: Rule, call: Call, root: Path) -> bool:
    """Whether a rule without a prefix covers a call: tool, named arguments (as JSON: True is not 1), path."""
    return (
        rule.tool == call.tool
        and _equal(rule.arguments, call.arguments)
        and _path_fits(rule.path, call, root)
    )


def part_rule(part: Part, tool: str, rules: Mapping[str, Rule]) -> str | None:
    """The rule that covers one command of a line: its first words, or all of it as written."""
    for rule_id, rule in rules.items():
        if rule.tool != tool:
            continue
        if rule.prefix and part.words[: len(rule.prefix)] == tuple(rule.prefix):
            return rule_id
        if not rule.prefix and rule.arguments == {"command": part.text}:
            return rule_id
    return None


def path_fits(pattern: str, path: str) -> bool:
    """`**` is any number of folders, `*` and `?` stay within one name, `[*]` is a star.

    >>> path_fits("src/**/*.py", "src/a/b.py"), path_fits("src/*", "src/a/b.py")
    (True, False)
    """
    return _fits(pattern.split("/"), path.split("/"))


def require_sensible(rule: Rule) -> None:
    """Refuse a rule that would let anything through, or nothing."""
    if rule.prefix and len(rule.prefix) == 1 and rule.prefix[0].rpartition("/")[2] in OPEN_ENDED:
        raise UsageError(
            f"a rule for every {rule.prefix[0]} would allow any command at all: name more of its words, "
            f"such as --prefix '{rule.prefix[0]} …'"
        )
    if rule.path is not None and (rule.path.startswith("/") or ".." in rule.path.split("/")):
        raise UsageError(
            f"--path {rule.path}: give a pattern relative to the workspace, such as 'src/**/*.py'"
        )
    if rule.tool == "bash" and not rule.prefix and not rule.arguments:
        raise UsageError("a rule for every bash would allow any command at all: give --prefix or --command")


def _path_fits(pattern: str | None, call: Call, root: Path) -> bool:
    if pattern is None:
        return True
    try:
        return path_fits(pattern, Workspace(root).relative(str(call.arguments["path"])))
    except (KeyError, UsageError):
        return False


def _fits(pattern: list[str], names: list[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(pattern[1:], names[i:]) for i in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _fits(pattern[1:], names[1:])


def _equal(named: Arguments, given: Arguments) -> bool:
    return all(name in given and _json(given[name]) == _json(value) for name, value in named.items())


def _json(value: Json) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
