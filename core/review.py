"""Who decides whether a tool call may run, and how several opinions become one.

Every plugin with `review_tool_call` is asked. Deny beats ask beats allow; a plugin that raises has
denied, with its error as the reason; where nobody has an opinion the user is asked. The user's answer
may change the arguments, add a rule, or say that nothing is to be learned from it.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from continualcode.core.data import Arguments, Call, Data, Json, ToolSpec, Verdict
from continualcode.core.events import Rule

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


def matches(rule: Rule, call: Call) -> bool:
    """Whether `rule` covers `call`: the same tool, and every argument that the rule names is equal.

    Equal as JSON: True is not 1, and 1 is not 1.0.
    """
    given = call.arguments
    return rule.tool == call.tool and all(
        name in given and _json(given[name]) == _json(value) for name, value in rule.arguments.items()
    )


def always_rule(call: Call, spec: ToolSpec) -> Rule:
    """What "always" would grant for this call: no more than the person can see on the screen.

    A tool that only reads: the tool. One that works on a path: the tool on that path. Anything else
    (a shell command): exactly these arguments.
    """
    if spec.reads_only:
        return Rule(tool=call.tool)
    if "path" in call.arguments:
        return Rule(tool=call.tool, arguments={"path": call.arguments["path"]})
    return Rule(tool=call.tool, arguments=call.arguments)


def _json(value: Json) -> bytes:
    return msgspec.json.encode(value, order="deterministic")
