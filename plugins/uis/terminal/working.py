"""The terminal while the model or a tool works: Ctrl-C asks for a stop, and what is typed goes to `Ahead`.

The first Ctrl-C sets the session's `cancelled`, which models and tools look at, so that nothing is cut off
half-way; a second one interrupts whatever does not react.
"""

import atexit
import codecs
import os
import select
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread, current_thread, main_thread
from types import FrameType
from typing import Any

from continualcode.plugins.uis.terminal.ahead import Ahead

A_SEQUENCE = 0.05
"""Seconds within which the characters of one key come."""


class Working:
    """`begin` when the prompt is given away, `end` before a question is asked. Both may be called twice."""

    def __init__(self, stopping: Callable[[], None], ahead: Ahead) -> None:
        self._stopping = stopping  # called at the first Ctrl-C
        self._ahead = ahead
        self._settings: list[Any] | None = None  # the terminal's, as they were
        self._handler: Any = None  # of SIGINT, as it was
        self._active = False
        self._reader: tuple[Thread, int] | None = None  # and the end of a pipe that ends it
        atexit.register(self.end)

    def begin(self, cancelled: Event | None) -> None:
        """From here on Ctrl-C sets `cancelled`; where there is none it interrupts at once."""
        if self._active or current_thread() is not main_thread():
            return
        self._active = True

        def interrupt(number: int, frame: FrameType | None) -> None:
            if cancelled is None or cancelled.is_set():
                raise KeyboardInterrupt
            cancelled.set()
            self._stopping()

        self._handler = signal.signal(signal.SIGINT, interrupt)
        with suppress(termios.error, OSError, ValueError):
            self._listen()

    def end(self) -> None:
        """As it was before."""
        if not self._active or current_thread() is not main_thread():
            return
        self._active = False
        signal.signal(signal.SIGINT, self._handler)
        if self._reader is not None:
            (thread, wake), self._reader = self._reader, None
            os.close(wake)
            thread.join()
        if self._settings is not None:
            with suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self._settings)
            self._settings = None

    def _listen(self) -> None:
        """Take each key as it comes, unechoed, in a thread; Ctrl-C stays a signal."""
        terminal = sys.stdin.fileno()
        self._settings = _key_by_key(terminal)
        stop, wake = os.pipe()
        thread = Thread(target=self._read, args=(terminal, stop), name="typing", daemon=True)
        self._reader = thread, wake
        thread.start()

    def _read(self, terminal: int, stop: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        wait: float | None = None
        try:
            while True:
                ready, _, _ = select.select([terminal, stop], [], [], wait)
                if stop in ready:
                    return
                if not ready:
                    self._ahead.whole()
                    wait = None
                elif not (typed := os.read(terminal, 1024)):
                    return
                else:
                    self._ahead.feed(decoder.decode(typed))
                    wait = A_SEQUENCE
        except OSError:  # the terminal is gone: whoever asks next notices
            return
        finally:
            os.close(stop)


def waiting(terminal: int) -> str:
    """What was typed since somebody read last. Raises termios.error where it is no terminal."""
    typed, before = b"", _key_by_key(terminal)
    try:
        while select.select([terminal], [], [], 0.0)[0] and (more := os.read(terminal, 1024)):
            typed += more
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    return typed.decode("utf-8", "replace")


def _key_by_key(terminal: int) -> list[Any]:
    """Have each key readable as it comes, not with its line, and unechoed; the settings as they were."""
    before = termios.tcgetattr(terminal)
    plain = [*before]
    plain[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(terminal, termios.TCSANOW, plain)
    return before
