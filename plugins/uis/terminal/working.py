"""The terminal while the model or a tool works: keys are not echoed, and Ctrl-C asks for a stop.

The first Ctrl-C sets the session's `cancelled`, which models and tools look at, so that nothing is cut off
half-way; a second one interrupts whatever does not react. What else is typed waits for the next prompt.
"""

import atexit
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any


class Working:
    """`begin` when the prompt is given away, `end` before a question is asked. Both may be called twice."""

    def __init__(self, stopping: Callable[[], None]) -> None:
        self._stopping = stopping  # called at the first Ctrl-C
        self._settings: list[Any] | None = None  # the terminal's, as they were
        self._handler: Any = None  # of SIGINT, as it was
        self._active = False
        atexit.register(self.end)

    def begin(self, cancelled: Event) -> None:
        """From here on Ctrl-C sets `cancelled`."""
        if self._active or current_thread() is not main_thread():
            return
        self._active = True

        def interrupt(number: int, frame: FrameType | None) -> None:
            if cancelled.is_set():
                raise KeyboardInterrupt
            cancelled.set()
            self._stopping()

        self._handler = signal.signal(signal.SIGINT, interrupt)
        with suppress(termios.error, OSError, ValueError):
            self._settings = termios.tcgetattr(sys.stdin.fileno())
            quiet = [*self._settings]
            quiet[3] &= ~termios.ECHO
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, quiet)

    def end(self) -> None:
        """As it was before."""
        if not self._active or current_thread() is not main_thread():
            return
        self._active = False
        signal.signal(signal.SIGINT, self._handler)
        if self._settings is not None:
            with suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._settings)
            self._settings = None
