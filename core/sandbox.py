"""Commands with no sandbox around them: what a tool gets where there is none, and what is said of it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class NoSandbox:
    """Encloses nothing. `missing` says why, and so why nothing may run unasked."""

    missing: str = "no session has set one up"
    name: str = "none"

    @property
    def line(self) -> str:
        """What commands may do."""
        return f"no sandbox, they run with your rights: {self.missing}"

    @contextmanager
    def enter(self, argv: Sequence[str]) -> Generator[list[str]]:
        """The command as it is."""
        yield list(argv)
