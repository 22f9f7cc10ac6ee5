"""What every command prints the same way: progress and notes, on stderr, so that stdout stays for results."""

import sys
import time

from continualcode.core.protocols import Progress

WIPED = "\r\033[K"
"""Makes a terminal's line empty."""


def progress_on_stderr() -> Progress:
    """One line, updated in place on a terminal; elsewhere a line for each tenth, and the last."""
    terminal = sys.stderr.isatty()
    began = time.monotonic()
    shown: dict[str, int] = {}

    def show(label: str, done: int, total: int) -> None:
        tenth = 10 * done // max(1, total)
        if not terminal and shown.get(label) == tenth:
            return
        shown[label] = tenth
        share = f"{100 * done // max(1, total):3d}%" if total else ""
        line = f"{label} {share} {time.monotonic() - began:.0f} s"
        sys.stderr.write(f"{WIPED}{line}" if terminal else f"{line}\n")
        if terminal and done >= total:
            sys.stderr.write("\n")
        sys.stderr.flush()

    return show


def note_on_stderr(text: str) -> None:
    """A line of its own: progress that stopped halfway, as what is done early does, is wiped first."""
    sys.stderr.write(f"{WIPED if sys.stderr.isatty() else ''}{text}\n")
    sys.stderr.flush()
