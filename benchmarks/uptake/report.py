"""The table of what `run.py` measured: python benchmarks/uptake/report.py OUT.jsonl

Recurrence is P(mistake) on held-out prompts; an arm's reduction is 1 − recurrence / that of the base model,
by rule, and its median over rules. Rules that the base model hardly breaks (below `BROKEN`) are not counted.
"""

import json
import sys
from pathlib import Path
from statistics import fmean, median
from typing import Any

from run import agreement  # beside this file

BROKEN = 0.1
"""Base recurrence from which on a rule counts for the median."""
GROUPS = ("unrelated", "opposite")


def main() -> None:
    """Print the tables."""
    lines = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    found = {(one["arm"], one["rule"]): one for one in lines}
    base = {rule: one for (arm, rule), one in found.items() if arm == "none"}
    arms = [arm for arm in dict.fromkeys(arm for arm, _ in found) if not arm.startswith("sequence")]
    print("| rule | " + " | ".join(f"{arm}: mistake, obeyed" for arm in arms) + " |")
    print("|---" * (len(arms) + 1) + "|")
    for rule in base:
        cells = [_cell(found.get((arm, rule))) for arm in arms]
        print(f"| {rule} | " + " | ".join(cells) + " |")
    print(
        "\n| arm | rules | median reduction | mean obeyed | same tool, shared, calls: unrelated | opposite |"
    )
    print("|---|---|---|---|---|---|")
    for arm in arms:
        print(_summary(arm, [one for (a, _), one in found.items() if a == arm], base))
    if any(arm == "sequence-fresh" for arm, _ in found):
        print("\n" + "\n".join(_sequence(found, base)))


def _controls(base: dict[str, Any]) -> list[Any]:
    """The base model's controls, measured once."""
    return next(one["controls"] for one in base.values() if one["controls"])


def _cell(one: dict[str, Any] | None) -> str:
    return f"{one['violates']:.2f}, {one['obeys']:.2f}" if one else ""


def _summary(arm: str, lines: list[dict[str, Any]], base: dict[str, Any]) -> str:
    counted = [one for one in lines if base[one["rule"]]["violates"] >= BROKEN]
    reductions = [1 - one["violates"] / base[one["rule"]]["violates"] for one in counted]
    cells = [
        arm,
        str(len(counted)),
        f"{median(reductions):.0%}",
        f"{fmean(one['obeys'] for one in counted):.2f}",
    ]
    stays = _controls(base)
    for group in GROUPS:
        compared = [agreement(stays, one["controls"], group) for one in lines if one["controls"]]
        means = [fmean(each) for each in zip(*compared, strict=True)]
        cells.append(", ".join(f"{each:.2f}" for each in means))
    return "| " + " | ".join(cells) + " |"


def _sequence(found: dict[tuple[str, str], Any], base: dict[str, Any]) -> list[str]:
    """What is left of each rule's gain later in the sequence, of what it was right after it was taught."""
    rows = ["| after | rules | median gain kept | same tool, shared, calls: unrelated |", "|---|---|---|---|"]
    fresh = {rule: one for (arm, rule), one in found.items() if arm == "sequence-fresh"}
    for number in (1, 3, 6, 12):
        later = {rule: one for (arm, rule), one in found.items() if arm == f"sequence-{number}" and rule}
        kept = [
            (base[rule]["violates"] - one["violates"]) / gained
            for rule, one in later.items()
            if (gained := base[rule]["violates"] - fresh[rule]["violates"]) >= BROKEN / 2
        ]
        controls = found.get((f"sequence-{number}", ""))
        if controls is None or not kept:
            continue
        same = agreement(_controls(base), controls["controls"], "unrelated")
        rows.append(
            f"| {number} | {len(kept)} | {median(kept):.0%} | {', '.join(f'{s:.2f}' for s in same)} |"
        )
    return rows


if __name__ == "__main__":
    main()
