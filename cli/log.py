"""`cc log`: look at a log, check it, and take it apart. Each command is a thin call of the event log."""

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from continualcode.cli import export as export_form
from continualcode.cli import timeline
from continualcode.cli.output import progress_on_stderr
from continualcode.cli.timeline import counted
from continualcode.cli.tree import tree
from continualcode.core.decisions import decided, in_words
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import event_registry
from continualcode.core.forgetting import Forgotten, forget_contents
from continualcode.eventlog import (
    LogCorrupt,
    LogError,
    Record,
    follow,
    forget,
    merge,
    read,
    read_header,
    repair,
    stats,
    to_builtins,
    verify,
)
from continualcode.eventlog.segments import existing_segments


class LogPath(click.Path):
    """A log of which at least a part is there: `verify` says what is gone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Refuses what is no log's name, and a log that is not there."""
        if not value:
            self.fail("it is empty: name a log", param, ctx)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not existing_segments(path):
            self.fail(f"{path}: there is no log here", param, ctx)
        return path


LOG = click.argument("log", type=LogPath(dir_okay=False))
JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def progress(label: str) -> Callable[[int, int], None]:
    """Bytes done and in all, on stderr, for files that take a while."""
    show = progress_on_stderr()
    return lambda done, total: show(label, done, total) if total > 64 << 20 else None


@click.group()
def log() -> None:
    """Show, verify and take apart a log."""


log.add_command(tree)


@log.command(name="show")
@LOG
@JSON
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", help="Only events of this type; may be repeated."
)
@click.option(
    "--turn", type=click.IntRange(1), metavar="N", help="Only the N-th prompt and what followed it; from 1."
)
@click.option("--call", metavar="ID", help="Only events of this call: its id, or the start of it.")
@click.option("--text", metavar="TEXT", help="Only events in which this text stands, in any case of letters.")
@click.option("--full", "whole", is_flag=True, help="Texts whole, on lines of their own.")
@click.option(
    "--follow", "live", is_flag=True, help="Go on with new events as they become durable, until Ctrl-C."
)
def show(
    log: Path,
    as_json: bool,
    whole: bool,
    types: tuple[str, ...],
    turn: int | None,
    call: str | None,
    text: str | None,
    live: bool,
) -> None:
    """A readable timeline of LOG, or JSON Lines of seq, type and fields with --json, arrays as numbers.

    Shows what is sound, then exits 1 where it comes upon damage.
    """
    if not live:
        _require_begun(log)
    _print(
        follow(log, event_registry()) if live else read(log, event_registry()),
        _as_json if as_json else timeline.full if whole else timeline.line,
        types,
        turn,
        call,
        text,
    )


@log.command(name="tail")
@LOG
@JSON
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many events."
)
@click.option("--follow", "-f", "live", is_flag=True, help="Go on with new events as they become durable.")
def tail(log: Path, as_json: bool, count: int, live: bool) -> None:
    """The last events of LOG."""
    if not live:
        _require_begun(log)
    start = max(0, _count(log) - count)
    registry = event_registry()
    records = follow(log, registry, start_seq=start) if live else read(log, registry, start_seq=start)
    _print(records, _as_json if as_json else timeline.line)


@log.command(name="decisions")
@LOG
@JSON
def decisions(log: Path, as_json: bool) -> None:
    """Who decided what in LOG, by which rule or mode, on which arguments, edited how, and why."""
    _require_begun(log)
    found = decided(read(log, event_registry()))
    for line in (_json(one) for one in found) if as_json else in_words(found):
        click.echo(line)


@log.command(name="verify")
@LOG
@JSON
def verify_(log: Path, as_json: bool) -> None:
    """Check every byte of LOG; name the first damaged line, where it starts, and what is still good.

    Checks LOG's segments, its sidecar and its blobs. Exits 1 where anything is wrong, also where a crash has
    only torn the end, which the next session puts right ("recoverable").
    """
    found = verify(log, progress=progress("verifying"))
    if as_json:
        click.echo(_json(found))
    else:
        click.echo(timeline.verification(found))
    if not found.ok:
        sys.exit(1)


@log.command(name="stats")
@LOG
@JSON
def stats_(log: Path, as_json: bool) -> None:
    """Count the events of LOG by type, with their bytes and the time that they span."""
    found = stats(log, progress=progress("counting"))
    click.echo(_json(found) if as_json else timeline.statistics(found))
    if found.damage is not None and not found.damage.recoverable:
        sys.exit(1)


@log.command(name="merge")
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The new log.")
@JSON
def merge_(logs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make one new log of many; each event keeps its id and says where it came from.

    One LOG alone makes a copy that can be gone on with beside it.
    """
    result = merge(logs, out, progress=progress("merging"))
    if as_json:
        click.echo(_json(result))
        return
    twins = f", {counted(result.twins, 'twin')} left out" if result.twins else ""
    events = counted(result.events, "event")
    click.echo(f"{result.path}: {events} of {counted(len(result.logs), 'log')}{twins}")


@log.command(name="repair")
@LOG
@JSON
def repair_(log: Path, as_json: bool) -> None:
    """Cut LOG before its first damaged line, and move what follows to LOG.torn; nothing is deleted."""
    result = repair(log, progress=progress("checking"))
    if as_json:
        click.echo(_json(result))
    elif result.damage is None:
        click.echo(f"nothing to repair: {counted(result.events, 'event')}, all sound")
    else:
        click.echo(f"was: {result.damage.error()}")
        lost = f"; {counted(result.lost, 'acknowledged event')} no longer in it" if result.lost else ""
        moved = f"; {counted(result.moved, 'byte')} moved to {result.quarantine}" if result.moved else ""
        click.echo(f"now: {counted(result.events, 'event')}{lost}{moved}")


@log.command(name="forget")
@LOG
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="TEXT",
    help="This text, wherever it stands; - reads it from standard input. May be repeated.",
)
@click.option(
    "--seq", "seqs", multiple=True, type=int, metavar="N", help="All texts of this event. May be repeated."
)
@click.option(
    "--digest", "digests", multiple=True, metavar="DIGEST", help="A blob, by its digest. May be repeated."
)
@JSON
def forget_(
    log: Path, texts: tuple[str, ...], seqs: tuple[int, ...], digests: tuple[str, ...], as_json: bool
) -> None:
    """Remove contents from LOG for good; it still verifies, and the events stay.

    The token ids that the texts were made into go too, so updates that were trained on them cannot be
    rebuilt any more: they are named. Copies of LOG, weights and files are not touched. Exits 1 where a
    text is left, in a place that is no content.
    """
    if not (texts or seqs or digests):
        raise click.UsageError("say what to forget: --text TEXT, --seq N or --digest DIGEST")
    said = [sys.stdin.read().removesuffix("\n") if text == "-" else text for text in texts]
    if "" in said:
        raise click.UsageError("--text is empty, and nothing cannot be forgotten")
    done = Forgotten(blobs=tuple(forget(log, digests=digests)))
    if said or seqs:
        done = msgspec.structs.replace(
            forget_contents(log, event_registry(), texts=said, seqs=seqs), blobs=done.blobs
        )
    click.echo(_json(done) if as_json else timeline.forgetting(done, log))
    if done.left:
        sys.exit(1)


@log.command(name="export")
@LOG
@click.option(
    "--form",
    type=click.Choice(["conversational", "text"]),
    default="conversational",
    show_default=True,
    help="Messages with roles, or the prompt and the completion as text.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="JSON Lines, or a Parquet file.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A new file; else standard output."
)
@click.option("--json", "as_json", is_flag=True, help="With --out: say how many rows as JSON.")
def export(log: Path, form: export_form.Form, kind: str, out: Path | None, as_json: bool) -> None:
    """The decided samples and corrections of LOG as training examples that TRL and `datasets` load."""
    header = read_header(log)
    records = read(log, event_registry(), progress=progress("exporting"))
    rows = export_form.examples(records, header, form)
    if out is None:
        if kind == "parquet":
            raise UsageError("Parquet goes to a file: give --out FILE")
        for row in rows:
            click.echo(msgspec.json.encode(row))
        return
    if out.exists():
        raise UsageError(f"{out} exists, and nothing is overwritten: give another --out")
    try:
        count = export_form.write_parquet(rows, form, out) if kind == "parquet" else _write_lines(rows, out)
    except BaseException:
        out.unlink(missing_ok=True)  # half of the examples must not pass for all of them
        raise
    click.echo(_json({"rows": count, "out": str(out)}) if as_json else f"{out}: {counted(count, 'row')}")


def _write_lines(rows: Iterable[export_form.Row], out: Path) -> int:
    count = 0
    with open(out, "xb") as file:
        for row in rows:
            file.write(msgspec.json.encode(row) + b"\n")
            count += 1
    return count


def _json(found: object) -> bytes:
    """A result of the event log as JSON; paths as text."""
    return msgspec.json.encode(found, enc_hook=str)


def _require_begun(log: Path) -> None:
    """LogError where not even the log's first line is there: a reader would find nothing, and say nothing."""
    if log.is_file() and not log.stat().st_size:
        raise LogError(f"{log} is empty: there is no log in it")
    read_header(log)


def _count(log: Path) -> int:
    found = verify(log, progress=progress("counting"))
    if found.kind is not None and not found.recoverable:
        raise LogCorrupt(found.path, found.line or 1, found.offset or 0, found.kind, found.found or "")
    return found.events


def _print(
    records: Iterator[Record],
    form: Callable[[dict[str, Any]], str | bytes],
    types: tuple[str, ...] = (),
    turn: int | None = None,
    call: str | None = None,
    text: str | None = None,
) -> None:
    """The records that pass all filters, each flushed, so that a pipe gets it at once.

    Raises UsageError at the end where a filter names what is not there: a type, a turn, a call.
    """
    wanted = text.casefold() if text else None
    now = 0
    known, calls = set(event_registry().types), set[str]()
    for record in records:
        now += record.t == "prompt_submitted"
        known.add(record.t)
        if record.t == "tool_proposed":
            calls.add(record.id)
        if (types and record.t not in types) or (turn is not None and now != turn):
            continue
        plain = to_builtins(record)
        if call is not None and not _of_call(plain, call):
            continue
        if wanted is not None and wanted not in msgspec.json.encode(plain).decode().casefold():
            continue
        click.echo(form(plain))
    for kind in set(types) - known:
        raise UsageError(f"--type {kind}: there is no such type of event; {nearest(kind, known)}")
    if turn is not None and turn > now:
        raise UsageError(f"--turn {turn}: the log has {counted(now, 'turn')}")
    if call is not None and not any(id.startswith(call) for id in calls):
        close = difflib.get_close_matches(call, calls, n=1, cutoff=0.0)
        hint = f"; the nearest is {close[0]} (--type tool_proposed shows all)" if close else ": it has none"
        raise UsageError(f"--call {call}: the log has no such call{hint}")


def _as_json(plain: dict[str, Any]) -> bytes:
    """`type` beside the line's own short `t`: the word of the options and of the documentation."""
    return msgspec.json.encode({"seq": plain["seq"], "type": plain["t"]} | plain)


def _of_call(plain: dict[str, Any], call: str) -> bool:
    """A call is named by the id of its proposal: that event itself, and those with its call_id."""
    mine = plain["id"] if plain["t"] == "tool_proposed" else plain.get("call_id")
    return isinstance(mine, str) and mine.startswith(call)
