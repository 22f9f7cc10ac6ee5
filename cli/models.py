"""`cc models`: the local models that have a short name, which of them are here, and getting one."""

import time
from pathlib import Path

import click
import msgspec

from continualcode.cli.bars import progress_bars
from continualcode.cli.run import configuration
from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import ALIASES, Alias

_CACHE = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for models; else `model.cache` of the configuration, else your user's cache.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model of `cc models list --json`; sizes in bytes, `problem` if what is installed cannot be used."""

    name: str
    installed: bool
    folder: str | None
    download_bytes: int
    disk_bytes: int
    licence: str
    what: str
    problem: str | None = None


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """What `cc models pull --json` says: where the model is, its digests, how long it took."""

    name: str
    folder: str
    base: str
    tokenizer: str
    template: str
    seconds: float


@click.group()
def models() -> None:
    """Local models: what there is, and getting one."""


@models.command(name="list")
@_CACHE
@_JSON
def list_(cache: Path | None, as_json: bool) -> None:
    """Every model with a short name. Any Hugging Face id (org/name) or folder can be used too."""
    rows = [_row(alias, _folder(cache)) for alias in ALIASES.values()]
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    table = [("NAME", "INSTALLED", "DOWNLOAD", "ON DISK", "WHAT IT CAN DO")]
    for row in rows:
        state = "damaged" if row.problem else ("yes" if row.installed else "no")
        table.append((row.name, state, _size(row.download_bytes), _size(row.disk_bytes), row.what))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if row.problem:
            click.echo(f"{row.name}: {row.problem}", err=True)


@models.command()
@click.argument("name")
@_CACHE
@click.option("--verify", is_flag=True, help="Read an installed model again and check its digests.")
@_JSON
def pull(name: str, cache: Path | None, verify: bool, as_json: bool) -> None:
    """Get the model NAME now: an alias (cc models list), a Hugging Face id org/name, or a folder.

    Prints the folder that it is in. What is there already is not downloaded again.
    """
    began = time.monotonic()
    with progress_bars() as progress:
        files = store.resolve(name, cache=_folder(cache), progress=progress, verify=verify)
    if not as_json:
        click.echo(files.folder)
        return
    pulled = Pulled(
        name=files.name,
        folder=str(files.folder),
        base=files.base,
        tokenizer=files.tokenizer,
        template=files.template,
        seconds=round(time.monotonic() - began, 3),
    )
    click.echo(msgspec.json.encode(pulled))


def _folder(given: Path | None) -> Path | None:
    """Where a session started here would look for models; None is the usual place."""
    configured = given or configuration(Path()).model.get("cache")
    return Path(configured).expanduser() if configured else None


def _row(alias: Alias, cache: Path | None) -> Row:
    problem: str | None = None
    try:
        files = store.installed(alias.name, cache=cache)
    except ModelUnavailable as error:
        files, problem = None, str(error)
    return Row(
        name=alias.name,
        installed=files is not None,
        folder=str(files.folder) if files else None,
        download_bytes=alias.bytes,
        disk_bytes=alias.converted,
        licence=alias.licence,
        what=alias.what,
        problem=problem,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
