"""`continualcode`: the commands, each imported when it is asked for, and what becomes of errors.

Exit codes: 0 done; 1 the answer is no, or it could not be done; 2 asked for wrongly; 130 interrupted.
"""

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from continualcode.cli import operators
from continualcode.cli.commands import COMMANDS

INTERRUPTED, PIPE_CLOSED = 130, 141
"""128 and the number of the signal, as a shell gives for SIGINT and SIGPIPE."""

FULL = (errno.ENOSPC, errno.EDQUOT)


class Commands(click.Group):
    """The commands of `COMMANDS`, whence the help comes; a module is imported for its own command only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        operators.give_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        from continualcode import __version__  # read from the distribution only when asked for

        click.echo(f"continualcode {__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    params=operators.options(),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`cc` is continualcode where the first argument is a command or --help. Anything else goes to "
    "the C compiler, whose name it is; so there, options come after the command.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A coding agent that learns from your corrections."""
    operators.configure(ctx.ensure_object(operators.Diagnostics))


def run(arguments: Sequence[str]) -> int:
    """Run one command; the exit code, what went wrong being said on stderr."""
    try:
        with cli.make_context(os.path.basename(sys.argv[0]), list(arguments)) as ctx:
            cli.invoke(ctx)
        return 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("\nInterrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        return PIPE_CLOSED
    except Exception as error:
        # Parsed or not: importing the command may be what failed.
        return explain(error, traceback="--debug" in arguments)


def explain(error: Exception, *, traceback: bool) -> int:
    """Say it: an error of ours as it is written, for a person to act on; any other, a defect, in a line.

    What the system says of a file, or of a full disk, is no defect either.
    """
    from continualcode.core.errors import ContinualCodeError, UsageError
    from continualcode.eventlog.errors import LogError

    if traceback:
        sys.excepthook(type(error), error, error.__traceback__)
    elif isinstance(error, ContinualCodeError | LogError):
        click.echo(f"Error: {error}", err=True)
    elif isinstance(error, OSError) and (error.filename or error.errno in FULL):
        place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        click.echo(f"Error: {place}{error.strerror}", err=True)
    else:
        first_line = str(error).partition("\n")[0]
        click.echo(f"Unexpected error: {type(error).__name__}: {first_line}", err=True)
        click.echo("Run the command again with --debug for the traceback.", err=True)
    return 2 if isinstance(error, UsageError) else 1


def main() -> None:
    """The console script."""
    try:
        sys.exit(run(sys.argv[1:]))
    finally:
        if sys.stdout is not None:  # it is where it was closed, as by `>&-`
            _flush(sys.stdout)


def _flush(out: TextIO) -> None:
    try:
        out.flush()
    except OSError as error:  # whoever read our output has gone: Python need not say so when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        if not isinstance(error, BrokenPipeError):
            sys.exit(1)  # it was said when it was written
