"""Commands with no sandbox around them: what a tool gets where there is none, and what is said of it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from continualcode.core.errors import UsageError
from continualcode.core.protocols import Sandbox
from continualcode.core.safety_events import SafetyChosen


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


def chosen(approvals: str, sandbox: Sandbox, by: str = "settings") -> SafetyChosen:
    """The fact that calls are decided in the mode `approvals` from here on.

    Raises UsageError where commands are to run unasked and nothing encloses them.
    """
    if approvals == "sandbox" and sandbox.missing:
        raise UsageError(
            f"the mode sandbox (session.approvals) needs a sandbox, and there is none: {sandbox.missing}. "
            "Or be asked: the modes ask and reads need none"
        )
    return SafetyChosen(
        approvals=approvals, sandbox=sandbox.name, line=sandbox.line, missing=sandbox.missing, by=by
    )
