"""`cc replay LOG`: make the weights again from the log, and say whether they are the same."""

import sys
from pathlib import Path

import click
import msgspec

from continualcode.cli.output import progress_on_stderr
from continualcode.cli.run import configuration, session_options
from continualcode.core.plugins import Plugins
from continualcode.core.replay import ReplayReport, replay_log
from continualcode.eventlog import LogCorrupt


@click.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--verify", is_flag=True, help="Exit 1 unless every update comes out as logged.")
@click.option("--until", type=int, metavar="SEQ", help="Stop after this event.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one object: updates, matched, first_divergence, weights."
)
@session_options
def replay(
    log: Path,
    verify: bool,
    until: int | None,
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Train again from LOG and the base model alone, through the same trainer.

    After each update the digest of the weights is compared with the logged one. On the stack that
    recorded the log they are equal bit for bit; elsewhere the first divergence is shown with its size.
    """
    config = configuration(Path(), model=model, modules=modules, disable=disable, sets=sets)
    given = config.model if model or any(item.startswith("model.") for item in sets) else None
    plugins = Plugins(config.plugins)
    try:
        report = replay_log(log, plugins, model=given, until=until, progress=progress_on_stderr())
    except LogCorrupt as corrupt:
        found = {
            "ok": False,
            "corrupt": {"line": corrupt.line, "offset": corrupt.offset, "kind": corrupt.kind},
        }
        click.echo(msgspec.json.encode(found) if as_json else f"nothing was replayed: {corrupt}")
        sys.exit(1)
    if as_json:
        click.echo(msgspec.json.encode({"ok": report.ok, **msgspec.to_builtins(report)}))
    else:
        click.echo(describe(report))
    if verify and not report.ok:
        sys.exit(1)


def describe(report: ReplayReport) -> str:
    """The report in a few lines, for a person."""
    lines = [
        f"{report.matched} of {report.updates} updates came out as logged; weights {report.weights[:12]}"
    ]
    if (first := report.first_divergence) is not None:
        lines += [
            f"first divergence: event {first.seq}: {first.logged[:12]} logged, {first.replayed[:12]} here",
            f"  largest difference of a token's advantage: {first.nats:.3g} nats; "
            f"of the divergence after the update: {first.metric:.3g} nats a token",
        ]
    lines += [f"stack: {name} was {logged}, is {here}" for name, (logged, here) in report.stack.items()]
    return "\n".join(lines)
