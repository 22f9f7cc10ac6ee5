"""`cc replay LOG… --model NEW`, `--resample`: the corrections given again, in a session of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from continualcode.cli.evaluate import Unattended
from continualcode.cli.results import Comparison, as_text, result
from continualcode.cli.run import checkpoint_folder, new_log
from continualcode.cli.timeline import counted
from continualcode.core.config import Config
from continualcode.core.curriculum import Course
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.cases import Cases
from continualcode.core.evaluation.measure import Figures, Ruler, Settings
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy, Progress
from continualcode.core.provenance import hand_out, manifest
from continualcode.core.replay import trainers_of
from continualcode.core.retelling import Reteller, Retold, RetoldCorrection, chosen_trainer
from continualcode.core.retraining import Changes
from continualcode.core.session import Session, open_session

CAME = {
    "learned": "learned",
    "agreed": "agreed already",
    "rejected": "rejected by the gate",
    "not_made": "mistake not made",
    "failed": "could not be done",
    "left_out": "left out",
}
"""How a correction came out, in words."""


@dataclass(frozen=True)
class Asked:
    """Where the new log goes (None: a new name), what to measure, where to hand the weights out."""

    log: Path | None = None
    resume: bool = False
    cases: Cases | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Told:
    """What came of it, with the new log; `compared`: the cases with the base model and afterwards."""

    found: Retold
    log: Path
    model: str
    compared: Comparison | None


def retell(
    courses: Sequence[Course],
    policy: Policy,
    config: Config,
    plugins: Plugins,
    changes: Changes,
    asked: Asked,
    progress: Progress,
) -> Told:
    """Give the corrections to `policy`, which is closed; then measure, and hand the weights out."""
    started = courses[0].started
    there = Path(started.workspace)
    workspace = there if there.is_dir() else Path()
    log = asked.log or new_log(config, Path(f"{courses[0].name}-on-{policy.model.name.rpartition('/')[2]}"))
    if asked.resume and not log.exists():
        raise UsageError(f"--resume goes on with the log that was begun: name it, --log FILE; {log} is none")
    config = msgspec.structs.replace(
        config,
        trainer=chosen_trainer(started, changes)[1],
        session=msgspec.structs.replace(config.session, train=True),
    )
    policy.reset()
    session = open_session(
        config,
        plugins,
        workspace=workspace,
        log=log,
        resume=asked.resume,
        ui=Unattended(progress),
        policy=policy,
        checkpoints=checkpoint_folder(),
    )
    try:
        if session.notice:
            session.ui.message(session.notice)
        found = Reteller(courses, session, trainers_of(plugins), changes, progress).run()
        compared = _compared(session, asked.cases, log.stem, progress) if asked.cases else None
        if asked.out is not None:
            hand_out(policy, asked.out, manifest(policy, courses, changes, found))
        return Told(found, log, policy.model.name, compared)
    finally:
        session.close("retold")


def _compared(session: Session, cases: Cases, label: str, progress: Progress) -> Comparison:
    """The cases with the base model and with the weights at hand, which the policy has afterwards."""
    policy, ruler = session.policy, Ruler(session, Settings(draws=4, max_tokens=96))
    after: Figures = ruler.measure(cases, progress=progress)
    learned = policy.snapshot()
    policy.reset()
    try:
        before = ruler.measure(cases, progress=progress)
    finally:
        policy.restore(learned)
    return Comparison(cases=cases, labels=("base", label), before=before, after=after)


# -- In words ------------------------------------------------------------------------------------------


def as_told(told: Told) -> bytes:
    """What `--json` prints."""
    cases = result(told.compared) if told.compared is not None else None
    return msgspec.json.encode(
        {"log": str(told.log), "model": told.model, **msgspec.to_builtins(told.found), "cases": cases}
    )


def describe_told(told: Told) -> str:
    """Each correction, then what it came to."""
    corrections = told.found.corrections
    several = len({one.log for one in corrections}) > 1
    lines = [line for one in corrections for line in _correction(one, several)]
    counts = ", ".join(f"{n} {CAME[name]}" for name in CAME if (n := told.found.count(name)))
    lines.append(f"{counted(len(corrections), 'correction')} on {told.model}: {counts or 'none'}")
    measured = [
        (one.before, one.after) for one in corrections if one.before is not None and one.after is not None
    ]
    if measured:
        before, after = (sum(figures) / len(measured) for figures in zip(*measured, strict=True))
        lines.append(
            f"P(a call of the rejected tool), the correction absent, mean of {len(measured)} turns: "
            f"{before:.2f} with the base model, {after:.2f} now"
        )
    lines += [
        f"weights {told.found.weights[:12]}, in {told.log}",
        f"  go on with it: cc run --resume {told.log}",
        f"  check it: cc replay --verify {told.log}",
    ]
    if told.compared is not None:
        lines += ["", as_text(told.compared)]
    return "\n".join(lines)


def _correction(one: RetoldCorrection, several: bool) -> Iterator[str]:
    words = one.words if len(one.words) < 60 else one.words[:57] + "…"
    number = f"{one.log}@{one.seq}" if several else str(one.seq)
    mark = "+" if one.outcome == "learned" else "-"
    yield f"{mark} {number} {one.kind}, {one.by}: {words}"
    steps = f" in {one.steps} step{'s' if one.steps != 1 else ''}" if one.outcome == "learned" else ""
    why = f": {one.why}" if one.why else ""
    drawn = f" (call {one.attempts})" if one.attempts > 1 and one.outcome != "not_made" else ""
    figures = (
        f"; {one.tool} {one.before:.2f} → {one.after:.2f}"
        if one.before is not None and one.after is not None
        else ""
    )
    yield f"    {CAME[one.outcome]}{steps}{drawn}{why}{figures}"
