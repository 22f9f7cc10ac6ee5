"""Tables, curves and a plot of what `run.py` measured.

    python benchmarks/uptake/report.py OUT.jsonl [--plot OUT.svg]

Prints markdown; writes the curves to OUT.csv, and the plot (needs matplotlib, see requirements.txt).
Recurrence is P(mistake) on held-out prompts; a rule's reduction is 1 - recurrence / that of the base model.
Rules that the base model hardly breaks (below `BROKEN`) count in no median. Several seeds: means, by rule.
"""

import argparse
import csv
import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import msgspec
from run import AFTER, key  # beside this file

from continualcode.core.evaluation.estimates import overlap
from continualcode.core.evaluation.measure import ControlFigures

BROKEN = 0.1
"""Base recurrence from which on a rule counts."""
Line = dict[str, Any]


class Stays(NamedTuple):
    """Of controls, next to the base model's: same likeliest tool, shared probability, calls at all.

    begins: the likeliest call begins as it did; NaN where older lines do not say.
    """

    same: float
    shared: float
    calls: float
    begins: float


class Results:
    """The lines of a run."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = list({key(one): one for one in lines}.values())
        none = [one for one in self.lines if one["arm"] == "none"]
        self.base = {one["rule"]: one for one in none}
        self.controls = next((one["controls"] for one in none if one["controls"]), None)
        self.groups = list(dict.fromkeys(one["group"] for one in self.controls or ()))
        if not none:
            sys.exit("no line of the arm `none` is there: reductions are of the base model's recurrence")
        self.rules = [rule for rule, one in self.base.items() if one["violates"] >= BROKEN]
        if not self.rules:
            sys.exit(f"the base model breaks no rule with a probability of {BROKEN} or more")

    def arms(self, setting: str) -> list[str]:
        """In the order in which they were run."""
        return list(dict.fromkeys(one["arm"] for one in self.lines if one["setting"] == setting))

    def of(self, setting: str, arm: str, *, taught: int | None = None) -> list[Line]:
        """The lines of an arm; with `taught`, those measured after so many rules."""
        found = [one for one in self.lines if (one["setting"], one["arm"]) == (setting, arm)]
        return [one for one in found if taught in (None, one["taught"])]

    def mean(self, lines: Sequence[Line], rule: str, figure: str) -> float | None:
        """A figure of a rule, over seeds."""
        values = [one[figure] for one in lines if one["rule"] == rule and figure in one]
        return fmean(values) if values else None

    def reductions(self, lines: Sequence[Line]) -> dict[str, float]:
        """By rule that counts."""
        found = {rule: self.mean(lines, rule, "violates") for rule in self.rules}
        return {r: 1.0 - v / self.base[r]["violates"] for r, v in found.items() if v is not None}

    def stays(self, lines: Sequence[Line], group: str) -> Stays | None:
        """What became of the controls of a group, over all sessions that measured them."""
        found = [_compared(self.controls, one["controls"], group) for one in lines if one.get("controls")]
        return Stays(*map(fmean, zip(*found, strict=True))) if found and self.controls else None


def _compared(before: list[Any], after: list[Any], group: str) -> Stays:
    pairs = [
        (msgspec.convert(one, ControlFigures), msgspec.convert(other, ControlFigures))
        for one, other in zip(before, after, strict=True)
        if one["group"] == group
    ]
    begun = [one.begins == other.begins if one.begins and other.begins else math.nan for one, other in pairs]
    return Stays(
        fmean(one.likeliest == other.likeliest for one, other in pairs),
        fmean(overlap(one.tools, other.tools) for one, other in pairs),
        fmean(other.valid for _, other in pairs),
        fmean(begun),
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95% bootstrap interval of a median over rules; fixed seed."""
    pool = random.Random(0)
    found = sorted(median(pool.choices(values, k=len(values))) for _ in range(2000))
    return found[50], found[1949]


# -- Tables --------------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def by_rule(found: Results) -> str:
    """Mistake, obeyed: of every rule, by arm."""
    arms = found.arms("one")

    def cell(arm: str, rule: str) -> str:
        lines = found.of("one", arm)
        figures = [found.mean(lines, rule, name) for name in ("violates", "obeys")]
        return ", ".join(f"{one:.2f}" for one in figures if one is not None)

    return table(
        ["rule", *(f"{arm}: mistake, obeyed" for arm in arms)],
        ([rule, *(cell(arm, rule) for arm in arms)] for rule in found.base),
    )


def summary(found: Results) -> str:
    """One line an arm: what it did, what else it changed, what it cost."""

    def row(arm: str) -> list[str]:
        lines = found.of("one", arm)
        values = list(found.reductions(lines).values())
        obeyed = [v for r in found.rules if (v := found.mean(lines, r, "obeys")) is not None]
        low, high = interval(values)
        taught = [each for one in lines for each in one["lessons"]]
        stood = f"{sum(t['outcome'] == 'update_applied' for t in taught)} of {len(taught)}" if taught else ""
        cost = [""] * 3
        if taught:
            mean = {name: fmean(one["cost"][name] for one in lines) for name in lines[0]["cost"]}
            cost = [f"{mean['tokens']:.0f}", f"{mean['flops'] / 1e12:.1f}", f"{mean['seconds']:.0f}"]
        stays = [found.stays(lines, group) for group in found.groups]
        kept = [", ".join(f"{figure:.2f}" for figure in s) if s else "" for s in stays]
        reduced = f"{median(values):.0%} [{low:.0%} {high:.0%}]"
        return [arm, str(len(values)), reduced, f"{fmean(obeyed):.2f}", *kept, stood, *cost]

    head = "arm;rules;median reduction;obeyed"
    stays = ";".join(f"{group}: same tool, shared, calls, same call" for group in found.groups)
    cost = "updates that stood;tokens an update;TFLOP;seconds"
    return table(f"{head};{stays};{cost}".split(";"), (row(arm) for arm in found.arms("one")))


class Point(NamedTuple):
    """A sequence after `taught` rules: over those of them that count, and on unrelated prompts."""

    arm: str
    taught: int
    rules: int
    median_reduction: float
    mean_recurrence: float
    base_recurrence: float
    gain_kept: float
    same: float
    shared: float
    calls: float
    begins: float


def curve(found: Results, arm: str) -> list[Point]:
    """The points of one arm's sequence.

    gain_kept: of what each rule had gained right after it was taught, the share that is left; the median.
    """
    points: list[Point] = []
    every = found.of("sequence", arm)
    fresh = {one["rule"]: one for one in every if "log" in one}
    for number in AFTER:
        lines = found.of("sequence", arm, taught=number)
        stays = found.stays(lines, "unrelated")
        left = found.reductions(lines)
        if stays is None or not left:
            continue
        kept = [
            (found.base[r]["violates"] - _violates(lines, r)) / gained
            for r in left
            if (gained := found.base[r]["violates"] - fresh[r]["violates"]) >= BROKEN / 2
        ]
        points.append(
            Point(
                *(arm, number, len(left), median(left.values())),
                fmean(_violates(lines, r) for r in left),
                fmean(found.base[r]["violates"] for r in left),
                median(kept) if kept else float("nan"),
                *stays,
            )
        )
    return points


def _violates(lines: Sequence[Line], rule: str) -> float:
    return fmean(one["violates"] for one in lines if one["rule"] == rule)


def sequences(curves: Sequence[Point]) -> str:
    """What is left of earlier rules, after one, three and twelve."""
    head = "arm;after;rules that count;median reduction;mean recurrence (base);median gain kept"
    return table(
        f"{head};same tool;shared;calls;same call".split(";"),
        (
            [
                *(p.arm, str(p.taught), str(p.rules), f"{p.median_reduction:.0%}"),
                f"{p.mean_recurrence:.2f} ({p.base_recurrence:.2f})",
                f"{p.gain_kept:.0%}",
                *(f"{figure:.2f}" for figure in (p.same, p.shared, p.calls, p.begins)),
            ]
            for p in curves
        ),
    )


# -- Files ---------------------------------------------------------------------------------------------


def write_csv(curves: Sequence[Point], out: Path) -> None:
    """The curves, a line a point."""
    with out.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(Point._fields)
        rows.writerows(curves)


def plot(found: Results, curves: Sequence[Point], out: Path) -> None:
    """One correction: a dot a rule, by arm. Beside it sequences: what is left, and what else changed."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "uptake"
    from matplotlib import pyplot

    panels = 3 if curves else 1
    figure, axes = pyplot.subplots(1, panels, figsize=(4.5 * panels, 4), layout="constrained", squeeze=False)
    _dots(found, axes[0, 0])
    for panel, (title, goal, figure_of) in zip(axes[0, 1:], PANELS, strict=False):
        for arm in dict.fromkeys(point.arm for point in curves):
            points = [point for point in curves if point.arm == arm]
            panel.plot([p.taught for p in points], [figure_of(p) for p in points], "o-", label=arm)
        panel.set_title(title, fontsize=10)
        panel.axhline(goal, linestyle=":", color="grey")
        panel.set_ylim(-0.25, 1.05)
        panel.set_xscale("log")
        panel.set_xticks(AFTER, [str(n) for n in AFTER])
        panel.set_xlabel("corrections in sequence")
        panel.legend(fontsize=8)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=110)


PANELS: tuple[tuple[str, float, Callable[[Point], float]], ...] = (
    ("recurrence of all rules taught falls by", 0.8, lambda p: 1 - p.mean_recurrence / p.base_recurrence),
    ("unrelated prompts with the same tool", 0.95, lambda p: p.same),
)
"""Title, goal and figure of what is drawn of sequences."""


def _dots(found: Results, axes: Any) -> None:
    arms = [arm for arm in found.arms("one") if arm != "none"]
    for place, arm in enumerate(arms):
        values = sorted(found.reductions(found.of("one", arm)).values())
        spread = [place + (n - (len(values) - 1) / 2) * 0.03 for n in range(len(values))]
        axes.plot(spread, values, "o", markersize=4, alpha=0.6)
        axes.hlines(median(values), place - 0.3, place + 0.3, colors="black", linewidth=2)
    axes.set_xticks(range(len(arms)), arms, rotation=20)
    axes.set_xlim(-0.6, len(arms) - 0.4)
    axes.axhline(0.8, linestyle=":", color="grey")
    axes.set_ylim(-1.0, 1.05)
    axes.set_title("one correction: recurrence falls by\n(a dot a rule, their median, the goal)", fontsize=10)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Tables, curves and a plot; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--plot", type=Path, help="an .svg or .png to write")
    given = parser.parse_args()
    found = Results(json.loads(line) for line in given.out.read_text().splitlines())
    curves = [point for arm in found.arms("sequence") for point in curve(found, arm)]
    tables = [by_rule(found), summary(found), *([sequences(curves)] if curves else [])]
    print("\n\n".join(tables))
    write_csv(curves, given.out.with_suffix(".csv"))
    if given.plot:
        plot(found, curves, given.plot)


if __name__ == "__main__":
    main()
