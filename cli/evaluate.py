"""`cc eval CASES.toml`: how often corrected mistakes come back, the correction absent; what else changed."""

import contextlib
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import click
import msgspec

from continualcode.cli.output import note_on_stderr, progress_on_stderr
from continualcode.cli.results import Comparison, as_text, result
from continualcode.cli.run import configuration, log_folder, new_log, session_options
from continualcode.cli.sides import Side, recorded_model, two_sides
from continualcode.core.config import Config
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.cases import CaseRule, Cases, load_cases, unknown_tools
from continualcode.core.evaluation.measure import Figures, Ruler, Settings
from continualcode.core.evaluation.staging import refuse_histories
from continualcode.core.evaluation.teach import Lesson, teach
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Progress
from continualcode.core.review import Answer, Question
from continualcode.core.session import Session, open_session
from continualcode.eventlog import Record


@click.command("eval")
@click.argument("cases", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The weights that this log ends in, next to the base model.",
)
@click.option(
    "--weights",
    metavar="DIGEST",
    help="Weights by digest, or its beginning: of --log, a session, or kept.",
)
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
    if weights is not None and log is None and (compare or taught):
        raise UsageError(
            "--weights, --compare and --teach each say which weights to measure: give one of them"
        )
    loaded = load_cases(cases)
    rules = loaded.named(only.split(",")) if only is not None else None
    learn = _taught(loaded, taught)
    if learn and rules is None:
        rules = learn
    progress = progress_on_stderr()
    configured = partial(configuration, Path(), model=model, modules=modules, disable=disable, sets=sets)
    config = configured()
    sides = two_sides(log, weights, compare, log_folder(config))
    if model is None and (recorded := recorded_model(sides)) is not None:
        config = configured(recorded=recorded)
    settings = Settings(draws=draws, max_tokens=max_tokens, seed=seed)
    for rule in loaded.rule if rules is None else rules:
        if not rule.held_out:
            click.echo(f"note: rule {rule.name!r} has no [[rule.held_out]]: it is not measured", err=True)
    with measuring_session(config, progress, keep=cases.stem if learn else None) as session:
        for said in unknown_tools(loaded, session.tools):
            click.echo(f"note: {said}", err=True)
        refuse_histories(loaded, session.tools)
        for side in sides:
            if side is not None and side.log is not None:
                deque(side.records(session.plugins), maxlen=0)  # says what is wrong with it before the wait
        ruler = Ruler(session, settings)
        before, after = (_measured(side, session, ruler, loaded, rules) for side in sides)
        lessons: list[Lesson] = []
        if learn:
            for rule in learn:
                for case in rule.train:
                    lessons.append(teach(session, rule, case))
                    note_on_stderr(in_words(lessons[-1]))
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


def _measured(
    side: Side | None, session: Session, ruler: Ruler, cases: Cases, rules: Sequence[CaseRule] | None
) -> Figures | None:
    """The figures on the weights of `side`; the policy has those of the base afterwards."""
    if side is None:
        return None
    try:
        side.take(session)
        return ruler.measure(cases, rules, session.ui.progress)
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
        note_on_stderr(text)


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
