"""What operators see: diagnostics from structlog, and from libraries that use `logging`, to stderr or a file.

This is apart from the event log: that one is the truth about a session, this one is about the process,
and neither reads the other. The options for it are taken before a command and after it alike:
`cc -v run` would be the compiler's, so `cc run -v` must be ours.
"""

import sys
from dataclasses import dataclass
from typing import Any

import click

_HANDLER = "continualcode"
"""The name of our `logging` handler, by which it is found again when it is configured anew."""


@dataclass
class Diagnostics:
    """What the command line asked for; the fields are named as the options are."""

    verbose: int = 0
    log_format: str = "console"
    log_file: str | None = None


def options() -> list[click.Parameter]:
    """The options that fill in the `Diagnostics` of the context."""
    aside: dict[str, Any] = {"callback": _asked, "expose_value": False}
    forms, file = click.Choice(["console", "json"]), click.Path(dir_okay=False)
    return [
        click.Option(["-v", "--verbose"], count=True, help="Say what is going on; -vv: all of it.", **aside),
        click.Option(["--debug"], is_flag=True, help="Show the traceback of an error.", expose_value=False),
        click.Option(["--log-format"], type=forms, help="How diagnostics look.", **aside),
        click.Option(["--log-file"], type=file, help="Add diagnostics to this file, not stderr.", **aside),
    ]


def give_options(command: click.Command) -> None:
    """Let a command, and all below it, take the options too. Once is enough; again changes nothing."""
    if not any(param.callback is _asked for param in command.params):
        command.params += options()
    if isinstance(command, click.Group):
        for below in command.commands.values():
            give_options(below)


def _asked(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """One of the options was parsed: note what it says, and act on it at once."""
    if value and param.name:
        asked = ctx.ensure_object(Diagnostics)
        setattr(asked, param.name, value)
        try:
            configure(asked)
        except OSError as error:
            raise click.BadParameter(f"{value}: {error.strerror}", ctx, param) from error


def configure(asked: Diagnostics) -> None:
    """Send diagnostics where they were asked for; a second call replaces the first."""
    import logging  # here, with structlog: `cc --help` needs neither

    import structlog

    file = asked.log_file
    handler: logging.Handler = logging.FileHandler(file) if file else logging.StreamHandler()
    handler.set_name(_HANDLER)
    root = logging.getLogger()
    for old in [each for each in root.handlers if each.get_name() == _HANDLER]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(asked.verbose, 2)])

    about: list[structlog.typing.Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *about,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if asked.log_format == "console":
        colors = not file and sys.stderr.isatty()
        renderer = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    unwrap = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[unwrap, renderer], foreign_pre_chain=about)
    )
