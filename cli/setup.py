"""The first time: which model, on one screen, and written down so that it is asked once.

Asked only of a person at a terminal, and only where neither flags nor a file name a model.
"""

import json
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click

from continualcode.core.config import DEFAULT_MODEL, FILE_NAME
from continualcode.core.errors import ModelUnavailable
from continualcode.core.workspace import at_home
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import ALIASES, Alias

SPEED: Mapping[str, str] = {
    "qwen2.5-coder-0.5b": "12 tokens/s; learning from a correction one to three minutes",
    "smollm2-135m": "14 tokens/s",
}
"""Measured on one or two cores of an AMD EPYC, fp32, grammar on; nothing where it was not measured."""

_WIDTH = 76


def needed(project: Path, user: Path) -> bool:
    """Whether a person is there to be asked, and no configuration file names a model."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return not any(_names_model(folder / FILE_NAME) for folder in (user, project))


def set_up(user: Path) -> None:
    """Explain, ask, and write the choice to the user's configuration. Ctrl-C writes nothing."""
    names = list(ALIASES)
    click.echo(screen(min(_WIDTH, shutil.get_terminal_size().columns - 1)))
    while True:
        given = str(click.prompt("Number, name or folder", default="1", show_default=True)).strip()
        if given.isdecimal() and 1 <= int(given) <= len(names):
            chosen = names[int(given) - 1]
        elif given in names or "/" in given:
            chosen = str(Path(given).expanduser().resolve()) if Path(given).expanduser().is_dir() else given
        else:
            click.echo(
                f"{given!r} is none of these: a number from 1 to {len(names)}, a name, org/name or a folder."
            )
            continue
        break
    file = write(user, chosen)
    click.echo(f"\n{chosen} it is, in {at_home(file)}.\nAnother one for once: cc run --model NAME.\n")


def screen(width: int = _WIDTH) -> str:
    """The choice, on one screen of 80 by 24; on lines of at most `width` characters."""
    lines = _wrapped(
        "Which model shall work with you? It runs on this machine, and its weights learn from your "
        "corrections.",
        width,
    )
    lines.append("")
    for number, alias in enumerate(ALIASES.values(), 1):
        default = " (the default)" if alias.name == DEFAULT_MODEL else ""
        lines += _wrapped(f" {number}  {alias.name}{default}: {_size(alias)}", width, "    ")
        told = "; ".join(part for part in (alias.what, SPEED.get(alias.name)) if part)
        lines += _wrapped(f"    {told}", width, "    ")
    lines.append("")
    lines += _wrapped(
        "Or any Hugging Face id (org/name), or a folder. Speeds: a server core or two, no GPU. These are "
        "small: give them clear, small tasks, and correct them; that is what they learn from. A model that "
        "is not here is downloaded once, now. More: cc models list",
        width,
    )
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent)


def write(user: Path, model: str) -> Path:
    """Put `[model]` into the user's file, after what is there."""
    file = user / FILE_NAME
    user.mkdir(parents=True, exist_ok=True)
    before = file.read_text(encoding="utf-8").rstrip() if file.is_file() else ""
    # A JSON string is a TOML string.
    text = f"[model]\nname = {json.dumps(model)}\n"
    file.write_text(f"{before}\n\n{text}" if before else text, encoding="utf-8")
    return file


def _names_model(file: Path) -> bool:
    """A file that cannot be read counts as one that does: `cc run` says what is wrong with it."""
    try:
        return "model" in tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True


def _size(alias: Alias) -> str:
    if _here(alias):
        return "already on this machine"
    return f"{alias.bytes / 1e9:.1f} GB to download, {alias.converted / 1e9:.1f} GB on disk"


def _here(alias: Alias) -> bool:
    try:
        return store.installed(alias.name) is not None
    except ModelUnavailable:  # what is there cannot be used: it is downloaded again
        return False
