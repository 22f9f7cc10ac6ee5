"""`cc plugins`: which plugins there are, and whether they fit the contract."""

import sys

import click
import msgspec

from continualcode.cli.run import configuration
from continualcode.cli.timeline import counted


@click.group()
def plugins() -> None:
    """What is plugged in."""


@plugins.command(name="list")
@click.option(
    "--plugin", "modules", multiple=True, metavar="MODULE", help="Load this module as a plugin too."
)
@click.option("--no-plugin", "disable", multiple=True, metavar="NAME", help="Leave this plugin out.")
@click.option("--json", "as_json", is_flag=True, help="One object a plugin.")
def list_(modules: tuple[str, ...], disable: tuple[str, ...], as_json: bool) -> None:
    """Every plugin in load order, built-ins too, with its distribution, version and hooks."""
    from pathlib import Path

    from continualcode.core.plugins import Plugins

    found = Plugins(configuration(Path(), modules=modules, disable=disable).plugins, tolerant=True)
    if as_json:
        click.echo(msgspec.json.encode(found.loaded()))
        return
    rows = [
        (p.name, f"{p.distribution} {p.version}".strip(), ", ".join(p.hooks) or "no hooks")
        for p in found.loaded()
    ]
    rows += [(f.plugin, "FAILED", f.error) for f in found.failures]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, origin, hooks in rows:
        click.echo(f"{name:<{widths[0]}}  {origin:<{widths[1]}}  {hooks}")


@plugins.command()
@click.argument("module", required=False)
@click.option("--json", "as_json", is_flag=True, help="One object: ok, plugins, failures.")
def check(module: str | None, as_json: bool) -> None:
    """Load every installed plugin (and MODULE) and say what does not fit the contract; exit 1 if anything."""
    from pathlib import Path

    from continualcode.core.plugins import Plugins

    found = Plugins(configuration(Path(), modules=(module,) if module else ()).plugins, tolerant=True)
    found.tools()
    found.feedback()
    found.commands()
    found.event_types()
    ok = not found.failures
    if as_json:
        click.echo(msgspec.json.encode({"ok": ok, "plugins": found.loaded(), "failures": found.failures}))
    else:
        for failed in found.failures:
            click.echo(f"{failed.plugin}: {failed.hook}: {failed.error}")
        click.echo(f"{counted(len(found.loaded()), 'plugin')}, {counted(len(found.failures), 'failure')}")
    sys.exit(0 if ok else 1)
