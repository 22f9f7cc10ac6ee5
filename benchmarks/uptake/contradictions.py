"""A user who contradicts themselves: 200 corrections in a row, each against the one before; what else breaks?

    python benchmarks/uptake/contradictions.py OUT.jsonl [--model NAME] [--times 200] [--arms gate,neither]

"Use edit_lines" and "Use write" in turn, on the same prompts, in one session an arm. Retention is measured on
the unrelated controls of rules.toml: the share on which the likeliest tool is still the base model's, and
whether what is said is a call at all. Arms: with the gate and without it, with anchors at their weight and as
good as none (the gate's probes come with anchors, so theirs is 1e-6 and not 0).

Appends a line a correction to OUT.jsonl, with figures on every `--every`-th, which it prints. An arm that was
stopped begins again.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from continualcode.core.config import load
from continualcode.core.evaluation.cases import CaseRule, Control, load_cases
from continualcode.core.evaluation.measure import ControlFigures, Ruler, Settings
from continualcode.core.evaluation.teach import teach
from continualcode.core.operator import Predicate
from continualcode.core.plugins import Plugins
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI

ARMS: dict[str, tuple[str, ...]] = {
    "both": (),
    "gate": ("trainer.anchors=1e-6",),
    "anchors": ("trainer.gate=false",),
    "neither": ("trainer.anchors=1e-6", "trainer.gate=false"),
}
"""What holds on to unrelated choices."""
WISHES = {"edit_lines": "Use edit_lines; don't overwrite the whole file.", "write": "Use write, not {}."}
"""What is wanted in turn, and in which words; {}: the other tool."""


def against(wanted: str, other: str, session: Session, like: CaseRule) -> CaseRule:
    """Whoever wants `wanted`, and denies every other call."""
    tools = tuple(name for name in session.tools if name != wanted)
    return CaseRule(
        name=f"use-{wanted}",
        correction=WISHES[wanted].format(other),
        violates=Predicate(tool=tools),
        obeys=Predicate(tool=wanted),
        train=like.train,
    )


def contradict(
    session: Session, like: CaseRule, controls: tuple[Control, ...], times: int, every: int
) -> Any:
    """Give `times` corrections, a line each as it is done; the first line is before any."""
    ruler, (one, other) = Ruler(session, Settings(draws=1)), WISHES
    rules = [against(one, other, session, like), against(other, one, session, like)]
    before = [ruler.control(control) for control in controls]
    yield {"number": 0, **retention(before, before)}
    for number in range(1, times + 1):
        rule = rules[number % 2]
        lesson = teach(session, rule, rule.train[number // 2 % len(rule.train)])
        figures: dict[str, Any] = {}
        if number % every == 0 or number == times:
            figures = retention(before, [ruler.control(control) for control in controls])
        yield {
            "number": number,
            "outcome": lesson.outcome,
            "steps": lesson.steps,
            "why": lesson.why,
            **figures,
        }


def retention(before: list[ControlFigures], after: list[ControlFigures]) -> dict[str, float]:
    """Of unrelated prompts: the same likeliest tool, and a call at all."""
    return {
        "agreement": fmean(a.likeliest == b.likeliest for a, b in zip(before, after, strict=True)),
        "validity": fmean(one.valid for one in after),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Contradicts itself; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--arms", default="gate,neither", help=", ".join(ARMS))
    parser.add_argument("--set", dest="sets", action="append", default=[], help="such as trainer.max_steps=2")
    given = parser.parse_args()
    cases = load_cases(Path(__file__).parent / "rules.toml")
    controls = tuple(control for control in cases.control if control.group == "unrelated")
    (like,) = cases.named(["edit-not-write"])
    logs = given.out.with_suffix("")
    logs.mkdir(exist_ok=True, parents=True)
    for arm in given.arms.split(","):
        log = logs / f"contradictions-{arm}.jsonl"
        log.unlink(missing_ok=True)
        over: dict[str, Any] = {"model": {"name": given.model}} if given.model else {}
        with tempfile.TemporaryDirectory(dir=logs) as folder:
            config = load(project=Path(folder), sets=(*ARMS[arm], *given.sets), over=over)
            plugins = Plugins(config.plugins)
            session = open_session(config, plugins, workspace=Path(folder), log=log, ui=ScriptedUI())
            rejected = 0
            for line in contradict(session, like, controls, given.times, given.every):
                with given.out.open("a") as file:
                    file.write(json.dumps({"arm": arm, **line}) + "\n")
                rejected += line.get("outcome") == "update_rejected"
                if "agreement" in line:
                    told = f"agreement {line['agreement']:.2f}, validity {line['validity']:.2f}"
                    print(f"{arm} after {line['number']}: {told}, {rejected} rejected", flush=True)
            session.close("measured")


if __name__ == "__main__":
    main()
