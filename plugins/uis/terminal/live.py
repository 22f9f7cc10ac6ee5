"""What is happening right now, in the last few lines of the screen: redrawn in place, gone when it is over.

While the model speaks or a tool runs, its last lines are shown under one line that says what it is, for how
long, and how to stop it. Below that stands what is typed meanwhile (`Ahead`). The scrollback gets the whole
result afterwards, not the redrawing.
"""

import time

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.segment import Segment, Segments
from rich.spinner import Spinner
from rich.text import Text

from continualcode.plugins.uis.terminal.ahead import Ahead
from continualcode.plugins.uis.terminal.render import clean, half_said, markdown

MOST_LINES = 8
_A_SECOND = 8  # redraws
WAITS = "  (next; ↑ takes it back)"


class Activity:
    """One thing at a time: `begin`, any number of `add` or `report`, `end`."""

    def __init__(self, console: Console, ahead: Ahead, code_theme: str) -> None:
        self._console = console
        self._code_theme = code_theme
        self._ahead = ahead
        self._live: Live | None = None
        self._spinner = Spinner("dots", style="dim")
        self.label = ""
        self._said = ""
        self._model = False
        self._count = 0
        self._since = 0.0
        self._rendered: tuple[str, int, list[list[Segment]]] = ("", 0, [])

    @property
    def active(self) -> bool:
        """Whether something is shown as happening."""
        return self._live is not None

    def begin(self, label: str, *, model: bool = False) -> None:
        """Show that `label` is happening. `model`: what is added is a completion, a token a piece."""
        self.label, self._said, self._model, self._count = label, "", model, 0
        self._since = time.monotonic()
        if self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._draw,
                transient=True,
                refresh_per_second=_A_SECOND,
                vertical_overflow="crop",
            )
            self._live.start()

    def add(self, piece: str) -> None:
        """More of what is being said."""
        self._said += piece
        self._count += 1

    @property
    def said(self) -> str:
        """All that was added since it began."""
        return self._said

    def end(self) -> None:
        """Remove it from the screen."""
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _draw(self) -> RenderableType:
        seconds = time.monotonic() - self._since
        tool, text = half_said(self._said) if self._model else ("", self._said)
        label = self.label if not tool else "answering" if tool == "reply" else f"calling {tool}"
        tokens = f", {self._count} tokens" if self._model and self._count else ""
        about = f"{label}{tokens}, {seconds:.0f} s · Ctrl-C stops"
        self._spinner.update(text=Text(about, "dim", no_wrap=True, overflow="ellipsis"))
        width = max(self._console.width - 4, 8)
        answering = self._model and tool in ("", "reply")
        shown = self._answer(text, width) if answering else _plain(text, width)
        return Group(*shown, self._spinner, *self._typed(width))

    def _answer(self, text: str, width: int) -> list[RenderableType]:
        """The end of an answer as it will stand in the scrollback."""
        if not text.strip():
            return []
        if text != self._rendered[0] or width != self._rendered[1]:
            options = self._console.options.update(width=width)
            lines = self._console.render_lines(markdown(text, self._code_theme), options, pad=False)
            while lines and not "".join(segment.text for segment in lines[-1]).strip():
                lines.pop()
            self._rendered = text, width, lines[-MOST_LINES:]
        bar = Segment("  │ ", self._console.get_style("dim"))
        return [Segments([bar, *line, Segment.line()]) for line in self._rendered[2]]

    def _typed(self, width: int) -> list[Text]:
        waiting = [
            Text(f"> {_end(line, width - len(WAITS))}", no_wrap=True).append(WAITS, "dim")
            for line in (clean(text).split("\n")[-1] for text in tuple(self._ahead.waiting))
        ]
        if not self._ahead.text:
            return waiting
        line = clean(self._ahead.text).split("\n")[-1]
        return [*waiting, Text(f"> {_end(line, width - 1)}▏", no_wrap=True)]


def _plain(text: str, width: int) -> list[RenderableType]:
    lines = clean(text).expandtabs(4).rstrip("\n").split("\n")[-MOST_LINES:] if text.strip() else []
    return [Text(f"  │ {_end(line, width)}", "dim", no_wrap=True) for line in lines]


def _end(line: str, width: int) -> str:
    """The end of a line, as that is where it grows: at most `width` cells of it."""
    while (over := cell_len(line) - width) > 0:
        line = line[(over + 1) // 2 :]  # no character is wider than two cells
    return line
