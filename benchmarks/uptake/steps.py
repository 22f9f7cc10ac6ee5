"""What each step of a logged first update does: to the mistake, and to everything else.

    python benchmarks/uptake/steps.py LOG RULE
    python benchmarks/uptake/steps.py LOG RULE beta1=0.9 divergence_floor=0.1

LOG is one that `run.py` wrote, RULE the one that it was taught first. Its update is carried out again, with
other settings of the trainer where they are given, and after each step the choice of tool is looked at: on
the rule's held-out prompts, on the controls, and on every fourth anchor. So it shows what where an update
ends does not: a step that went too far, and the way back. At the end each held-out prompt is told apart.

Nothing is planned anew: the rows are the logged ones, and settings that only those depend on change nothing.
Exact probabilities; no draws.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from run import opened  # beside this file

from continualcode.core.data import UpdatePlan
from continualcode.core.errors import ContinualCodeError, UsageError
from continualcode.core.evaluation.cases import Cases, load_cases
from continualcode.core.evaluation.measure import Ruler
from continualcode.core.events import SessionStarted, UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.session import Session
from continualcode.core.transcript import fold
from continualcode.core.workspace import Workspace
from continualcode.eventlog import LogError, read
from continualcode.plugins.trainers.sdpo import Sdpo

HERE = Path(__file__).parent
EVERY = 4
"""Of so many anchors one is looked at."""

Tools = Mapping[str, float]


class Watch:
    """Prompts of one sort, what the base model does on them, and what is done now."""

    def __init__(self, name: str, prompts: Sequence[tuple[int, ...]], session: Session) -> None:
        self._name, self._prompts, self._session = name, prompts, session
        self._before = self.now()

    def now(self) -> list[Tools]:
        """P(tool) on each prompt."""
        of = self._session.transcript
        return [self._session.policy.tool_probabilities(ids, of.grammar, of.tools) for ids in self._prompts]

    def told(self, tool: str) -> str:
        """How far `tool` moved, in log-odds; KL from the base model; where the likeliest tool is another."""
        now = self.now()
        pairs = list(zip(self._before, now, strict=True))
        odds = fmean(_log_odds(n[tool]) - _log_odds(b[tool]) for b, n in pairs)
        moved = fmean(_kl(b, n) for b, n in pairs)
        others = sum(_likeliest(before) != _likeliest(after) for before, after in pairs)
        return (
            f"{self._name}: {tool} {odds:+.2f}, KL {moved:.3f}, {others} of {len(now)} otherwise, "
            f"P({tool}) {fmean(n[tool] for n in now):.2f}"
        )

    def each(self, tool: str, marks: Sequence[str]) -> str:
        """Of each prompt, with its mark: the log-odds of `tool` before and now, and what is likeliest now."""
        return "; ".join(
            f"{mark} {_log_odds(before[tool]):+.1f} to {_log_odds(now[tool]):+.1f}, {_likeliest(now)}"
            for mark, before, now in zip(marks, self._before, self.now(), strict=True)
        )


def _likeliest(tools: Tools) -> str:
    return max(tools, key=tools.__getitem__)


def _log_odds(p: float) -> float:
    return math.log(max(p, 1e-6) / max(1.0 - p, 1e-6))


def _kl(before: Tools, now: Tools) -> float:
    return math.fsum(p * math.log(p / max(now[tool], 1e-9)) for tool, p in before.items() if p > 0.0)


def first_plan(log: Path, session: Session) -> tuple[UpdatePlan, str]:
    """The plan of the log's first update, and the tool of the call that it is about."""
    records = list(read(log, event_registry()))
    transcript = fold(records, session.feedback)
    started = next((record for record in records if isinstance(record, UpdateStarted)), None)
    if started is None:
        raise UsageError(f"{log}: no update was made in it; a log is wanted in which something was taught")
    plan = plan_of(started, transcript)
    call = transcript.sampled(plan.examples[0].sample).call
    if call is None:
        raise UsageError(f"{log}: its first update is about a turn that was no call, so no tool was rejected")
    return plan, call.tool


def with_settings(plan: UpdatePlan, given: Mapping[str, Any]) -> UpdatePlan:
    """The plan with other settings, in its objective and its optimiser as well."""
    settings = {**plan.settings, **given}
    parts = ((plan.objective, "objective"), (plan.optimiser, "optimiser"))
    changed = {
        name: msgspec.structs.replace(part, **{k: v for k, v in given.items() if hasattr(part, k)})
        for part, name in parts
    }
    return msgspec.structs.replace(plan, settings=settings, **changed)


def prompts(ruler: Ruler, cases: Sequence[Any]) -> list[tuple[int, ...]]:
    """As the model sees them."""
    found: list[tuple[int, ...]] = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            found.append(ruler.prompt(case, Workspace(Path(folder))))
    return found


def follow(session: Session, log: Path, cases: Cases, name: str, given: Mapping[str, Any]) -> None:
    """Carry the update out, and print a line a step."""
    plan, tool = first_plan(log, session)
    plan = with_settings(plan, given)
    (rule,) = cases.named([name])
    ruler = Ruler(session)
    held = [row.prompt_ids for row in plan.examples if row.part == "anchor" and row.weight][::EVERY]
    watched = [
        Watch("held-out", prompts(ruler, rule.held_out), session),
        Watch("controls", prompts(ruler, cases.control), session),
        Watch("anchors", held, session),
    ]

    last = 0

    def told(step: int, _: int) -> None:
        nonlocal last
        last = step
        print(step, *(watch.told(tool) for watch in watched), sep=" | ", flush=True)

    told(0, 0)
    outcome = Sdpo().update(plan, session.policy, told)
    if outcome.steps != last:  # it went back
        told(outcome.steps, 0)
    print(f"{outcome.steps} steps, {outcome.rejected or 'applied'}, {outcome.metrics}")
    marks = ["after a call" if case.history else "at the start" for case in rule.held_out]
    print(f"held-out, log-odds of {tool}: {watched[0].each(tool, marks)}")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Follows an update step by step; see the docstring.")
    parser.add_argument("log", type=Path)
    parser.add_argument("rule")
    parser.add_argument("settings", nargs="*", help="of the trainer, as NAME=JSON")
    parser.add_argument("--cases", type=Path, default=HERE / "rules.toml")
    given = parser.parse_args()
    try:
        changed = {
            name: json.loads(value) for name, _, value in (one.partition("=") for one in given.settings)
        }
    except ValueError:
        parser.error(f"settings: {' '.join(given.settings)}: as NAME=JSON, for example beta1=0.9 gate=false")
    try:
        began = next(r for r in read(given.log, event_registry()) if isinstance(r, SessionStarted))
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / "log.jsonl"
            session = opened("sdpo", scratch, Path(folder), began.model.name, began.model.adapter.seed, False)
            try:
                follow(session, given.log, load_cases(given.cases), given.rule, changed)
            finally:
                session.close("followed")
    except (ContinualCodeError, LogError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
