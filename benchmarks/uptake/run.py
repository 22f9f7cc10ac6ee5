"""Does the mistake come back? One correction, three, twelve; ours beside other uses of the same correction.

    python benchmarks/uptake/run.py OUT.jsonl --arms none,context,original,sdpo [--rules all] [--seed 0]
    python benchmarks/uptake/run.py OUT.jsonl --arms sequence

Appends one line a measurement to OUT.jsonl and goes on where it was stopped; `report.py OUT.jsonl` makes the
table. Each rule is taught in a session of its own (arm × rule × seed), its log beside OUT; what is measured
is its held-out prompts, and the controls, the correction absent (but in the arm `context`). `sequence`
teaches one rule after the other in one session, and measures after 1, 3, 6 and 12 of them.

Not a timed benchmark: seconds are written down, but other work on the machine shows in them.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from continualcode.core.config import load
from continualcode.core.evaluation.cases import CaseRule, Cases, load_cases
from continualcode.core.evaluation.estimates import overlap
from continualcode.core.evaluation.measure import CaseFigures, ControlFigures, Ruler, Settings
from continualcode.core.evaluation.teach import teach
from continualcode.core.events import UpdateApplied, UpdateRejected
from continualcode.core.plugins import Plugins
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI

HERE = Path(__file__).parent
PAPER = (
    "model.acts_on=all",
    "divergence_floor=1e-4",
    "rows=sample",
    "teacher=live",
    "guidance=1",
    "anchors=0",
    "rehearsal=0",
    "gate=false",
)
ARMS: dict[str, tuple[str, ...]] = {
    # continualcode 0.6.0: one Adam step on the sampled tokens' advantages.
    "original": (*PAPER, "divergence=sampled", "aggregation=token_mean", "lr=4.9e-4", "max_steps=1"),
    # The same rows and teacher, whole distributions, several small steps.
    "live": (*PAPER, "aggregation=token_mean", "lr=3e-5", "max_steps=6"),
    # The same demonstrations, imitated instead of distilled.
    "sft": ("teacher=completion", "anchors=0", "rehearsal=0", "gate=false"),
    "sdpo": (),
    # LoRA on the prompt's tokens as well; smaller steps, as large ones do harm there.
    "all-tokens": ("model.acts_on=all", "lr=5e-5", "divergence_floor=0.4"),
    "no-anchors": ("anchors=0", "gate=false"),
    "no-guidance": ("guidance=1",),
}
"""Settings by arm, of the trainer where they name no table."""
AFTER = (1, 3, 6, 12)
"""How many rules have been taught when the sequence is measured."""


def opened(arm: str, log: Path, workspace: Path, model: str | None, seed: int) -> Session:
    """A session on the base model with the arm's trainer."""
    sets = [each if each.startswith("model.") else f"trainer.{each}" for each in ARMS.get(arm, ())]
    sets.append(f"sampling.seed={seed}")
    over: dict[str, Any] = {"model": {"name": model}} if model else {}
    config = load(project=workspace, sets=sets, over=over)
    return open_session(config, Plugins(config.plugins), workspace=workspace, log=log, ui=ScriptedUI())


def told(rule: CaseRule) -> CaseRule:
    """The rule with its correction said before every held-out prompt."""
    cases = (msgspec.structs.replace(c, prompt=f"{rule.correction}\n\n{c.prompt}") for c in rule.held_out)
    return msgspec.structs.replace(rule, held_out=tuple(cases))


class Bench:
    """Measures, and writes down."""

    def __init__(self, out: Path, cases: Cases, settings: Settings, model: str | None, seed: int) -> None:
        self.out, self.cases, self.settings, self.model, self.seed = out, cases, settings, model, seed
        lines = out.read_text().splitlines() if out.exists() else []
        self.done = {(one["arm"], one["rule"], one["seed"]): one for one in map(json.loads, lines)}

    def one(self, arm: str, rule: CaseRule, lessons: int) -> None:
        """Teach one rule in a session of its own, and measure it."""
        if (arm, rule.name, self.seed) in self.done:
            return
        logs = self.out.with_suffix("")
        logs.mkdir(exist_ok=True)
        log = logs / f"{arm}-{rule.name}-{self.seed}.jsonl"
        log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            session = opened(arm, log, Path(folder), self.model, self.seed)
            try:
                began = time.perf_counter()
                taught: list[dict[str, Any]] = []
                if arm not in ("none", "context"):
                    taught = [msgspec.to_builtins(teach(session, rule, c)) for c in rule.train[:lessons]]
                seconds = time.perf_counter() - began
                ruler = Ruler(session, self.settings)
                asked = told(rule) if arm == "context" else rule
                held = [ruler.case(case, asked) for case in asked.held_out]
                measured = arm == "context" or (arm == "none" and rule is not self.cases.rule[0])
                controls = None if measured else self.controls(ruler)
                found = {"lessons": taught, "updates": updates(session), "seconds": seconds}
                self.write(arm, rule.name, {**found, **figures(held), "controls": controls})
            finally:
                session.close("measured")

    def sequence(self, rules: tuple[CaseRule, ...]) -> None:
        """Teach all, one prompt each, in one session; measure on the way."""
        logs = self.out.with_suffix("")
        logs.mkdir(exist_ok=True)
        log = logs / f"sequence-{self.seed}.jsonl"
        log.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            session = opened("sdpo", log, Path(folder), self.model, self.seed)
            try:
                ruler = Ruler(session, self.settings)
                for number, rule in enumerate(rules, 1):
                    lesson = msgspec.to_builtins(teach(session, rule, rule.train[0]))
                    fresh = figures([ruler.case(case, rule) for case in rule.held_out])
                    self.write("sequence-fresh", rule.name, {"lesson": lesson, "after": number, **fresh})
                    if number in (*AFTER, len(rules)):
                        for earlier in rules[:number]:
                            held = figures([ruler.case(case, earlier) for case in earlier.held_out])
                            self.write(f"sequence-{number}", earlier.name, held)
                        self.write(f"sequence-{number}", "", {"controls": self.controls(ruler)})
            finally:
                session.close("measured")

    def controls(self, ruler: Ruler) -> list[Any]:
        """Every control on the weights as they are."""
        return [msgspec.to_builtins(ruler.control(control)) for control in self.cases.control]

    def write(self, arm: str, rule: str, found: dict[str, Any]) -> None:
        """One line."""
        line = {"arm": arm, "rule": rule, "seed": self.seed, **found}
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(arm, rule, f"{found.get('violates', float('nan')):.3f}", flush=True)


def figures(held: list[CaseFigures]) -> dict[str, Any]:
    """Means over the held-out prompts, and each of them."""
    return {
        "violates": fmean(one.violates for one in held),
        "obeys": fmean(one.obeys for one in held),
        "cases": [(one.violates, one.obeys) for one in held],
    }


def updates(session: Session) -> list[dict[str, Any]]:
    """How each update came out."""
    outcomes = session.transcript.outcomes.values()
    return [
        {"steps": one.steps, "divergence": one.divergence, "metrics": one.metrics, "seconds": one.seconds}
        for one in outcomes
        if isinstance(one, UpdateApplied | UpdateRejected)
    ]


def agreement(before: list[Any], after: list[Any], group: str) -> tuple[float, float, float]:
    """Of controls as written down: the same likeliest tool, how much distributions share, calls at all."""
    chosen = [
        (msgspec.convert(one, ControlFigures), msgspec.convert(other, ControlFigures))
        for one, other in zip(before, after, strict=True)
        if one["group"] == group
    ]
    return (
        fmean(one.likeliest == other.likeliest for one, other in chosen),
        fmean(overlap(one.tools, other.tools) for one, other in chosen),
        fmean(other.valid for _, other in chosen),
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Measures how corrections are taken up; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", default="none,context,original,sdpo")
    parser.add_argument("--rules", default="all")
    parser.add_argument("--cases", type=Path, default=HERE / "rules.toml")
    parser.add_argument("--model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lessons", type=int, default=1, help="training prompts a rule")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    given = parser.parse_args()
    cases = load_cases(given.cases)
    rules = cases.rule if given.rules == "all" else cases.named(given.rules.split(","))
    settings = Settings(draws=given.draws, max_tokens=given.max_tokens)
    bench = Bench(given.out, cases, settings, given.model, given.seed)
    for arm in given.arms.split(","):
        if arm == "sequence":
            bench.sequence(rules)
        else:
            for rule in rules:
                bench.one(arm, rule, given.lessons)


if __name__ == "__main__":
    main()
