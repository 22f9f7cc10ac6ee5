"""Group commit: many threads append, one at a time writes and syncs for all that are waiting.

Each commit starts when the previous sync ends, with whatever has queued up meanwhile. There is no
window to wait for, so a single producer pays nothing and sixty-four share one sync.
"""

import threading
from collections.abc import Callable, Sequence

from continualcode.eventlog.record import Record


class Ticket:
    """One caller's records on their way into the log; `done` or `error` when they are through."""

    __slots__ = ("records", "done", "error", "lead", "wake")

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.done: list[Record] = []
        self.error: BaseException | None = None
        self.lead = False
        self.wake: threading.Lock | None = None

    def result(self) -> list[Record]:
        """The records as written, or the error that kept them out, raised."""
        if self.error is not None:
            raise self.error
        return self.done


class GroupCommit:
    """Lets one thread at a time into `commit`, which handles a list of tickets and sets their outcomes."""

    def __init__(self, commit: Callable[[list[Ticket]], None]) -> None:
        self._commit = commit
        self._free = threading.Lock()  # held while somebody leads; let go only under the mutex
        self._mutex = threading.Lock()
        self._queue: list[Ticket] = []

    def submit(self, ticket: Ticket) -> list[Record]:
        """Return when the ticket is through: committed by this thread, or by another one with its own."""
        if self._free.acquire(blocking=False) or not self._queued(ticket):
            self._lead([ticket], ticket)
            return ticket.result()
        self._wait(ticket)
        if ticket.lead:
            with self._mutex:
                batch, self._queue = self._queue, []
            self._lead(batch, ticket)
        return ticket.result()

    def _queued(self, ticket: Ticket) -> bool:
        """Whether `ticket` waits in the queue now; else whoever led is through, and this thread leads."""
        with self._mutex:
            if self._free.acquire(blocking=False):
                return False
            ticket.wake = threading.Lock()
            ticket.wake.acquire()
            self._queue.append(ticket)
            return True

    def _wait(self, ticket: Ticket) -> None:
        assert ticket.wake is not None
        try:
            ticket.wake.acquire()
        except (
            BaseException
        ):  # Ctrl-C: another thread must get the lead, if this one had it or was to have it
            with self._mutex:
                if ticket in self._queue:
                    self._queue.remove(ticket)
                lead = ticket.lead
            if lead:
                self._hand_over()
            raise

    def _lead(self, batch: list[Ticket], own: Ticket) -> None:
        try:
            self._commit(batch)
        finally:
            self._hand_over()
            for ticket in batch:
                if ticket.wake is not None and ticket is not own:
                    ticket.wake.release()

    def _hand_over(self) -> None:
        with self._mutex:
            following = self._queue[0] if self._queue else None
            if following is None:
                self._free.release()
            else:
                following.lead = True
        if following is not None and following.wake is not None:
            following.wake.release()
