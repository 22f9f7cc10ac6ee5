"""`cc bisect LOG --cases FILE`: which correction broke a case."""

import sys
from pathlib import Path

import click
import msgspec

from continualcode.cli.adapter import store_folder
from continualcode.cli.evaluate import measuring_session
from continualcode.cli.output import progress_on_stderr
from continualcode.cli.run import configuration, session_options
from continualcode.cli.sides import Side, recorded_model
from continualcode.core.bisection import Bisection, Bisector, Probe, watched
from continualcode.core.curriculum import course
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.evaluation.measure import Ruler, Settings
from continualcode.core.plugins import Plugins
from continualcode.core.replay import trainers_of
from continualcode.core.store import WeightStore


@click.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--cases",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A case set, as cc eval reads it.",
)
@click.option(
    "--case", "names", multiple=True, metavar="NAME", help="Only this rule, or `control N`; may be repeated."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=0.2,
    show_default=True,
    help="A rule is broken when its mistake is more probable than with the base model by more than this.",
)
@click.option("--until", type=int, metavar="SEQ", help="Search up to this event.")
@click.option(
    "-n", "--draws", type=click.IntRange(1), default=4, show_default=True, help="Calls drawn a case."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one object: update, evaluations, before, after, …"
)
@session_options
def bisect(
    log: Path,
    file: Path,
    names: tuple[str, ...],
    threshold: float,
    until: int | None,
    draws: int,
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Find the correction in LOG after which a case breaks, by measuring log₂ n of its n weights.

    A control breaks when the call that it `expects` is no longer the more probable outcome; a rule, named
    with --case, when its mistake becomes more probable. Exit code 1: no correction is to blame.
    """
    cases = load_cases(file)
    watched(cases, names)  # refuses before a model is loaded
    progress = progress_on_stderr()
    recorded = recorded_model([Side(log.name, log)]) if model is None else None
    config = configuration(
        Path(), model=model, modules=modules, disable=disable, sets=sets, recorded=recorded
    )
    plugins = Plugins(config.plugins)
    one = course(log, plugins, until=until, feedback=plugins.feedback())
    with measuring_session(config, progress, keep=None) as session:
        found = Bisector(
            one,
            cases,
            Ruler(session, Settings(draws=draws)),
            session.policy,
            trainers_of(session.plugins),
            WeightStore(store_folder()),
            threshold=threshold,
            names=names,
            progress=progress,
            said=lambda probe: click.echo(_probe(probe), err=True),
        ).run()
    click.echo(msgspec.json.encode(found) if as_json else as_text(found))
    if found.update is None:
        sys.exit(1)


def as_text(found: Bisection) -> str:
    """For a person: the correction, then each case around it."""
    if found.update is None or found.before is None or found.after is None:
        return "\n".join(
            [f"no correction is to blame: {found.why}"]
            + [_figures(name, (found.base, found.last), found) for name in found.base.figures]
        )
    lines = [
        f"update {found.update.seq} broke it, {found.after.updates} of {found.updates}; found with "
        f"{found.evaluations} evaluations besides those of the base and of the whole log"
    ]
    lines += [f"  {c.seq} {c.kind}, {c.by}: {c.words}" for c in found.update.corrections]
    around = (found.base, found.before, found.after, found.last)
    lines += ["", "base → before it → after it → whole log"]
    lines += [_figures(name, around, found) for name in found.after.figures]
    seqs = ",".join(str(c.seq) for c in found.update.corrections)
    return "\n".join([*lines, "", f"The weights without it: cc replay LOG --without {seqs}"])


def _figures(name: str, probes: tuple[Probe, ...], found: Bisection) -> str:
    what = "P(expected call)" if name in found.prompts else "P(mistake)"
    asked = f" “{found.prompts[name][:40]}”" if name in found.prompts else ""
    cells = (f"{one.figures[name]:.2f}{'!' if name in one.broken else ''}" for one in probes)
    return f"  {name}{asked}: {what} {' → '.join(cells)}"


def _probe(probe: Probe) -> str:
    broken = f"broken: {', '.join(probe.broken)}" if probe.broken else "whole"
    return f"after {probe.updates} updates ({probe.weights[:12]}): {broken}"
