"""Which rules cover a call. A rule never covers more than its words say.

A path is compared as the file that it leads to, links and `..` followed, so that neither can carry a call
out of what was allowed. A shell command is allowed if each of the commands in it is, or if it is, to the
letter, one that was allowed as a whole.
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from continualcode.core.data import Arguments, Call, Json
from continualcode.core.errors import UsageError
from continualcode.core.events import Rule
from continualcode.core.workspace import Workspace
from continualcode.plugins.approvals.shell import Part, Unclear, parts

INTERPRETERS = frozenset(
    "sh bash dash zsh fish ksh csh tcsh ash pwsh su python pypy ipython node nodejs perl ruby php lua luajit "
    "awk gawk mawk nawk tclsh expect Rscript julia osascript".split()
)
"""Programs that run the code that they are given."""

RUNNERS = frozenset(
    "env xargs sudo doas exec command builtin nohup setsid time timeout nice ionice stdbuf strace watch "
    "parallel busybox toybox npx bunx uvx pipx uv npm pnpm yarn bun deno poetry docker podman".split()
)
"""Programs that run the program that they are given."""

OPEN_ENDED = INTERPRETERS | RUNNERS | frozenset("eval source . find ssh sed make git".split())
"""Programs that run, or write, whatever their arguments say: a prefix must name what (`leaves_open`)."""

_NAMES_NOTHING = re.compile(r"[-+].*|[\w.]+=.*|\.?\d[\d.]*[smhd]?|:+")
"""Options, assignments, numbers, times, parallel's colons."""
_RUN = frozenset("run exec x dlx eval tool".split())
"""Subcommands of runners that are followed by what is run."""
_CODE_NEXT = re.compile(r"-\w*[ce]")
"""Options of interpreters that are followed by code."""
_VALUE_NEXT = re.compile(r"-\w*e|--eval|-[CfoWX]")
_RUNNERS_VALUE_NEXT = re.compile(r"-[aCdefgIkosSu]|--user|--unset|--signal|--chdir")
"""Options whose value, the next word, names nothing, or as with -e not all: it can be given again."""

_CLASS = re.compile(r"\[!?\]?[^]]*\]")
"""A class of characters in a pattern."""

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
    """The rule that covers one command of a line: its first words, or all of it as written.

    A rule with a path covers none: which files a command works on cannot be told from its words.
    """
    for rule_id, rule in rules.items():
        if rule.tool != tool or rule.path is not None:
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
    if rule.tool == "bash" and rule.path is not None:
        raise UsageError(
            f"--path {rule.path!r} is for tools that work on one file, and what a command works on cannot be "
            "told: for bash give --prefix or --command, without --path"
        )
    if rule.prefix and leaves_open(rule.prefix):
        raise UsageError(
            f"a rule for every `{' '.join(rule.prefix)}` could run any command at all: name what it runs, as "
            "in --prefix 'python -m pytest' or 'timeout 5 pytest', or give one whole command with --command"
        )
    if rule.path is not None and rule.path != "." and {"", ".", ".."} & set(rule.path.split("/")):
        raise UsageError(
            f"--path {rule.path!r}: give a pattern relative to the workspace, such as 'src/**/*.py'"
        )
    if rule.path is not None and any("[" in _CLASS.sub("", part) for part in rule.path.split("/")):
        raise UsageError(f"--path {rule.path!r}: a [ in it is not closed; the character itself is [[]")
    if rule.tool == "bash" and not rule.prefix and not rule.arguments:
        raise UsageError("a rule for every bash would allow any command at all: give --prefix or --command")


def leaves_open(prefix: Sequence[str]) -> bool:
    """Whether a prefix allows any command at all, as it does not say what it runs.

    >>> leaves_open(["timeout", "5", "bash", "-c"]), leaves_open(["timeout", "5", "pytest"])
    (True, False)
    """
    program = _program(prefix[0])
    if program not in OPEN_ENDED:
        return False
    if _CODE_NEXT.fullmatch(prefix[-1]) and any(_program(word) in INTERPRETERS for word in prefix[:-1]):
        return True
    runs = program in RUNNERS
    value_next = _RUNNERS_VALUE_NEXT if runs else _VALUE_NEXT
    for at, word in enumerate(prefix[1:], 1):
        value = value_next.fullmatch(prefix[at - 1])
        if not (value or _NAMES_NOTHING.fullmatch(word) or (runs and word in _RUN)):
            return runs and leaves_open(prefix[at:])
    return True


def _program(word: str) -> str:
    """A program's name without its folder and its version."""
    name = word.rpartition("/")[2]
    return name.rstrip("0123456789.") or name


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
