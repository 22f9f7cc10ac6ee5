"""Who decided what, and why: a function of the log alone.

For each call: what the model proposed, what was decided, by whom, under which rule or mode and who had set
that, the arguments as the user changed them, the reason, and what came of it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence

from continualcode.core.data import Arguments, Call, Data
from continualcode.core.events import DecisionMade, RuleAdded, ToolProposed, ToolRan
from continualcode.core.review import grants
from continualcode.core.safety_events import SafetyChosen
from continualcode.eventlog import Record


class Decided(Data, frozen=True, kw_only=True):
    """One decision. `seq`, `ts`: of its record. `because`: a line for each rule, or the mode, it rests on.

    `by`: as in `DecisionMade`. `edited`: the arguments it ran with, where the user changed any. `ran`:
    whether the call succeeded; None where it did not run to its end.
    """

    seq: int
    ts: str
    call_id: str
    tool: str
    arguments: Arguments
    verdict: str
    by: str
    because: tuple[str, ...] = ()
    edited: Arguments | None = None
    reason: str | None = None
    train: bool = True
    ran: bool | None = None


def decided(records: Iterable[Record]) -> list[Decided]:
    """Every decision in `records`, in order; calls that need none (answers: by `session`) are left out."""
    calls: dict[str, Call] = {}
    rules: dict[str, RuleAdded] = {}
    mode: SafetyChosen | None = None
    found: list[tuple[DecisionMade, tuple[str, ...]]] = []
    ran: dict[str, ToolRan] = {}
    for record in records:
        match record:
            case ToolProposed(call=Call() as call):
                calls[record.id] = call
            case RuleAdded():
                rules[record.rule_id or record.id] = record
            case SafetyChosen():
                mode = record
            case ToolRan():
                ran[record.call_id] = record
            case DecisionMade() if record.by != "session":
                found.append((record, tuple(_because(record, rules, mode))))
            case _:
                pass
    return [
        Decided(
            seq=one.seq,
            ts=one.ts,
            call_id=one.call_id,
            tool=calls[one.call_id].tool,
            arguments=calls[one.call_id].arguments,
            verdict=one.verdict,
            by=one.by,
            because=because,
            edited=one.arguments,
            reason=one.reason,
            train=one.train,
            ran=ran[one.call_id].success if one.call_id in ran else None,
        )
        for one, because in found
    ]


def _because(decision: DecisionMade, rules: dict[str, RuleAdded], mode: SafetyChosen | None) -> Iterator[str]:
    for name, rule in rules.items():
        if rule.cause == decision.call_id:
            yield f"from here on: rule {name}, always allow {grants(rule.rule)}"
    kind, _, names = decision.by.partition(":")
    if kind == "rule":
        for name in names.split("+"):
            if name in rules:
                rule = rules[name]
                yield f"rule {name}: always allow {grants(rule.rule)} (event {rule.seq}, by {rule.by})"
    elif kind == "mode" and mode is not None:
        yield f"mode {mode.approvals} (event {mode.seq}, by {mode.by}), sandbox {mode.sandbox}"


def in_words(found: Sequence[Decided]) -> list[str]:
    """Lines for a person: one a decision, with what it rests on, indented, below it."""
    who = max((len(one.by) for one in found), default=0)
    lines: list[str] = []
    for one in found:
        what = called(one.tool, one.arguments)
        lines.append(f"{one.seq:>5}  {one.ts[11:19]}  {one.verdict:<5}  {one.by:<{who}}  {what}")
        lines += [f"{'':17}{line}" for line in _below(one)]
    return lines


def _below(one: Decided) -> Iterator[str]:
    yield from one.because
    if one.edited is not None:
        yield f"edited: {called(one.tool, one.edited)}"
    if one.reason:
        yield f"reason: {_one_line(one.reason)}"
    if not one.train:
        yield "nothing is learned from it"
    if one.verdict == "allow":
        yield {None: "not run to its end", True: "done", False: "failed"}[one.ran]


def called(tool: str, arguments: Arguments) -> str:
    r"""A call with all of its arguments, on one line that hides nothing.

    >>> called("write", {"path": "a.py", "content": "x\x1b\n"})
    'write(path="a.py", content="x\\u001b\\n")'
    """
    given = (
        f"{name}={_one_line(json.dumps(value, ensure_ascii=False))}" for name, value in arguments.items()
    )
    return f"{tool}({', '.join(given)})"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
