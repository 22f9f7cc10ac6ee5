"""Colours: one table for dark backgrounds, one for light ones, and none at all under NO_COLOR.

Foregrounds are the terminal's own sixteen colours, so that a person's palette stays theirs; only the
backgrounds of a diff and of the credit strip are fixed, as those sixteen are too loud to read text on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prompt_toolkit.styles import Style
from rich.console import Console
from rich.theme import Theme as RichTheme

Background = Literal["dark", "light"]

_BOTH = {
    "dim": "bright_black",
    "head": "bold",
    "yes": "green",
    "no": "red",
    "warn": "yellow",
    "learned": "cyan",
    "number": "bright_black",
    "hunk": "cyan",
}
_BACKGROUNDS: Mapping[Background, Mapping[str, str]] = {
    "dark": {
        "added": "on #12361f",
        "removed": "on #43191c",
        "liked": "#12361f #1b5e33 #23874a",
        "disliked": "#43191c #6e2227 #a02c33",
    },
    "light": {
        "added": "on #d7f5df",
        "removed": "on #ffdfe0",
        "liked": "#d7f5df #a6e5b8 #6fd08c",
        "disliked": "#ffdfe0 #ffb5b8 #ff8287",
    },
}


@dataclass(frozen=True)
class Theme:
    """How things look. `liked` and `disliked` are three backgrounds each, faint to strong."""

    background: Background
    colours: bool
    styles: Mapping[str, str]
    liked: tuple[str, ...]
    disliked: tuple[str, ...]

    @property
    def code(self) -> str:
        """The name of the pygments style for code: of the sixteen colours, for this background."""
        return f"ansi_{self.background}"

    def console(self) -> Console:
        """A console that writes to whatever sys.stdout is at the time."""
        return Console(
            theme=RichTheme(dict(self.styles)),
            no_color=not self.colours,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def prompt_style(self) -> Style:
        """The same for prompt_toolkit."""
        return Style.from_dict(
            {
                "bottom-toolbar": "noreverse",
                "status": "ansibrightblack" if self.colours else "",
                "dim": "ansibrightblack" if self.colours else "",
                "placeholder": "ansibrightblack" if self.colours else "",
                "key": "bold",
                "prompt": "bold",
                "warn": "ansiyellow" if self.colours else "",
                "validation-toolbar": "ansired noreverse" if self.colours else "",
            }
        )


def choose(wanted: Literal["auto", "dark", "light"]) -> Theme:
    """The theme for this terminal."""
    background = detect(os.environ.get("COLORFGBG", "")) if wanted == "auto" else wanted
    table = _BACKGROUNDS[background]
    return Theme(
        background=background,
        colours=not os.environ.get("NO_COLOR"),
        styles=_BOTH | {"added": table["added"], "removed": table["removed"]},
        liked=tuple(table["liked"].split()),
        disliked=tuple(table["disliked"].split()),
    )


def detect(colorfgbg: str) -> Background:
    """The background that $COLORFGBG (`15;0`: foreground, background) names; dark where it says nothing.

    >>> detect("0;15"), detect("15;default;0"), detect("")
    ('light', 'dark', 'dark')
    """
    last = colorfgbg.rpartition(";")[2]
    return "light" if last in ("7", "15") else "dark"
