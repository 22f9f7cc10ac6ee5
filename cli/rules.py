"""`cc rules`: what runs unasked in a project, in words, and why a call would or would not."""

import shlex
from pathlib import Path

import click
import msgspec

from continualcode.core.data import Call
from continualcode.core.errors import UsageError, nearest
from continualcode.core.events import Rule
from continualcode.core.review import grants
from continualcode.plugins.approvals.matching import covering, part_rule, require_sensible
from continualcode.plugins.approvals.shell import Unclear, parts
from continualcode.plugins.approvals.store import RuleStore, StoredRule
from continualcode.plugins.tools import register_tools

_PROJECT = click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project; else this folder.",
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of `cc rules list --json`."""

    id: str
    grants: str
    rule: Rule
    added: str
    by: str


@click.group()
def rules() -> None:
    """Calls that need no approval in this project: list, explain, add, remove."""


@rules.command(name="list")
@_PROJECT
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(project: Path, as_json: bool) -> None:
    """Every rule: its id, what it allows, since when and by whom."""
    store = RuleStore(project)
    rows = [_row(key, stored) for key, stored in store.rules().items()]
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    if not rows:
        click.echo(f"No rules for {store.workspace}: every call is asked about.")
    for row in rows:
        click.echo(f"{row.id}  {row.grants}\n          {row.added}, by {row.by}")


@rules.command()
@click.argument("tool")
@click.argument("what")
@_PROJECT
@click.pass_context
def explain(ctx: click.Context, tool: str, what: str, project: Path) -> None:
    """Whether a call of TOOL on WHAT (a path, for bash a command) would run unasked, and by which rules.

    Exit code 0: it would; 1: it would be asked about.
    """
    held = {key: stored.rule for key, stored in RuleStore(project).rules().items()}
    call = Call(tool=tool, arguments={"command" if tool == "bash" else "path": what})
    covered = covering(call, held, project)
    for key in covered or ():
        click.echo(f"allowed by {key}: {grants(held[key])}")
    if covered is not None:
        return
    click.echo("asked about:")
    if tool != "bash":
        click.echo(f"  no rule covers {tool} on {what}")
        ctx.exit(1)
    try:
        found = [(part, part_rule(part, tool, held)) for part in parts(what)]
    except Unclear as unclear:
        click.echo(f"  no rule for these words exactly, and it cannot be told what else it may do: {unclear}")
        ctx.exit(1)
    for part, by in found:
        why = "no rule" if by is None else f"allowed by {by}: {grants(held[by])}"
        click.echo(f"  {part.text}: {why}")
    ctx.exit(1)


@rules.command()
@click.argument("tool")
@click.option("--path", metavar="GLOB", help="Only on files that fit: src/**/*.py; not for bash.")
@click.option("--prefix", metavar="WORDS", help="Only commands that begin with these words: 'git status'.")
@click.option("--command", metavar="TEXT", help="Only this command, to the letter.")
@_PROJECT
def add(tool: str, path: str | None, prefix: str | None, command: str | None, project: Path) -> None:
    """Let calls of TOOL run unasked. Of a command line with several commands, each must be allowed."""
    try:
        words = tuple(shlex.split(prefix)) if prefix else ()
    except ValueError as error:
        raise UsageError(f"--prefix {prefix}: {error}") from None
    if tool != "bash" and (words or command):
        raise UsageError("--prefix and --command are for bash")
    if words and command:
        raise UsageError("--prefix is about many commands and --command about one: give one of them")
    rule = Rule(tool=tool, path=path, prefix=words, arguments={"command": command} if command else {})
    require_sensible(rule)
    key = RuleStore(project).add(rule)
    click.echo(f"{key}  {grants(rule)}")
    names = [one.spec.name for one in register_tools()]
    if tool not in names:
        click.echo(
            f"note: {tool!r} is no built-in tool, but may be a plugin's; {nearest(tool, names)}", err=True
        )


@rules.command()
@click.argument("rule_ids", metavar="ID...", nargs=-1, required=True)
@_PROJECT
def remove(rule_ids: tuple[str, ...], project: Path) -> None:
    """Ask about these calls again. A session that runs keeps its rules: /rules remove there."""
    store = RuleStore(project)
    for key in rule_ids:
        if not store.remove(key):
            raise UsageError(f"there is no rule {key!r} for {store.workspace}; {nearest(key, store.rules())}")
        click.echo(f"removed {key}")


def _row(key: str, stored: StoredRule) -> Row:
    return Row(id=key, grants=grants(stored.rule), rule=stored.rule, added=stored.added, by=stored.by)
