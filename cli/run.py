"""`cc run`: one session, with the plugins, the model and the UI that were chosen."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from continualcode.core.config import Config, load
from continualcode.core.errors import ContinualCodeError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

EXIT_CODES = {"failed": 1, "limit": 3, "interrupted": 130}
"""Of `--prompt`, where the turn did not end with an answer."""


def session_options(command: F) -> F:
    """The options that every command which opens a model shares."""
    for option in (
        click.option("--model", metavar="NAME", help="An alias (cc models list), org/name, or a folder."),
        click.option(
            "--plugin", "modules", multiple=True, metavar="MODULE", help="Load this module as a plugin too."
        ),
        click.option("--no-plugin", "disable", multiple=True, metavar="NAME", help="Leave this plugin out."),
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Configuration, e.g. trainer.lr=1e-4."
        ),
    ):
        command = option(command)
    return command


def configuration(
    project: Path,
    *,
    model: str | None = None,
    ui: dict[str, Any] | None = None,
    train: bool = True,
    yes: bool = False,
    recorded: dict[str, Any] | None = None,
    modules: tuple[str, ...] = (),
    disable: tuple[str, ...] = (),
    sets: tuple[str, ...] = (),
) -> Config:
    """Files, then flags, then --set, as one configuration. `recorded` is the model of a resumed session."""
    from platformdirs import user_config_path

    over: dict[str, Any] = {}
    if model or recorded:
        over["model"] = {"name": model} if model else recorded
    if ui:
        over["ui"] = ui
    if not train or yes:
        over["session"] = {**({} if train else {"train": False}), **({"approvals": "sandbox"} if yes else {})}
    if modules or disable:
        over["plugins"] = {"modules": list(modules), "disable": list(disable)}
    return load(project=project, user=user_config_path("continualcode"), sets=sets, over=over)


def log_folder(config: Config) -> Path:
    """Where the logs of sessions lie."""
    from platformdirs import user_data_path

    given = config.paths.sessions
    return Path(given).expanduser() if given else user_data_path("continualcode") / "sessions"


def checkpoint_folder() -> Path:
    """Where the weights lie that sessions ended in (`core.checkpoints`): in the user's cache."""
    from platformdirs import user_cache_path

    return user_cache_path("continualcode") / "checkpoints"


def new_log(config: Config, workspace: Path, folder: Path | None = None) -> Path:
    """Where a new session's log lies: named after the workspace and the time, in the user's data folder."""
    folder = folder or log_folder(config)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stem = f"{workspace.resolve().name or 'root'}-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (f"{stem}{suffix}.jsonl" for suffix in ("", *(f"-{n}" for n in range(2, 10_000))))
    return next(folder / name for name in names if not (folder / name).exists())


def first_time(project: Path) -> None:
    """Ask which model, where a person is there and nothing has named one yet."""
    from platformdirs import user_config_path

    from continualcode.cli import setup

    user = user_config_path("continualcode")
    if setup.needed(project, user):
        setup.set_up(user)


@click.command()
@click.argument("workspace", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--ui", metavar="NAME", help="terminal (default), plain, json, script, or a plugin's.")
@click.option(
    "--script", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Run this TOML unattended."
)
@click.option("--prompt", metavar="TEXT", help="One prompt, then end.")
@click.option(
    "--yes", is_flag=True, help="Ask about nothing that stays in the sandbox; refused where there is none."
)
@click.option("--no-train", is_flag=True, help="Record corrections, but learn nothing.")
@click.option("--log", "log_path", type=click.Path(path_type=Path), help="Where to write the log.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="",
    metavar="[LOG[@SEQ]]",
    help="Go on with this session (`cc sessions`), or with this project's last one; @SEQ: from that event.",
)
@click.option(
    "--fork",
    metavar="LOG@SEQ",
    help="Begin a new session as that one was after that event; in a new WORKSPACE, the files as they were.",
)
@session_options
def run(
    workspace: Path | None,
    ui: str | None,
    script: Path | None,
    prompt: str | None,
    yes: bool,
    no_train: bool,
    log_path: Path | None,
    resume: str | None,
    fork: str | None,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Work on WORKSPACE with an agent that learns from your corrections.

    Approve, edit or deny each tool call. A denial carries a correction: the model learns from it at
    once, and tries again with the new weights. Everything is in the log.

    Exit codes: 0 done; 1 it could not be done; 2 asked for wrongly; 3 with --prompt, the turn ended at a
    limit of [budget]; 130 interrupted.
    """
    from continualcode.cli.starting import Beginning, beginning, discarded_if_it_fails, next_one
    from continualcode.core import engine
    from continualcode.core.optional import EarlyUI
    from continualcode.core.plugins import Plugins
    from continualcode.core.protocols import UI
    from continualcode.core.session import open_session

    if script and ui:
        raise UsageError(f"--script {script} is a UI of its own: --ui {ui} cannot be given as well")
    chosen: dict[str, Any] | None = {"name": ui} if ui else None
    if script:
        chosen = {"name": "script", "file": str(script)}
    named = model is not None or any(item.startswith("model.") for item in sets)
    if not named and not script and prompt is None and resume is None and fork is None:
        first_time(workspace or Path())
    first = beginning(workspace, resume=resume, fork=fork, log=log_path)
    forked = first.log if fork is not None else None
    begin: Beginning | None = first
    before: Path | None = None  # the log of the session that this one was handed over by
    while begin is not None:
        with discarded_if_it_fails(forked):
            config = configuration(
                begin.workspace,
                model=model,
                ui=chosen,
                train=not no_train,
                yes=yes,
                recorded=None if named else begin.model,
                modules=modules,
                disable=disable,
                sets=sets,
            )
            plugins = Plugins(config.plugins)
            screen: UI = plugins.choose("make_ui", config.ui["name"], config.ui)
            start = partial(
                open_session,
                config,
                plugins,
                workspace=begin.workspace,
                log=begin.log or new_log(config, begin.workspace),
                resume=begin.resume,
                ui=screen,
                checkpoints=checkpoint_folder(),
            )
            try:
                session = screen.opening(start) if prompt is None and isinstance(screen, EarlyUI) else start()
            except ContinualCodeError as error:
                if before is None:
                    raise
                click.echo(f"{error}\nBack to the session before.", err=True)
                begin, before = beginning(None, resume=str(before), fork=None, log=None), None
                continue
        forked, reason, ending = None, "failed", "answered"
        try:
            if prompt is None:
                engine.run(session)
            else:
                ending = engine.ask(session, prompt)
            reason = "quit"
        except KeyboardInterrupt:
            reason = "interrupted"
            raise
        finally:
            session.close(reason)
        if ending != "answered":
            raise click.exceptions.Exit(EXIT_CODES[ending])
        begin, before = next_one(session), session.log.path
        model, named = None, False
