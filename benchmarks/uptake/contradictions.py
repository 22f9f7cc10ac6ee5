"""A user who contradicts themselves: 200 corrections in a row, each against the one before; what else breaks?

    python benchmarks/uptake/contradictions.py OUT.jsonl [--model NAME] [--times 200] [--arms gate,neither]

"Use edit_lines" and "Use write" in turn, on the same prompts, in one session an arm. Retention is measured on
the unrelated controls of rules.toml: the share on which the likeliest tool is still the base model's, how
much the distributions over tools share (a model that nearly always takes one tool hides much in its
likeliest), and whether what is said is a call at all. Arms: with the gate and without it, with anchors at
their weight and as good as none (the gate's probes come with anchors, so theirs is 1e-6 and not 0).

Appends a line a correction to OUT.jsonl, with the gate's figures (drift: mean KL of the probes, in nats;
kept: the share of them that stays), and retention on every `--every`-th, which it prints. It goes on where
it was stopped, in a fork of the log.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from logs import log_from  # beside this file

from continualcode.core.config import load
from continualcode.core.evaluation.cases import CaseRule, Control, load_cases
from continualcode.core.evaluation.estimates import overlap
from continualcode.core.evaluation.measure import Ruler, Settings
from continualcode.core.evaluation.teach import teach
from continualcode.core.events import UpdateApplied, UpdateRejected
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
    session: Session, like: CaseRule, controls: tuple[Control, ...], numbers: range, every: int
) -> Iterator[dict[str, Any]]:
    """Give the corrections of these `numbers`, a line each as it is done; number 0 is before any."""
    ruler, (one, other) = Ruler(session, Settings(draws=1)), WISHES
    rules = [against(one, other, session, like), against(other, one, session, like)]
    for number in numbers:
        line: dict[str, Any] = {"number": number}
        if number:
            lesson = teach(session, rules[number % 2], like.train[number // 2 % len(like.train)])
            line |= {"outcome": lesson.outcome, "steps": lesson.steps, "why": lesson.why}
            ended = next(reversed(session.transcript.outcomes.values()), None)
            if lesson.outcome != "not_made" and isinstance(ended, UpdateApplied | UpdateRejected):
                line["metrics"] = ended.metrics
        if number % every == 0 or number == numbers[-1]:
            looks = [ruler.control(control) for control in controls]
            line |= {
                "likeliest": [look.likeliest for look in looks],
                "tools": [look.tools for look in looks],
                "validity": fmean(look.valid for look in looks),
            }
        yield line | {"seq": session.log.next_seq - 1}


def agreement(line: dict[str, Any], base: dict[str, Any]) -> float:
    """The share of unrelated prompts on which the likeliest tool is the base model's."""
    return fmean(one == other for one, other in zip(line["likeliest"], base["likeliest"], strict=True))


def shared(line: dict[str, Any], base: dict[str, Any]) -> float:
    """How much of the base model's distributions over tools is left, the mean of Σ min(p, q)."""
    return fmean(overlap(one, other) for one, other in zip(line["tools"], base["tools"], strict=True))


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Contradicts itself; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--plugin", action="append", default=[], help="a module to load, such as a model's")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--arms", default="gate,neither", help=", ".join(ARMS))
    parser.add_argument("--set", dest="sets", action="append", default=[], help="such as trainer.max_steps=2")
    given = parser.parse_args()
    for arm in given.arms.split(","):
        if arm not in ARMS:
            parser.error(f"there is no arm {arm!r}; allowed: {', '.join(ARMS)}")
    cases = load_cases(Path(__file__).parent / "rules.toml")
    controls = tuple(control for control in cases.control if control.group == "unrelated")
    (like,) = cases.named(["edit-not-write"])
    logs = given.out.with_suffix("")
    logs.mkdir(exist_ok=True, parents=True)
    lines = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    for arm in given.arms.split(","):
        done = [line for line in lines if line["arm"] == arm]
        left = range(done[-1]["number"] + 1 if done else 0, given.times + 1)
        if not left:
            continue
        log = log_from(left[0], f"contradictions-{arm}", logs, done[-1] if done else None)
        over: dict[str, Any] = {"model": {"name": given.model}} if given.model else {}
        over["plugins"] = {"modules": given.plugin}
        with tempfile.TemporaryDirectory(dir=logs) as folder:
            config = load(project=Path(folder), sets=(*ARMS[arm], *given.sets), over=over)
            session = open_session(
                config,
                Plugins(config.plugins),
                workspace=Path(folder),
                log=log,
                ui=ScriptedUI(),
                resume=bool(done),
            )
            for found in contradict(session, like, controls, left, given.every):
                done.append({"arm": arm, **found, "log": log.name})
                with given.out.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                if "likeliest" in found:
                    rejected = sum(line.get("outcome") == "update_rejected" for line in done)
                    told = f"agreement {agreement(found, done[0]):.2f}, shared {shared(found, done[0]):.2f}"
                    told += f", validity {found['validity']:.2f}"
                    print(f"{arm} after {found['number']}: {told}, {rejected} rejected", flush=True)
            session.close("measured")


if __name__ == "__main__":
    main()
