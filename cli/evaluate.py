"""`cc eval CASES.toml`: how often corrected mistakes come back, the correction absent; what else changed."""

import contextlib
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import msgspec

from continualcode.cli.output import progress_on_stderr
from continualcode.cli.results import Comparison, as_text, result
from continualcode.cli.run import configuration, new_log, session_options
from continualcode.core.config import Config
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.cases import CaseRule, Cases, load_cases
from continualcode.core.evaluation.measure import Figures, Ruler, Settings
from continualcode.core.evaluation.teach import Lesson, teach
from continualcode.core.events import SessionStarted, UpdateApplied, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Progress
from continualcode.core.replay import take_weights, trainers_of
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session, open_session
from continualcode.eventlog import Record, read

BASE = "base"
"""The weights before any correction, as `--compare` and `--weights` name them."""


@click.command("eval")
@click.argument("cases", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The weights that this log ends in, next to the base model.",
)
@click.option("--weights", metavar="DIGEST", help="Those of --log with this digest , or its beginning; base.")
@click.option("--compare", nargs=2, metavar="A B", help="Two weights: base, LOG, LOG@SEQ or LOG@DIGEST.")
@click.option(
    "--teach", "taught", metavar="RULE[,RULE…]", help="Teach these rules (all: every one); before and after."
)
@click.option("--only", metavar="RULE[,RULE…]", help="Measure only these rules.")
@click.option(
    "-n", "--draws", type=click.IntRange(1), default=4, show_default=True, help="Calls drawn a case."
)
@click.option(
    "--max-tokens", type=click.IntRange(8), default=96, show_default=True, help="The longest call drawn."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first draw.")
@click.option("--json", "as_json", is_flag=True, help="Print one object: rules, controls, groups, overall, …")
@session_options
def evaluate(
    cases: Path,
    log: Path | None,
    weights: str | None,
    compare: tuple[str, str] | None,
    taught: str | None,
    only: str | None,
    draws: int,
    max_tokens: int,
    seed: int,
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Measure on CASES how often mistakes are made, the correction absent from the context.

    Each rule is measured on its held-out prompts: recurrence, P(a call that breaks it), and obedience, P(a
    call that follows it). Controls: is the same tool chosen, is it a call at all. Tool choices are exact
    probabilities; where arguments decide, -n calls of each tool are drawn.
    """
    if sum(given is not None for given in (log, compare, taught)) > 1:
        raise UsageError("--log, --compare and --teach each say which weights to measure: give one of them")
    if weights not in (None, BASE) and log is None:
        raise UsageError(f"--weights {weights} is looked up in a log: give it with --log LOG")
    loaded = load_cases(cases)
    rules = loaded.named(only.split(",")) if only else None
    learn = _taught(loaded, taught)
    if learn and rules is None:
        rules = learn
    sides = _sides(log, weights, compare)
    progress = progress_on_stderr()
    config = configuration(
        Path(),
        model=model,
        modules=modules,
        disable=disable,
        sets=sets,
        recorded=recorded_model(sides) if model is None else None,
    )
    settings = Settings(draws=draws, max_tokens=max_tokens, seed=seed)
    with measuring_session(config, progress, keep=cases.stem if learn else None) as session:
        ruler = Ruler(session, settings)
        before, after = (_measured(side, session, ruler, loaded, rules, progress) for side in sides)
        lessons: list[Lesson] = []
        if learn:
            for rule in learn:
                for case in rule.train:
                    lessons.append(teach(session, rule, case))
                    click.echo(in_words(lessons[-1]), err=True)
            after = ruler.measure(loaded, rules, progress)
        path = session.log.path if learn else None
    assert before is not None  # the first side always names weights
    found = Comparison(
        cases=loaded,
        labels=(sides[0].label, "taught" if learn else sides[1].label if sides[1] else ""),
        before=before,
        after=after,
        lessons=tuple(lessons),
        log=str(path) if path else None,
    )
    click.echo(msgspec.json.encode(result(found)) if as_json else as_text(found))


# -- Which weights -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """Weights to measure: the base model's (no log), or those of a log: the last, at an event, by digest."""

    label: str
    log: Path | None = None
    seq: int | None = None
    digest: str = ""

    def records(self, plugins: Plugins) -> Iterator[Record]:
        """The log's records up to where the weights are. UsageError says what there is instead."""
        assert self.log is not None
        known: list[str] = []
        for record in read(self.log, event_registry(plugins.event_types())):
            if self.seq is not None and record.seq > self.seq:
                return
            yield record
            digest = record.weights if isinstance(record, SessionStarted | UpdateApplied) else None
            if digest is not None:
                known.append(digest[:12])
                if self.digest and digest.startswith(self.digest):
                    return
        if self.digest:
            raise UsageError(
                f"{self.log} has no weights {self.digest}…; it has been through {', '.join(known)}"
            )


def _sides(
    log: Path | None, weights: str | None, compare: tuple[str, str] | None
) -> tuple[Side, Side | None]:
    if compare is not None:
        return _side(compare[0]), _side(compare[1])
    if log is not None and weights != BASE:
        return Side(BASE), Side(log.name, log, digest=weights or "")
    return Side(BASE), None


def _side(spec: str) -> Side:
    if spec == BASE:
        return Side(BASE)
    if Path(spec).is_file():
        return Side(spec, Path(spec))
    name, _, at = spec.rpartition("@")
    if name and Path(name).is_file():
        if at.isdecimal() and len(at) < 8:  # a shorter beginning of a digest would be a bad name anyway
            return Side(spec, Path(name), seq=int(at))
        return Side(spec, Path(name), digest=at)
    raise UsageError(f"{spec!r} names no weights: {BASE}, a log, LOG@SEQ or LOG@DIGEST does")


def recorded_model(sides: Sequence[Side | None]) -> dict[str, object] | None:
    """The model that the first of the logs was recorded on."""
    for side in sides:
        if side is not None and side.log is not None:
            first = next(iter(read(side.log, event_registry())), None)
            if not isinstance(first, SessionStarted):
                raise UsageError(f"{side.log} does not begin with a session: no weights come from it")
            return dict(first.config["model"])
    return None


def _measured(
    side: Side | None,
    session: Session,
    ruler: Ruler,
    cases: Cases,
    rules: Sequence[CaseRule] | None,
    progress: Progress,
) -> Figures | None:
    """The figures on the weights of `side`; the policy has those of the base afterwards."""
    if side is None:
        return None
    try:
        if side.log is not None:
            take_weights(
                side.records(session.plugins), session.policy, trainers_of(session.plugins), progress
            )
        return ruler.measure(cases, rules, progress)
    finally:
        session.policy.reset()


# -- Teaching ------------------------------------------------------------------------------------------


def _taught(cases: Cases, names: str | None) -> tuple[CaseRule, ...]:
    if names is None:
        return ()
    rules = cases.rule if names == "all" else cases.named(names.split(","))
    for rule in rules:
        if not rule.train:
            raise UsageError(f"the rule {rule.name!r} has no [[rule.train]] to be taught on")
    return rules


def in_words(lesson: Lesson) -> str:
    """What came of one training prompt, in a line."""
    asked = f"{lesson.rule}: “{lesson.prompt if len(lesson.prompt) < 50 else lesson.prompt[:47] + '…'}”"
    drawn = "the first call" if lesson.attempts == 1 else f"call {lesson.attempts}"
    match lesson.outcome:
        case "not_made":
            return f"{asked}: the mistake was not made in {lesson.attempts} calls; nothing to correct"
        case "update_applied":
            return f"{asked}: {drawn} broke the rule; learned in {lesson.steps} steps"
        case "update_rejected":
            return f"{asked}: {drawn} broke the rule; not kept: {lesson.why}"
        case _:
            return f"{asked}: {drawn} broke the rule; nothing learned: {lesson.why}"


# -- The session ---------------------------------------------------------------------------------------


class Unattended:
    """A UI that nobody sits at: progress on stderr, no input, and no call is ever allowed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def next_input(self, session: Session) -> str | None:
        """Nothing."""
        return None

    def review(self, question: Question, session: Session) -> Answer:
        """Measuring and teaching decide for themselves; whatever else asks gets a no."""
        return Answer(verdict="deny", reason="nobody is here to allow it", train=False)

    def event(self, record: Record, session: Session) -> None:
        """Not shown."""

    def text(self, piece: str) -> None:
        """Not shown."""

    def progress(self, label: str, done: int, total: int) -> None:
        """On stderr."""
        self._progress(label, done, total)

    def message(self, text: str) -> None:
        """On stderr."""
        click.echo(text, err=True)


@contextlib.contextmanager
def measuring_session(config: Config, progress: Progress, *, keep: str | None) -> Generator[Session]:
    """A session in an empty folder; its log is kept with the other sessions' under the name `keep`."""
    with tempfile.TemporaryDirectory(prefix="continualcode-eval-") as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        log = new_log(config, Path(f"eval-{keep}")) if keep else Path(folder) / "scratch.jsonl"
        plugins = Plugins(config.plugins)
        session = open_session(config, plugins, workspace=workspace, log=log, ui=Unattended(progress))
        try:
            yield session
        finally:
            sys.stderr.flush()
            session.close("evaluated")
