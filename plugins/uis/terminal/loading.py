"""The session opens in a thread while the first prompt is typed.

A model takes seconds to load and, the first time, minutes to download; nobody should wait for it to say
what they want. The log is opened by the same thread when the model is there, as its first record names the
model by content, so nothing is written for a session that never came to be.
"""

import threading
from collections.abc import Callable

from continualcode.core.session import Session


class Loading:
    """`open_session` at work in a thread. `state` says how far it is."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self.state = "loading the model"
        self._open = open_session
        self._over = threading.Event()
        self._abandoned = threading.Event()
        self._session: Session | None = None
        self._error: BaseException | None = None
        self._interrupt: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name="loading", daemon=True)

    def start(self, interrupt: Callable[[], None]) -> None:
        """Begin. `interrupt`: called in the thread where the first prompt is not to be waited for, as the
        session could not be opened, or has something to learn."""
        self._interrupt = interrupt
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has come to an end, good or bad."""
        return self._over.is_set()

    @property
    def error(self) -> BaseException | None:
        """Why there is no session; None while it is not known, or there is one."""
        return self._error if self.over else None

    @property
    def owes(self) -> bool:
        """Whether there is a session with corrections that an earlier process did not get to learn."""
        return self.over and self._session is not None and bool(self._session.owed)

    def report(self, label: str, done: int, total: int) -> None:
        """Called by what loads, in the thread; raises KeyboardInterrupt there if nobody waits any more."""
        share = f" {100 * done // total}%" if total else ""
        self.state = f"{label}{share}"
        if self._abandoned.is_set():
            raise KeyboardInterrupt

    def wait(self, seconds: float) -> bool:
        """Wait for the end; whether it is there."""
        return self._over.wait(seconds)

    def result(self) -> Session:
        """The session, once `over`; raises what kept it from opening."""
        if self._error is not None:
            raise self._error
        assert self._session is not None
        return self._session

    def abandon(self, seconds: float) -> Session | None:
        """Stop where a progress report comes next; the session if it was open by then after all."""
        self._abandoned.set()
        self._over.wait(seconds)
        return self._session

    def _run(self) -> None:
        try:
            self._session = self._open()
        except BaseException as error:  # KeyboardInterrupt too: it is this thread's answer, told by `result`
            self._error = error
        self._over.set()
        if self._error is not None or self.owes:
            self._interrupt()
