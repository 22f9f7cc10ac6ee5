"""`cc replay LOG…`: make the weights again from logs; as recorded, or with something left out or changed."""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from continualcode.cli.adapter import store_folder
from continualcode.cli.conflicts import conflicting, describe_conflicts
from continualcode.cli.output import progress_on_stderr
from continualcode.cli.replayed import as_object, describe, describe_retrained
from continualcode.cli.run import configuration, session_options
from continualcode.core.config import parse_set
from continualcode.core.curriculum import Choice, Course, course, decide, in_order
from continualcode.core.errors import UsageError
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy, Progress
from continualcode.core.provenance import hand_out, manifest, refuse_folder
from continualcode.core.replay import replay_log, trainers_of
from continualcode.core.retraining import Changes, Retrained, retrained
from continualcode.core.store import WeightStore
from continualcode.eventlog import LogCorrupt


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--verify", is_flag=True, help="Exit 1 unless every update comes out as logged.")
@click.option("--until", type=int, metavar="SEQ", help="Stop after this event.")
@click.option(
    "--without",
    metavar="WHICH[,…]",
    help="Leave out corrections: SEQ, LOG@SEQ, by:WHO, kind:KIND, log:LOG.",
)
@click.option("--only", metavar="WHICH[,…]", help="Leave out all others.")
@click.option("--weight", "weights", multiple=True, metavar="WHICH=X", help="What their rows weigh, else 1.")
@click.option("--trainer", metavar="NAME", help="Train with this one; plans are made anew.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the adapter, as peft loads it, and its provenance."
)
@click.option(
    "--resume", is_flag=True, help="Keep weights on the way, and begin at those that an earlier replay kept."
)
@click.option("--dry-run", is_flag=True, help="Say what would be trained on and why; train nothing.")
@click.option(
    "--conflicts", is_flag=True, help="Report corrections of different people that pull apart, with figures."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one object: updates, matched, first_divergence, weights."
)
@session_options
def replay(
    logs: tuple[Path, ...],
    verify: bool,
    until: int | None,
    without: str | None,
    only: str | None,
    weights: tuple[str, ...],
    trainer: str | None,
    out: Path | None,
    resume: bool,
    dry_run: bool,
    conflicts: bool,
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Train again from LOG and the base model alone, through the same trainer.

    After each update the digest of the weights is compared with the logged one. On the stack that
    recorded the log they are equal bit for bit; elsewhere the first divergence is shown with its size.

    Something can be left out or changed: --without a correction the weights are those of a log that never
    had it; --set trainer.KEY=VALUE trains on the same corrections in another way. Several logs are trained
    in the order of time.
    """
    config = configuration(Path(), model=model, modules=modules, disable=disable, sets=sets)
    given = config.model if model or any(item.startswith("model.") for item in sets) else None
    changes = Changes(
        choice=Choice(without=_list(without), only=_list(only), weights=_weights(weights)),
        trainer=trainer,
        settings=_trainer_settings(sets),
    )
    first, *others = logs  # click sees to it that there is one
    plugins, progress = Plugins(config.plugins), progress_on_stderr()
    changed = changes != Changes() or dry_run or resume or conflicts or out is not None or bool(others)
    if out is not None:
        refuse_folder(out)
    if verify and changed:
        raise UsageError(
            "--verify compares with what was recorded: give one log, and keep and change nothing"
        )
    if until is not None and others:
        raise UsageError("--until names an event of one log; give one")
    try:
        if changed:
            courses = [course(log, plugins, until=until, feedback=plugins.feedback()) for log in logs]
            train = functools.partial(_trained, out=out, resume=resume, watch=conflicts, progress=progress)
            found = (
                retrained(courses, trainers_of(plugins), None, changes)
                if dry_run
                else train(courses, plugins, changes, given)
            )
            apart = conflicting(courses, found) if conflicts else None
            click.echo(as_object(found, apart) if as_json else describe_retrained(found))
            if apart is not None and not as_json:
                click.echo(describe_conflicts(apart))
            return
        report = replay_log(first, plugins, model=given, until=until, progress=progress)
    except LogCorrupt as corrupt:
        damage = {"line": corrupt.line, "offset": corrupt.offset, "kind": corrupt.kind}
        click.echo(
            msgspec.json.encode({"ok": False, "corrupt": damage})
            if as_json
            else f"nothing was replayed: {corrupt}"
        )
        sys.exit(1)
    if as_json:
        click.echo(msgspec.json.encode({"ok": report.ok, **msgspec.to_builtins(report)}))
    else:
        click.echo(describe(report))
    if verify and not report.ok:
        sys.exit(1)


def _trained(
    courses: Sequence[Course],
    plugins: Plugins,
    changes: Changes,
    model: Mapping[str, Any] | None,
    *,
    out: Path | None,
    resume: bool,
    watch: bool,
    progress: Progress,
) -> Retrained:
    """Train, on the model that the first log names unless `model` is given; hand the weights out."""
    decide(in_order(courses), changes.choice)  # refuses a selector before a model is loaded
    options = model or courses[0].started.config["model"]
    store = WeightStore(store_folder()) if resume else None
    policy: Policy = plugins.choose("make_policy", options["name"], options, progress)
    try:
        found = retrained(
            courses,
            trainers_of(plugins),
            policy,
            changes,
            progress,
            store=store,
            resume=resume,
            watch=watch,
        )
        if out is not None:
            hand_out(policy, out, manifest(policy, courses, changes, found))
        return found
    finally:
        policy.close()


def _list(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(",")))) if text else ()


def _weights(items: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in items:
        selector, equals, text = item.rpartition("=")
        try:
            factor = float(text)
        except ValueError:
            factor = -1.0
        if not equals or not selector or not 0.0 <= factor < float("inf"):
            raise UsageError(f"--weight {item!r}: expected WHICH=X, X at least 0, for example log:anna=0.5")
        found[selector] = factor
    return found


def _trainer_settings(sets: Sequence[str]) -> dict[str, Any]:
    """What `--set trainer.…` changes; of the configuration files nothing, as the log holds its settings."""
    found: dict[str, Any] = {}
    for item in sets:
        table = parse_set(item).get("trainer")
        if isinstance(table, dict):
            found |= table
    return found
