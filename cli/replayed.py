"""What `cc replay` found, in words and as one JSON object."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from continualcode.cli.conflicts import Conflict
from continualcode.cli.timeline import counted
from continualcode.core.replay import ReplayReport
from continualcode.core.retraining import CorrectionUse, Retrained, UpdateUse

CAME = {
    "as_logged": "as logged",
    "changed": "trained, to other weights than logged",
    "rejected": "rejected by the gate",
    "failed": "could not be done",
    "left_out": "left out: nothing of its own to learn",
    "planned": "would be trained",
}
"""How an update came out, in words."""


def describe(report: ReplayReport) -> str:
    """A replay of what was recorded: how many came out so, the first that did not, and why that may be."""
    how = f"within {report.tolerance:g} nats of what was logged" if report.by_figures else "as logged"
    lines = [f"{report.matched} of {report.updates} updates came out {how}; weights {report.weights[:12]}"]
    if (first := report.first_divergence) is not None:
        lines += [
            f"first divergence: event {first.seq}: {first.logged[:12]} logged, {first.replayed[:12]} here",
            f"  largest difference of a token's advantage: {first.nats:.3g} nats; "
            f"of the divergence after the update: {first.metric:.3g} nats a token; "
            f"steps: {first.steps[0]} logged, {first.steps[1]} here",
        ]
    if (first is not None or report.by_figures) and report.updates > 1:
        lines.append(
            f"of all {report.updates} updates: advantages differ by at most {report.nats:.3g} nats, "
            f"divergences after by {report.metric:.3g} nats a token; "
            f"{report.other_steps} took another number of steps"
        )
    if not report.elsewhere:
        lines += [f"stack: {name} was {logged}, is {here}" for name, (logged, here) in report.stack.items()]
    if report.elsewhere:
        lines.append(
            "One of the two is a server, whose weights are not at hand and whose adapter is another: figures "
            "are compared. Its divergence is of what it tells, at most the real one; what counts is how far "
            "it is above that."
        )
    elif first is not None:
        lines += [
            f"recorded on: {_stack(report.recorded)}",
            f"here:        {_stack(report.here)}",
            "The same bits are promised on the same stack only; --tolerance NATS judges by figures instead."
            if report.stack
            else "The stack is the same one: this is no matter of rounding.",
        ]
    return "\n".join(lines)


def _stack(names: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(names.items()))


def as_object(found: Retrained, conflicts: Sequence[Conflict] | None = None) -> bytes:
    """The object that `--json` prints; with `conflicts` where they were asked for."""
    if conflicts is None:
        return msgspec.json.encode(found)
    return msgspec.json.encode({**msgspec.to_builtins(found), "conflicts": conflicts})


def describe_retrained(found: Retrained) -> str:
    """A replay with changes: each update, then what it came to."""
    several = len({use.log for use in found.updates}) > 1
    lines = [line for use in found.updates for line in _update(use, several)]
    counts = ", ".join(f"{n} {CAME[name]}" for name in CAME if (n := found.count(name)))
    total = counted(len(found.updates), "update")
    lines.append(f"{total}: {counts}" if found.updates else "no updates to train on")
    if off := sum(use.off_policy for use in found.updates if use.outcome != "left_out"):
        lines.append(
            f"{off} of them off-policy: the sample that was corrected was drawn from other weights than these"
        )
    if found.weights:
        kept = len(found.updates) - found.count("left_out") - found.count("failed") - found.trained
        said = (
            f" ({counted(found.trained, 'update')} trained, the rest kept from earlier)" if kept > 0 else ""
        )
        lines.append(f"weights {found.weights[:12]}{said}")
    return "\n".join(lines)


def _update(use: UpdateUse, several: bool) -> Iterator[str]:
    rows = ", ".join(f"{count} {part}" for part, count in use.rows.items())
    steps = f", {use.steps} step{'s' if use.steps != 1 else ''}" if use.steps else ""
    why = f": {use.why}" if use.why else ""
    yield f"update {_named(use, several)}  {CAME[use.outcome]}{steps}{why}" + (f" ({rows})" if rows else "")
    for correction in use.corrections:
        mark = "+" if correction.taken else "-"
        reason = f"  [{correction.why}]" if correction.why else ""
        weight = f"  ×{correction.weight:g}" if correction.weight != 1.0 else ""
        words = correction.words if len(correction.words) < 60 else correction.words[:57] + "…"
        whose = f"{_named(correction, several)} {correction.kind}, {correction.by}"
        yield f"  {mark} {whose}: {words}{weight}{reason}"


def _named(what: UpdateUse | CorrectionUse, several: bool) -> str:
    return f"{what.log}@{what.seq}" if several else str(what.seq)
