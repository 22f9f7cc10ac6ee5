"""`cc adapter`: the weights that replays have kept, what they are made of, and handing them out."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from continualcode.cli.output import progress_on_stderr
from continualcode.cli.run import configuration, session_options
from continualcode.cli.timeline import counted
from continualcode.core.curriculum import course
from continualcode.core.errors import ReplayError
from continualcode.core.events import event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy
from continualcode.core.provenance import hand_out, manifest, refuse_folder
from continualcode.core.replay import plan_of, trainers_of
from continualcode.core.retraining import Changes, retrained
from continualcode.core.store import Known, WeightStore, lineage, rebuild_seconds
from continualcode.core.transcript import fold
from continualcode.eventlog import LogError, read


def store_folder() -> Path:
    """Where weights are kept: in the user's cache."""
    from platformdirs import user_cache_path

    return user_cache_path("continualcode") / "weights"


@click.group()
def adapter() -> None:
    """Weights: those that replays have kept, what they are made of, and handing them out."""


@adapter.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def listed(as_json: bool) -> None:
    """The weights that replays have kept, with the log that each comes from."""
    store = WeightStore(store_folder())
    rows = [_row(one, store) for one in store.every()]
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    if not rows:
        click.echo(f"none yet: cc replay LOG --resume keeps them in {store.folder}")
    for row in rows:
        size = (
            f"{row['bytes'] / 1e6:.0f} MB" if row["bytes"] else f"rebuilt in {row['rebuild_seconds']:.0f} s"
        )
        changed = "  (changed)" if row["changes"] else ""
        name = Path(row["log"]).name
        click.echo(
            f"{row['weights'][:12]}  {row['updates']:3d} updates  {row['model']}  {size}  {name}{changed}"
        )


@adapter.command()
@click.argument("digest")
@click.option("--json", "as_json", is_flag=True, help="Print one object.")
def show(digest: str, as_json: bool) -> None:
    """What the weights with this digest (or its beginning) are made of, update by update."""
    store = WeightStore(store_folder())
    found = store.named(digest)
    line = list(lineage(found, store))[::-1]
    if as_json:
        row = _row(found, store) | {"lineage": [msgspec.to_builtins(one) for one in line]}
        click.echo(msgspec.json.encode(row))
        return
    click.echo(f"weights {found.weights}\noptimiser {found.optimiser}\nmodel {found.model}")
    if found.changes:
        click.echo(f"changes {found.changes}")
    for one in line:
        what = f"rejected: {one.rejected}" if one.rejected else f"{one.steps} steps, {one.seconds:.1f} s"
        click.echo(f"{one.depth:4d}  {Path(one.path).name}@{one.seq}  {one.weights[:12]}  {what}")


@adapter.command()
@click.argument("log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--until", type=int, metavar="SEQ", help="The weights of then.")
@session_options
def export(
    log: Path,
    folder: Path,
    until: int | None,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Write the weights of LOG into the new FOLDER as transformers and peft load them.

    Uses what replays have kept, and trains the rest. FOLDER also gets provenance.json: what
    the weights are made of.
    """
    refuse_folder(folder)
    config = configuration(Path(), model=model, modules=modules, disable=disable, sets=sets)
    plugins, progress = Plugins(config.plugins), progress_on_stderr()
    one = course(log, plugins, until=until, feedback=plugins.feedback())
    given = config.model if model or any(item.startswith("model.") for item in sets) else None
    options: Mapping[str, Any] = given or one.started.config["model"]
    policy: Policy = plugins.choose("make_policy", options["name"], options, progress)
    try:
        store = WeightStore(store_folder())
        found = retrained([one], trainers_of(plugins), policy, None, progress, store=store, resume=True)
        hand_out(policy, folder, manifest(policy, [one], Changes(), found))
    finally:
        policy.close()
    click.echo(f"weights {found.weights[:12]} in {folder}")


@adapter.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.0),
    default=300.0,
    show_default=True,
    help="Keep what would take longer than this to train again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
def gc(seconds: float, dry_run: bool) -> None:
    """Let go of kept weights that their log gives again in the stated time.

    What has no log any more, whose log has forgotten what it was learned from, or whose way from the base is
    not known, stays.
    """
    store, freed, dropped = WeightStore(store_folder()), 0, 0
    gone: frozenset[str] = frozenset()
    logs: dict[str, frozenset[str]] = {}
    for one in reversed(store.every()):
        if not store.has(one) or one.state in gone or not _can_be_trained(one, store, logs):
            continue
        again = rebuild_seconds(one, store, gone)
        if again > seconds or _needed(one, store, gone, seconds):
            continue
        gone |= {one.state}
        size = store.state(one).stat().st_size if dry_run else store.drop(one)
        click.echo(
            f"{one.weights[:12]}  {one.depth:3d} updates  {size / 1e6:.0f} MB, again in {again:.0f} s  "
            f"{Path(one.path).name}"
        )
        freed += size
        dropped += 1
    did = f"{counted(dropped, 'state')} {'would go' if dry_run else 'removed'}"
    click.echo(f"{did}, {freed / 1e6:.0f} MB; a log makes each again within {seconds:g} s")


def _needed(one: Known, store: WeightStore, gone: frozenset[str], seconds: float) -> bool:
    """Whether something else could not be rebuilt in time without this state."""
    without = gone | {one.state}
    return any(
        rebuild_seconds(other, store, without) > seconds >= rebuild_seconds(other, store, gone)
        for other in store.every()
        if other.state != one.state and (other.state in gone or not store.has(other))
    )


def _can_be_trained(one: Known, store: WeightStore, logs: dict[str, frozenset[str]]) -> bool:
    """Whether every update on the way is still in its log; `logs` remembers which are, by path."""
    for before in lineage(one, store):
        if before.path not in logs:
            logs[before.path] = _updates_in(Path(before.path))
        if before.update not in logs[before.path]:
            return False
    return True


def _updates_in(log: Path) -> frozenset[str]:
    """The updates, by id, whose plans the log still gives; none where it cannot be read."""
    try:
        transcript = fold(read(log, event_registry()))
    except (LogError, OSError):
        return frozenset()
    found: set[str] = set()
    for id, started in transcript.updates.items():
        with contextlib.suppress(ReplayError):  # forgotten, or cut off
            plan_of(started, transcript)
            found.add(id)
    return frozenset(found)


def _row(one: Known, store: WeightStore) -> dict[str, Any]:
    path = store.state(one)
    there = path.is_file()
    return {
        "weights": one.weights,
        "model": one.model,
        "updates": one.depth,
        "log": one.path,
        "seq": one.seq,
        "changes": one.changes,
        "bytes": path.stat().st_size if there else 0,
        "rebuild_seconds": 0.0 if there else rebuild_seconds(one, store),
        "kept": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime)) if there else "",
    }
