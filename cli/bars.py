"""Progress as bars, for long downloads: what is being done, how much of how much, how long it will take.

With rich, on a terminal; anything else gets the plain lines of `continualcode.cli.output`.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

from continualcode.cli.output import progress_on_stderr
from continualcode.core.protocols import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_BYTES_FROM = 100_000  # a total beyond this counts bytes; tensors and steps are fewer


@contextlib.contextmanager
def progress_bars() -> Generator[Progress, None, None]:
    """A `Progress` that shows bars on stderr while the context is open."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield progress_on_stderr()
        return

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as rich:
        yield _Bars(rich)


class _Bars:
    """A bar for each thing done; a new label with the same total goes on with the bar it follows."""

    def __init__(self, rich: "RichProgress") -> None:
        self._rich = rich
        self._task: TaskID | None = None
        self._label = ""
        self._total = 0

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._task is None or total != self._total or (total == 0 and label != self._label):
            self._finish()
            self._task = self._rich.add_task(label, total=total or None, amount="")
        self._label = label
        self._total = total
        self._rich.update(self._task, description=label, completed=done, amount=_amount(done, total))

    def _finish(self) -> None:
        """Leave the last bar as done: what had no total would move for ever."""
        if self._task is not None:
            total = self._total or 1
            self._rich.update(self._task, total=total, completed=total)
            self._rich.stop_task(self._task)


def _amount(done: int, total: int) -> str:
    if total < _BYTES_FROM:
        return f"{done}/{total}" if total else ""
    return f"{done / 1e6:,.0f}/{total / 1e6:,.0f} MB"
