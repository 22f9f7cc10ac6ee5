"""Who decides whether a tool call may run, and how several opinions become one.

Every plugin with `review_tool_call` is asked. Deny beats ask beats allow; a plugin that raises has
denied, with its error as the reason; where nobody has an opinion the user is asked. The user's answer
may change the arguments, add a rule, or say that nothing is to be learned from it.
"""

import glob
import hashlib
import json
import shlex
from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

import msgspec

from continualcode.core.data import Arguments, Call, Data, Json, ToolSpec, Verdict
from continualcode.core.errors import UsageError
from continualcode.core.events import Rule
from continualcode.core.workspace import Workspace

_STRENGTH: dict[Verdict, int] = {"allow": 0, "ask": 1, "deny": 2}


class Ruling(Data, frozen=True):
    """One opinion on a call. `by` says whose: `rule:ID`; left empty, the plugin's name is filled in."""

    verdict: Verdict
    reason: str | None = None
    by: str = ""


class Question(Data, frozen=True):
    """What the user is asked: the call, what it would do, and why it is asked at all."""

    call_id: str
    call: Call
    preview: str
    reason: str | None = None
    always: Rule | None = None


class Answer(Data, frozen=True):
    """The user's decision. A denial needs a `reason`: it is the correction that the model learns from.

    `always`: also add the rule that the question offered. `train`: learn from this decision.
    """

    verdict: Literal["allow", "deny"]
    reason: str | None = None
    arguments: Arguments | None = None
    always: bool = False
    train: bool = True
    by: str = "user"


def strongest(rulings: Iterable[Ruling]) -> Ruling:
    """The one that counts; the first of equals. No rulings at all: ask.

    >>> strongest([Ruling(verdict="allow", by="a"), Ruling(verdict="deny", by="b")]).by
    'b'
    """
    return max(rulings, key=lambda ruling: _STRENGTH[ruling.verdict], default=Ruling(verdict="ask"))


def always_rule(call: Call, spec: ToolSpec, workspace: Workspace) -> Rule:
    """What "always" would grant for this call: no more than the person can see on the screen (`grants`).

    A tool that only reads: the tool. One that works on a path: the tool on the file that it leads to.
    Anything else (a shell command): exactly these arguments.
    """
    if spec.reads_only:
        return Rule(tool=call.tool)
    with suppress(UsageError):
        if isinstance(path := call.arguments.get("path"), str):
            return Rule(tool=call.tool, path=glob.escape(workspace.relative(path)))
    return Rule(tool=call.tool, arguments=call.arguments)


def rule_id(rule: Rule) -> str:
    """A rule's name, by what it says: the same rule has the same one everywhere."""
    return hashlib.sha256(msgspec.json.encode(rule, order="deterministic")).hexdigest()[:8]


def grants(rule: Rule | None) -> str:
    """What a rule lets through, in words, with nothing in them that is not seen on a screen.

    >>> grants(Rule(tool="bash", prefix=("git", "log")))
    'bash commands that begin with: git log'
    """
    if rule is None:
        return "nothing"
    named = [f"{name}={_shown(value)}" for name, value in rule.arguments.items()]
    if rule.path is not None:
        named.append(f"path={_shown(rule.path)}")
    if rule.prefix:
        named.append("commands that begin with: " + " ".join(map(shlex.quote, rule.prefix)))
    return f"{rule.tool} {' '.join(named)}" if named else f"every {rule.tool}"


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
