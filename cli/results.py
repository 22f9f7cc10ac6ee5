"""What `cc eval` found, as one JSON object and as a table."""

import os
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

from continualcode.core.data import Data
from continualcode.core.evaluation.cases import Cases
from continualcode.core.evaluation.estimates import Estimate, estimate, overlap
from continualcode.core.evaluation.measure import CaseFigures, ControlFigures, Figures
from continualcode.core.evaluation.teach import Lesson

CELL = len("0.12 [0.12 0.12] → 0.12 [0.12 0.12]") + 2
"""The width of a column of the table."""


class Comparison(Data, frozen=True):
    """Figures on one set of weights or on two; what was taught between them, and the log of that."""

    cases: Cases
    labels: tuple[str, str]
    before: Figures
    after: Figures | None
    lessons: tuple[Lesson, ...] = ()
    log: str | None = None


def recurrence(figures: Sequence[CaseFigures]) -> Estimate:
    """P(a call that breaks the rule), the mean over cases."""
    return estimate([one.violates for one in figures], _draws(one.violating for one in figures))


def obedience(figures: Sequence[CaseFigures]) -> Estimate:
    """P(a call that follows the rule), the mean over cases."""
    return estimate([one.obeys for one in figures], _draws(one.obeying for one in figures))


def validity(figures: Sequence[CaseFigures | ControlFigures]) -> Estimate:
    """P(a call of a tool, with arguments that fit), the mean over cases."""
    return estimate([one.valid for one in figures])


def result(found: Comparison) -> dict[str, object]:
    """The object that `--json` prints. A figure is a number, beside it are `intervals` (95%) and `n`."""
    groups = dict.fromkeys(one.group for one in _cases(found.before) if one.group)
    stays = dict.fromkeys(one.group for one in found.before.controls if one.group)
    return {
        "weights": {
            "before": {"name": found.labels[0], "digest": found.before.weights},
            "after": {"name": found.labels[1], "digest": found.after.weights} if found.after else None,
        },
        "rules": [
            {"name": name, **_of_cases(found, rule=name), "cases": _each(found, name)}
            for name in found.before.rules
        ],
        "groups": [{"name": group, **_of_cases(found, group=group)} for group in groups],
        "overall": _of_cases(found),
        "controls": {
            **_of_controls(found, None),
            "groups": [{"name": group, **_of_controls(found, group)} for group in stays],
        },
        "lessons": list(found.lessons),
        "log": found.log,
    }


def as_text(found: Comparison) -> str:
    """The same for a person."""
    two = found.after is not None
    heading = f"{found.labels[0]} → {found.labels[1]}" if two else found.labels[0]
    lines = [f"{heading}; the correction absent, 95% intervals in brackets", ""]
    width = max(len(name) for name in ("rule", *found.before.rules)) + 2
    if found.before.rules:
        lines += [f"{'rule':{width}}{'mistake':{CELL}}{'obeyed':{CELL}}n"]
    rows = {
        name: (figures, found.after.rules[name] if found.after else None)
        for name, figures in found.before.rules.items()
    }
    if len(rows) > 1:
        rows["all"] = _cases(found.before), _cases(found.after) if found.after else None
    for name, (before, after) in rows.items():
        cells = [
            _change(of(before), of(after) if after is not None else None) for of in (recurrence, obedience)
        ]
        lines += [f"{name:{width}}{cells[0]:{CELL}}{cells[1]:{CELL}}{len(before)}"]
    every = [one for side in (found.before, found.after) if side is not None for one in _cases(side)]
    undrawn = max((one.undrawn for one in every), default=0.0)
    cut = max((one.cut for one in every), default=0.0)
    if undrawn > 0.01:
        lines += ["", f"Up to {undrawn:.0%} of a case went to tools too improbable to be drawn from."]
    if cut > 0.01:
        lines += [
            "",
            f"Up to {cut:.0%} of a case was calls cut off at --max-tokens, judged by their beginning.",
        ]
    if found.before.controls:
        lines += ["", *_controls_in_words(found)]
    if found.log is not None:
        lines += ["", f"What was taught: cc log show {found.log}", f"  cc replay --verify {found.log}"]
    return "\n".join(lines)


# -- Rules ---------------------------------------------------------------------------------------------


def _cases(figures: Figures, *, rule: str | None = None, group: str | None = None) -> tuple[CaseFigures, ...]:
    """The cases of one rule, or of one group of them, or all."""
    return tuple(
        one
        for name, of_rule in figures.rules.items()
        for one in of_rule
        if rule in (None, name) and group in (None, one.group)
    )


def _of_cases(found: Comparison, *, rule: str | None = None, group: str | None = None) -> dict[str, object]:
    before = _cases(found.before, rule=rule, group=group)
    figures = _of_side(before, "before") if before else {}
    values: dict[str, object] = {name: None for side in ("before", "after") for name in _of_side((), side)}
    if found.after is not None and before:
        figures |= _of_side(_cases(found.after, rule=rule, group=group), "after")
    return {**values, **_numbers(figures), "n": len(before)}


def _each(found: Comparison, rule: str) -> list[dict[str, object]]:
    """Every case of a rule by itself, with the probability of each tool."""
    after = found.after.rules[rule] if found.after is not None else [None] * len(found.before.rules[rule])
    return [
        {"prompt": one.prompt, "before": _one(one), "after": _one(other) if other is not None else None}
        for one, other in zip(found.before.rules[rule], after, strict=True)
    ]


def _one(case: CaseFigures) -> dict[str, object]:
    figures = {"recurrence": case.violates, "obey": case.obeys, "undrawn": case.undrawn, "cut": case.cut}
    return {"tools": case.tools, **figures}


def _of_side(figures: Sequence[CaseFigures], side: str) -> dict[str, Estimate]:
    return {
        f"recurrence_{side}": recurrence(figures),
        f"obey_{side}": obedience(figures),
        f"validity_{side}": validity(figures),
    }


def _numbers(figures: Mapping[str, Estimate]) -> dict[str, object]:
    return {
        **{name: one.mean for name, one in figures.items()},
        "intervals": {name: (one.low, one.high) for name, one in figures.items()},
        "draws": {name: one.draws for name, one in figures.items() if one.draws},
    }


def _change(before: Estimate, after: Estimate | None) -> str:
    if not before.n:
        return "no prompts"
    cells = [f"{one.mean:.2f} [{one.low:.2f} {one.high:.2f}]" for one in (before, after) if one is not None]
    return " → ".join(cells)


def _draws(rows: Iterable[Mapping[str, Sequence[bool]]]) -> int:
    """How many calls were drawn; one outcome alone is a tool's that decides."""
    return sum(len(row) for of_case in rows for row in of_case.values() if len(row) > 1)


# -- Controls ------------------------------------------------------------------------------------------


_Pairs: TypeAlias = Sequence[tuple[ControlFigures, ControlFigures]]


def _pairs(found: Comparison, group: str | None) -> _Pairs:
    """Each control before and after; on one set of weights, twice the same."""
    after = (found.after or found.before).controls
    pairs = zip(found.before.controls, after, strict=True)
    return [(one, other) for one, other in pairs if group is None or one.group == group]


def _of_controls(found: Comparison, group: str | None) -> dict[str, object]:
    """agreement: the likeliest tool is the same; calls: so is how its call begins. validity: P(a call).

    right: P(what `expects` says). What compares two sets of weights is None where there is one.
    """
    pairs = _pairs(found, group)
    names = ("agreement", "calls", "overlap", "validity", "validity_before", "right_before", "right")
    nothing: dict[str, object] = {**dict.fromkeys(names), "intervals": {}, "n": len(pairs)}
    if not pairs:
        return nothing
    before, right = _right(pairs)
    figures = {
        "validity": validity([other for _, other in pairs]),
        "validity_before": validity([one for one, _ in pairs]),
    }
    values: dict[str, object] = {"right_before": before, "right": right}
    if found.after is not None:
        figures |= {"agreement": _agreement(pairs), "calls": _same_calls(pairs)}
        values["overlap"] = fmean(overlap(one.tools, other.tools) for one, other in pairs)
    return {**nothing, **_numbers(figures), **values}


def _agreement(pairs: _Pairs) -> Estimate:
    return estimate([float(one.likeliest == other.likeliest) for one, other in pairs])


def _same_calls(pairs: _Pairs) -> Estimate:
    return estimate([float(one.begins == other.begins) for one, other in pairs])


def _right(pairs: _Pairs) -> tuple[float | None, float | None]:
    """P(the expected call) before and after, the mean over the controls that expect one."""
    known = [
        (one.right, other.right) for one, other in pairs if one.right is not None and other.right is not None
    ]
    return (fmean(one for one, _ in known), fmean(other for _, other in known)) if known else (None, None)


def _controls_in_words(found: Comparison) -> list[str]:
    lines: list[str] = []
    for group in dict.fromkeys(one.group for one in found.before.controls):
        pairs = _pairs(found, group)
        name = f"controls ({group})" if group else "controls"
        valid, (before, right) = fmean(other.valid for _, other in pairs), _right(pairs)
        if found.after is None:
            expected = f"; {right:.0%} are the expected ones" if right is not None else ""
            lines += [f"{name}: {valid:.1%} of {len(pairs)} are calls of a tool{expected}"]
            continue
        expected = f"; the expected ones: {before:.0%} → {right:.0%}" if right is not None else ""
        changed = [(one, other) for one, other in pairs if one.begins != other.begins]
        same = _agreement(pairs)
        shared = fmean(overlap(one.tools, other.tools) for one, other in pairs)
        lines += [
            f"{name}: the same tool in {same.mean:.0%} [{same.low:.0%} {same.high:.0%}] of {same.n}; "
            f"distributions share {shared:.0%}; {valid:.1%} are calls of a tool; "
            f"the call begins as it did in {len(pairs) - len(changed)}{expected}"
        ]
        lines += [f"  {one.prompt[:60]}: {_moved(one, other)}" for one, other in changed]
    return lines


def _moved(one: ControlFigures, other: ControlFigures) -> str:
    """The tool, before and after; where it is the same, the calls from the brace before they part."""
    if one.likeliest != other.likeliest:
        return f"{one.likeliest} → {other.likeliest}"
    begin = one.begins.rfind("{", 0, len(os.path.commonprefix([one.begins, other.begins]))) + 1
    before, after = (" ".join(each.begins[begin:].split("}}")[0].split()) for each in (one, other))
    return f"{one.likeliest} {before} → {after}"
