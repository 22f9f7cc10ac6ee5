"""The UI `terminal`: for a person at a terminal emulator, on prompt_toolkit and rich.

Everything scrolls: there is no alternate screen, so what was said stays in the terminal's history and can be
searched and copied. Where it cannot work (a pipe, TERM=dumb, the libraries not installed) the UI `plain`
takes its place. What each key does: docs/terminal.md.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.protocols import UI
from continualcode.plugins.uis.plain import PlainUI

LIBRARIES = ("prompt_toolkit", "rich")


class TerminalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[ui]`. theme: auto asks the terminal ($COLORFGBG), and takes dark where it does not say."""

    theme: Literal["auto", "dark", "light"] = "auto"


def usable() -> bool:
    """Whether there is a terminal at both ends that can move its cursor, and the libraries to do it with."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
        and all(importlib.util.find_spec(name) is not None for name in LIBRARIES)
    )


@hookimpl
def make_ui(name: str, options: Mapping[str, Any]) -> Callable[[], UI] | None:
    """Answers to `terminal`."""
    if name != "terminal":
        return None
    given = checked(TerminalOptions, options, "ui")

    def build() -> UI:
        if not usable():
            return PlainUI()
        from continualcode.plugins.uis.terminal.app import TerminalUI
        from continualcode.plugins.uis.terminal.theme import choose

        return TerminalUI(choose(given.theme))

    return build
