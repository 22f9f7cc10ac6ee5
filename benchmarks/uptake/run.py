"""Does the mistake come back? One correction, three, twelve; ours beside other uses of the same correction.

    python benchmarks/uptake/run.py OUT.jsonl                     # every arm: one correction each, sequences
    python benchmarks/uptake/run.py OUT.jsonl --arms none,sdpo --sequences "" --rules edit-not-write

Appends one line a measurement to OUT.jsonl and goes on where it was stopped; `report.py OUT.jsonl` makes
tables, curves and a plot of it, `verify.py OUT.jsonl` replays every log that was written beside it.

One correction: each rule is taught in a session of its own on the base model (arm × rule × seed). Sequences:
twelve rules one after the other in one session, measured after the first, the third and the twelfth. What is
measured is the held-out prompts of the rules and the controls, the correction absent (but in the arm
`context`, which is told it with every prompt, and taught nothing). Arms are described in `arms.py`.

A seed is another beginning: the untrained adapter's, the draws', and which training prompt comes first
(seed 0: the first one; at temperature 0, the default, draws alone would change nothing that is learned). A
prompt on which the model makes no such mistake is followed by the rule's next one.

`retry` is the first thing that a user sees of an update: after its call was denied the model is asked again,
in the same conversation. With `--set session.train=false` it is what the words alone do there.

Not a timed benchmark: seconds are written down, but other work on the machine shows in them. Tokens through
the model (`lessons.Meter`) are exact.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from lessons import Meter, teach_with_retry  # beside this file
from logs import log_from, remove

from continualcode.core.config import load
from continualcode.core.evaluation.cases import Case, CaseRule, Cases, load_cases
from continualcode.core.evaluation.measure import CaseFigures, Ruler, Settings
from continualcode.core.evaluation.teach import Lesson, teach
from continualcode.core.events import UpdateApplied, UpdateRejected
from continualcode.core.plugins import Plugins
from continualcode.core.session import Session, open_session
from continualcode.core.testing import ScriptedUI
from continualcode.core.transcript import DENIED

HERE = Path(__file__).parent
UNTAUGHT = ("none", "context")
ARMS: dict[str, tuple[str, ...]] = {
    "none": (),
    "context": (),
    "original": ("model.acts_on=all", "model.upper=1.0", "trainer.name=original"),
    "sft": ("trainer.name=sft",),
    "sdpo": (),
    # Ours on what `sft` learns, the call approved after the denial; the second with that as the target.
    "retry": (),
    "retry-imitation": ("trainer.teacher=completion",),
    # The original at three steps and at ten: less than our FLOPs, and as many or more.
    "original-3": ("model.acts_on=all", "model.upper=1.0", "trainer.name=original", "trainer.max_steps=3"),
    "original-10": ("model.acts_on=all", "model.upper=1.0", "trainer.name=original", "trainer.max_steps=10"),
    # What ours is made of, one thing changed.
    "imitation": ("trainer.teacher=completion",),
    "all-tokens": ("model.acts_on=all", "model.upper=1.0", "trainer.lr=5e-5", "trainer.divergence_floor=0.4"),
    "no-anchors": ("trainer.anchors=0", "trainer.gate=false"),
    "no-guidance": ("trainer.guidance=1",),
}
"""Settings by arm."""
AFTER = (1, 3, 12)
"""How many rules have been taught when a sequence is measured."""


PLUGINS: list[str] = []
"""Modules besides `arms` (`--plugin`)."""

SETS: list[str] = []
"""Settings of every arm (`--set`), such as model.dtype=float32 on a GPU."""


def opened(arm: str, log: Path, workspace: Path, model: str | None, seed: int, resume: bool) -> Session:
    """A session on the base model with the arm's trainer; with `resume`, at the end of `log`."""
    over: dict[str, Any] = {"model": {"name": model}} if model else {}
    over["plugins"] = {"modules": ["arms", *PLUGINS]}
    seeds = f"sampling.seed={seed}", f"model.adapter_seed={seed}"
    config = load(project=workspace, sets=(*SETS, *ARMS[arm], *seeds), over=over)
    plugins = Plugins(config.plugins)
    return open_session(config, plugins, workspace=workspace, log=log, ui=ScriptedUI(), resume=resume)


def told(rule: CaseRule) -> CaseRule:
    """The rule with its correction said before every held-out prompt."""
    cases = (msgspec.structs.replace(c, prompt=f"{rule.correction}\n\n{c.prompt}") for c in rule.held_out)
    return msgspec.structs.replace(rule, held_out=tuple(cases))


def lesson(arm: str, session: Session, rule: CaseRule, case: Case) -> Lesson:
    """One correction, used as the arm uses it."""
    retries = arm in ("sft", "retry", "retry-imitation")
    return teach_with_retry(session, rule, case) if retries else teach(session, rule, case)


class Bench:
    """Measures, and writes down. A line is named by setting, arm, rule, seed, and how many were taught."""

    def __init__(self, out: Path, cases: Cases, settings: Settings, model: str | None, seed: int) -> None:
        self.out, self.cases, self.settings, self.model, self.seed = out, cases, settings, model, seed
        lines = out.read_text().splitlines() if out.exists() else []
        self.done = {key(one): one for one in map(json.loads, lines)}
        self.logs = out.with_suffix("")
        self.logs.mkdir(exist_ok=True, parents=True)

    def one(self, arm: str, rule: CaseRule, lessons: int, **said: Any) -> None:
        """Teach one rule in a session of its own, and measure it. said: what else the line says."""
        if ("one", arm, rule.name, self.seed, lessons) in self.done:
            return
        log = self.logs / f"{arm}-{rule.name}-{self.seed}.jsonl"
        remove(log)
        with tempfile.TemporaryDirectory(dir=self.logs) as folder:
            session = opened(arm, log, Path(folder), self.model, self.seed, False)
            try:
                meter, taught = Meter(session), list[Any]()
                if arm not in UNTAUGHT:
                    taught = self.teach(arm, session, rule, lessons)
                cost = meter.read()
                ruler = Ruler(session, self.settings)
                again = retry(session, ruler, rule)
                held = [
                    ruler.case(case, rule) for case in (told(rule) if arm == "context" else rule).held_out
                ]
                known = arm == "context" or (arm == "none" and rule is not self.cases.rule[0])
                self.write(
                    *("one", arm, rule.name, lessons),
                    lessons=msgspec.to_builtins(taught),
                    updates=updates(session),
                    cost=cost,
                    retry=again,
                    controls=None if known else self.controls(ruler),
                    **figures(held),
                    **said,
                )
            finally:
                session.close("measured")

    def sequence(self, arm: str, rules: tuple[CaseRule, ...]) -> None:
        """Teach all, one prompt each, in one session; measure on the way."""
        before = [one for one in self.done.values() if (one["setting"], one["arm"]) == ("sequence", arm)]
        before = [one for one in before if one["seed"] == self.seed and "log" in one]
        last = max(before, key=lambda one: one["taught"], default=None)
        known, end = last["taught"] if last else 0, len(rules)
        if known == end and (end not in AFTER or ("sequence", arm, "", self.seed, end) in self.done):
            return
        log = log_from(known + 1, f"sequence-{arm}-{self.seed}", self.logs, last)
        with tempfile.TemporaryDirectory(dir=self.logs) as folder:
            session = opened(arm, log, Path(folder), self.model, self.seed, last is not None)
            try:
                meter, ruler = Meter(session), Ruler(session, self.settings)
                for number, rule in enumerate(rules, 1):
                    if number > known:
                        taught = self.teach(arm, session, rule, 1)
                        cost, seq = meter.read(), session.log.next_seq - 1
                        fresh = figures([ruler.case(case, rule) for case in rule.held_out])
                        found = {"lessons": msgspec.to_builtins(taught), "cost": cost, **fresh}
                        self.write("sequence", arm, rule.name, number, log=log.name, seq=seq, **found)
                    elif number < known:
                        continue
                    if number in AFTER:
                        self.look_back(arm, rules[: number - 1], number, ruler)
            finally:
                session.close("measured")

    def teach(self, arm: str, session: Session, rule: CaseRule, corrections: int) -> list[Lesson]:
        """So many corrections: where a training prompt brings no mistake about, on the next one."""
        taught: list[Lesson] = []
        for case in self.prompts(rule):
            if sum(one.outcome != "not_made" for one in taught) == corrections:
                break
            taught.append(lesson(arm, session, rule, case))
        return taught

    def look_back(self, arm: str, rules: tuple[CaseRule, ...], number: int, ruler: Ruler) -> None:
        """What is left of rules that were taught earlier, and what else changed, after `number` of them."""
        for rule in rules:
            if ("sequence", arm, rule.name, self.seed, number) not in self.done:
                held = [ruler.case(case, rule) for case in rule.held_out]
                self.write("sequence", arm, rule.name, number, **figures(held))
        if ("sequence", arm, "", self.seed, number) not in self.done:
            self.write("sequence", arm, "", number, controls=self.controls(ruler))

    def prompts(self, rule: CaseRule) -> tuple[Case, ...]:
        """The rule's training prompts, in this seed's order."""
        first = self.seed % len(rule.train)
        return *rule.train[first:], *rule.train[:first]

    def controls(self, ruler: Ruler) -> list[Any]:
        """Every control on the weights as they are."""
        return [msgspec.to_builtins(ruler.control(control)) for control in self.cases.control]

    def write(self, setting: str, arm: str, rule: str, taught: int, **found: Any) -> None:
        """One line."""
        name = {"setting": setting, "arm": arm, "rule": rule, "seed": self.seed, "taught": taught}
        line = {**name, **found}
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.done[key(line)] = line
        print(setting, arm, taught, rule, f"{found.get('violates', float('nan')):.3f}", flush=True)


def key(line: dict[str, Any]) -> tuple[str, str, str, int, int]:
    """What a line is about."""
    return line["setting"], line["arm"], line["rule"], line["seed"], line["taught"]


def figures(held: list[CaseFigures]) -> dict[str, Any]:
    """Means over the held-out prompts, and each of them."""
    return {
        "violates": fmean(one.violates for one in held),
        "obeys": fmean(one.obeys for one in held),
        "cases": [(one.violates, one.obeys) for one in held],
    }


def retry(session: Session, ruler: Ruler, rule: CaseRule) -> tuple[float, float] | None:
    """P(mistake) and P(obeyed) where the model is asked again: after its call was denied; None: none was."""
    messages = session.transcript.messages
    if not messages or not messages[-1].text.startswith(DENIED):
        return None
    ids = session.policy.render(messages, session.transcript.tools)
    found = ruler.judged(ids, rule, session.workspace)
    return found.violates, found.obeys


def updates(session: Session) -> list[dict[str, Any]]:
    """How each update came out."""
    outcomes = session.transcript.outcomes.values()
    return [
        {"steps": one.steps, "divergence": one.divergence, "metrics": one.metrics, "seconds": one.seconds}
        for one in outcomes
        if isinstance(one, UpdateApplied | UpdateRejected)
    ]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Measures how corrections are taken up; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", default="none,context,original,sft,sdpo", help=", ".join(ARMS))
    parser.add_argument(
        "--sequences", default="original,sft,sdpo", help="arms to teach twelve rules in a row"
    )
    parser.add_argument("--rules", default="all")
    parser.add_argument("--cases", type=Path, default=HERE / "rules.toml")
    parser.add_argument("--model")
    parser.add_argument("--plugin", action="append", default=[], help="a module to load, such as a model's")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="such as trainer.max_steps=2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lessons", type=int, default=1, help="corrections a rule")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=48)
    given = parser.parse_args()
    for arm in filter(None, (*given.arms.split(","), *given.sequences.split(","))):
        if arm not in ARMS:
            parser.error(f"there is no arm {arm!r}; allowed: {', '.join(ARMS)} (TRL's are run by trl_arm.py)")
    PLUGINS.extend(given.plugin)
    SETS.extend(given.sets)
    cases = load_cases(given.cases)
    rules = cases.rule if given.rules == "all" else cases.named(given.rules.split(","))
    settings = Settings(draws=given.draws, max_tokens=given.max_tokens)
    bench = Bench(given.out, cases, settings, given.model, given.seed)
    for arm in filter(None, given.arms.split(",")):
        for rule in rules:
            bench.one(arm, rule, given.lessons)
    for arm in filter(None, given.sequences.split(",")):
        bench.sequence(arm, rules[: AFTER[-1]])


if __name__ == "__main__":
    main()
