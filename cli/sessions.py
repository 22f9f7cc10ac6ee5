"""`cc sessions`, and which log `cc run --resume` and `--fork` mean."""

import time
from pathlib import Path

import click
import msgspec

from continualcode.cli.run import configuration, log_folder
from continualcode.core.errors import UsageError, nearest
from continualcode.core.sessions import Listed, sessions_in


@click.command()
@click.argument("workspace", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".")
@click.option("--all", "everything", is_flag=True, help="Of every project.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def sessions(workspace: Path, everything: bool, as_json: bool) -> None:
    """The sessions of this project, the last one first; `cc run --resume NAME` goes on with one."""
    folder = log_folder(configuration(workspace))
    found = sessions_in(folder, None if everything else workspace)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    if not found:
        whose = "" if everything else f" of {workspace.resolve()}"
        click.echo(f"No sessions{whose} in {folder}. `cc run` begins one; `cc sessions --all` shows all.")
        return
    for line in table(found, everything):
        click.echo(line)


def table(found: list[Listed], everything: bool = False) -> list[str]:
    """The list for a person: one line a session, the columns as wide as they need to be."""
    rows = [("NAME", "LAST", "PROMPTS", "UPDATES", "EVENTS", "SIZE", "FIRST PROMPT")]
    for one in found:
        said = " ".join(one.prompt.split())
        note = f"damaged: {one.problem}" if one.problem else f"{said[:60]}{'…' if len(said) > 60 else ''}"
        marks = "".join([" (fork)" if one.parent else "", " (open now)" if one.held else ""])
        place = f"  {one.workspace}" if everything else ""
        rows.append(
            (
                Path(one.path).stem + marks,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(one.modified)),
                str(one.prompts),
                str(one.updates),
                str(one.events),
                f"{one.bytes / 1e6:.1f} MB" if one.bytes >= 1e6 else f"{one.bytes / 1e3:.0f} kB",
                f"{note}{place}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def meant(text: str, folder: Path, workspace: Path | None) -> tuple[Path, int | None]:
    """The log, and the event in it, that LOG, NAME, LOG@SEQ or nothing (the newest) stands for."""
    name, at, number = text.rpartition("@")
    if not at or not number.isdecimal() or Path(text).exists():
        name, number = text, ""
    seq = int(number) if number else None
    if not name:
        found = sessions_in(folder, workspace or Path())
        if not found:
            raise UsageError(
                f"no session of {(workspace or Path()).resolve()} in {folder} yet: `cc run` begins one, "
                "`cc sessions --all` shows those of other projects"
            )
        return Path(found[0].path), seq
    for path in (Path(name), folder / name, folder / f"{name}.jsonl"):
        if path.is_file():
            return path, seq
    before, at, after = text.rpartition("@")
    if at and before and any(path.is_file() for path in (Path(before), folder / f"{before}.jsonl")):
        raise UsageError(f"{text}: SEQ is the number of an event, such as {before}@12, and not {after!r}")
    names = [Path(one.path).stem for one in sessions_in(folder, workspace)]
    there = nearest(name, names) if names else "there is none yet (cc sessions --all)"
    raise UsageError(f"no log {name!r}, here or in {folder}; {there}")
