"""What `cc eval` found, as one JSON object and as a table."""

import os
from collections.abc import Mapping, Sequence
from statistics import fmean

from continualcode.core.data import Data
from continualcode.core.evaluation.cases import Cases
from continualcode.core.evaluation.estimates import Estimate, average, estimate, overlap, share
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
    return estimate(figures, lambda one: (one.violates, one.violating))


def obedience(figures: Sequence[CaseFigures]) -> Estimate:
    """P(a call that follows the rule), the mean over cases."""
    return estimate(figures, lambda one: (one.obeys, one.obeying))


def validity(figures: Sequence[CaseFigures | ControlFigures]) -> Estimate:
    """P(a call of a tool, with arguments that fit), the mean over cases."""
    return average([one.valid for one in figures])


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
    width = max((len(name) for name in found.before.rules), default=4) + 2
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
    undrawn = max((one.undrawn for figures in found.before.rules.values() for one in figures), default=0.0)
    if undrawn > 0.01:
        lines += ["", f"Up to {undrawn:.0%} of a case went to tools too improbable to be drawn from."]
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
    figures = _of_side(before, "before")
    values: dict[str, object] = {name: None for name in _of_side((), "after")}
    if found.after is not None:
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
    return {"tools": case.tools, "recurrence": case.violates, "obey": case.obeys, "undrawn": case.undrawn}


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
    cells = [f"{one.mean:.2f} [{one.low:.2f} {one.high:.2f}]" for one in (before, after) if one is not None]
    return " → ".join(cells)


# -- Controls ------------------------------------------------------------------------------------------


def _pairs(found: Comparison, group: str | None) -> list[tuple[ControlFigures, ControlFigures]]:
    """Each control before and after; on one set of weights alone, beside itself."""
    after = (found.after or found.before).controls
    pairs = zip(found.before.controls, after, strict=True)
    return [(one, other) for one, other in pairs if group is None or one.group == group]


def _of_controls(found: Comparison, group: str | None) -> dict[str, object]:
    """agreement: the likeliest tool is the same; calls: so is how its call begins. validity: P(a call).

    right: P(what `expects` says).
    """
    pairs = _pairs(found, group)
    figures = {
        "agreement": share([one.likeliest == other.likeliest for one, other in pairs]),
        "calls": share([one.begins == other.begins for one, other in pairs]),
        "validity": validity([other for _, other in pairs]),
        "validity_before": validity([one for one, _ in pairs]),
    }
    if not pairs:
        return {**dict.fromkeys((*figures, "overlap", "right_before", "right")), "intervals": {}, "n": 0}
    expected = [
        (one.right, other.right) for one, other in pairs if one.right is not None and other.right is not None
    ]
    return {
        **_numbers(figures),
        "overlap": fmean(overlap(one.tools, other.tools) for one, other in pairs),
        "right_before": fmean(one for one, _ in expected) if expected else None,
        "right": fmean(other for _, other in expected) if expected else None,
        "n": len(pairs),
    }


def _controls_in_words(found: Comparison) -> list[str]:
    lines: list[str] = []
    for group in dict.fromkeys(one.group for one in found.before.controls):
        pairs = _pairs(found, group)
        name = f"controls ({group})" if group else "controls"
        valid = fmean(other.valid for _, other in pairs)
        if found.after is None:
            lines += [f"{name}: {valid:.1%} of {len(pairs)} are calls of a tool"]
            continue
        changed = [(one, other) for one, other in pairs if one.begins != other.begins]
        same = share([one.likeliest == other.likeliest for one, other in pairs])
        shared = fmean(overlap(one.tools, other.tools) for one, other in pairs)
        lines += [
            f"{name}: the same tool in {same.mean:.0%} [{same.low:.0%} {same.high:.0%}] of {same.n}; "
            f"distributions share {shared:.0%}; {valid:.1%} are calls of a tool; "
            f"the call begins as it did in {len(pairs) - len(changed)}"
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
