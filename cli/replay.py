"""`cc replay LOG…`: make the weights again from logs; as recorded, or with something left out or changed."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from continualcode.cli.adapter import store_folder
from continualcode.cli.conflicts import conflicting, describe_conflicts
from continualcode.cli.output import progress_on_stderr
from continualcode.cli.replayed import as_object, describe, describe_retrained
from continualcode.cli.retold import Asked, as_told, describe_told, retell
from continualcode.cli.run import configuration, session_options
from continualcode.core.config import parse_set
from continualcode.core.curriculum import Choice, Course, course, decide, in_order
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.cases import load_cases
from continualcode.core.models import same_model
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy
from continualcode.core.provenance import hand_out, manifest, refuse_folder
from continualcode.core.replay import (
    ReplayReport,
    how_it_began,
    replay_log,
    replay_on,
    trainers_of,
)
from continualcode.core.retraining import Changes, Retrained, retrained
from continualcode.core.store import WeightStore
from continualcode.eventlog import LogCorrupt
from continualcode.eventlog import verify as verify_log


@click.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--verify", is_flag=True, help="Exit 1 unless every update comes out as logged.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0),
    metavar="NATS",
    help="On another stack: as logged is what differs by no more than this, in figures and not in bits.",
)
@click.option("--until", type=int, metavar="SEQ", help="Stop after this event.")
@click.option(
    "--without",
    metavar="WHICH[,…]",
    help="Leave out corrections: SEQ, LOG@SEQ, by:WHO, kind:KIND, tag:TAG, log:LOG.",
)
@click.option("--only", metavar="WHICH[,…]", help="Leave out all others.")
@click.option("--weight", "weights", multiple=True, metavar="WHICH=X", help="What their rows weigh, else 1.")
@click.option("--trainer", metavar="NAME", help="Train with this one; plans are made anew.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the adapter, as peft loads it, and its provenance."
)
@click.option(
    "--resume",
    is_flag=True,
    help="Keep weights on the way; begin at those of an earlier replay. With --log: go on with that log.",
)
@click.option(
    "--resample",
    is_flag=True,
    help="Draw corrected turns anew where the weights are others by then. With another --model, always.",
)
@click.option(
    "--log", "new", type=click.Path(path_type=Path), help="Where the log goes that drawing anew writes."
)
@click.option(
    "--cases",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="When drawn anew: what carried over, on this case set (`cc eval`).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be trained on and why; train nothing.")
@click.option(
    "--conflicts", is_flag=True, help="Report corrections of different people that pull apart, with figures."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one object: updates, weights, matched or corrections, …"
)
@session_options
def replay(
    logs: tuple[Path, ...],
    verify: bool,
    tolerance: float | None,
    until: int | None,
    without: str | None,
    only: str | None,
    weights: tuple[str, ...],
    trainer: str | None,
    out: Path | None,
    resume: bool,
    resample: bool,
    new: Path | None,
    file: Path | None,
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

    With another --model the corrected turns are drawn anew by that model, and corrected with the same words
    where it makes the same mistake. That is a session of its own: its log replays, goes on and is measured.
    """
    changes = Changes(
        choice=Choice(
            without=_list("--without", without), only=_list("--only", only), weights=_weights(weights)
        ),
        trainer=trainer,
        settings=_trainer_settings(sets),
    )
    first, *others = logs  # click sees to it that there is one
    anew = resample or new is not None or file is not None
    changed = changes != Changes() or dry_run or resume or conflicts or out is not None or bool(others)
    if out is not None:
        refuse_folder(out)
    if verify and (changed or anew):
        raise UsageError(
            "--verify compares with what was recorded: give one log, and keep and change nothing"
        )
    if tolerance is not None and (changed or anew):
        raise UsageError("--tolerance is for a replay of what was recorded: give one log, and change nothing")
    if until is not None and others:
        raise UsageError("--until names an event of one log; give one")
    progress = progress_on_stderr()
    _note_torn(logs)
    try:
        plugins = Plugins(configuration(Path(), modules=modules, disable=disable).plugins)
        recorded = how_it_began(first, plugins).config["model"]
        config = configuration(
            Path(),
            model=model,
            recorded=recorded,
            modules=modules,
            disable=disable,
            sets=sets,
        )
        if verify or not (changed or anew or model or any(item.startswith("model.") for item in sets)):
            report = replay_log(
                first, plugins, model=config.model, until=until, progress=progress, tolerance=tolerance
            )
            _say_report(report, as_json)
            sys.exit(1 if verify and not report.ok else 0)
        if dry_run and (anew or config.model["name"] != recorded["name"]):
            raise UsageError(
                "--dry-run says what the plans in the log would train. What turns would come to that are "
                "drawn anew it cannot say (another --model, --resample, --log, --cases)"
            )
        courses = [course(log, plugins, until=until, feedback=plugins.feedback()) for log in logs]
        decide(in_order(courses), changes.choice)  # refuses a selector before a model is loaded
        if dry_run:
            _say(courses, retrained(courses, trainers_of(plugins), None, changes), conflicts, as_json)
            return
        policy: Policy = plugins.choose("make_policy", config.model["name"], config.model, progress)
        if resample or not all(same_model(one.started, policy) for one in courses):
            if conflicts:
                raise UsageError("--conflicts looks at updates as they were logged: replay on the same model")
            asked = Asked(new, resume, load_cases(file) if file is not None else None, out)
            told = retell(courses, policy, config, plugins, changes, asked, progress)
            click.echo(as_told(told) if as_json else describe_told(told))
        elif anew:
            raise UsageError(
                "--log and --cases are for turns that are drawn anew: with --resample, or on another model "
                f"than {policy.model.name}, on which the log was recorded"
            )
        elif not changed:
            report = replay_on(policy, first, plugins, until=until, progress=progress, tolerance=tolerance)
            _say_report(report, as_json)
        else:
            store = WeightStore(store_folder()) if resume else None
            with contextlib.closing(policy):
                found = retrained(
                    courses,
                    trainers_of(plugins),
                    policy,
                    changes,
                    progress,
                    store=store,
                    resume=resume,
                    watch=conflicts,
                )
                if out is not None:
                    hand_out(policy, out, manifest(policy, courses, changes, found))
            _say(courses, found, conflicts, as_json)
    except LogCorrupt as corrupt:
        damage = {"line": corrupt.line, "offset": corrupt.offset, "kind": corrupt.kind}
        click.echo(
            msgspec.json.encode({"ok": False, "corrupt": damage})
            if as_json
            else f"nothing was replayed: {corrupt}"
        )
        sys.exit(1)


def _note_torn(logs: Sequence[Path]) -> None:
    """Say it where a crash has torn the end of a log: what is before it is replayed."""
    for log in logs:
        found = verify_log(log)
        if found.recoverable and found.kind != "sidecar":
            click.echo(f"note: the end of {log} is torn: cc log verify {log}", err=True)


def _say_report(report: ReplayReport, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode({"ok": report.ok, **msgspec.to_builtins(report)}))
    else:
        click.echo(describe(report))


def _say(courses: Sequence[Course], found: Retrained, conflicts: bool, as_json: bool) -> None:
    apart = conflicting(courses, found) if conflicts else None
    click.echo(as_object(found, apart) if as_json else describe_retrained(found))
    if apart is not None and not as_json:
        click.echo(describe_conflicts(apart))


def _list(flag: str, text: str | None) -> tuple[str, ...]:
    found = tuple(filter(None, (part.strip() for part in (text or "").split(","))))
    if text is not None and not found:
        raise UsageError(f"{flag} names nothing: give SEQ, LOG@SEQ, by:WHO, kind:KIND, tag:TAG or log:LOG")
    return found


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
