"""Group commit: many threads append, one at a time writes and syncs for all that are waiting.

Each commit starts when the previous sync ends, with whatever has queued up meanwhile. There is no
window to wait for, so a single producer pays nothing and sixty-four share one sync.
"""

import threading
from collections.abc import Callable, Sequence

import msgspec

from continualcode.eventlog.record import Record


class Ticket(msgspec.Struct, eq=False):
    """One caller's records on their way into the log; `done` or `error` when they are through."""

    records: Sequence[Record]
    done: list[Record] = []
    error: BaseException | None = None
    lead: bool = False
    wake: "threading.Lock | None" = None

    def result(self) -> list[Record]:
        """The records as written, or the error that kept them out, raised."""
        if self.error is not None:
            raise self.error
        return self.done


class GroupCommit:
    """Lets one thread at a time into `commit`, which handles a list of tickets and sets their outcomes."""

    def __init__(self, commit: Callable[[Sequence[Ticket]], None]) -> None:
        self._commit = commit
        self._free = threading.Lock()  # held while somebody leads, or was told to
        self._mutex = threading.Lock()  # of the queue
        self._queue: list[Ticket] = []

    def submit(self, ticket: Ticket) -> list[Record]:
        """Return when the ticket is through: committed by this thread, or by another one with its own."""
        if self._free.acquire(False) or not self._queued(ticket):
            try:
                self._commit((ticket,))
            finally:
                self._hand_over()
            return ticket.result()
        self._wait(ticket)
        if ticket.lead:
            with self._mutex:
                batch, self._queue = self._queue, []
            self._lead(batch, ticket)
        return ticket.result()

    def _queued(self, ticket: Ticket) -> bool:
        """Whether `ticket` waits in the queue now; else whoever led is through, and this thread leads.

        Puts it there, then looks whether somebody leads; `_hand_over` lets the lead go, then looks whether
        somebody waits. So one of the two sees the other.
        """
        with self._mutex:
            ticket.wake = threading.Lock()
            ticket.wake.acquire()
            self._queue.append(ticket)
            if not self._free.acquire(False):
                return True
            self._queue.remove(ticket)
            return False

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
        if not self._queue:
            self._free.release()
            if not self._queue or not self._free.acquire(False):
                return
        with self._mutex:
            following = self._queue[0] if self._queue else None
            if following is None:
                self._free.release()
            else:
                following.lead = True
        if following is not None and following.wake is not None:
            following.wake.release()
