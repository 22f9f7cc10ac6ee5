"""Weights that sessions stand at, on disk: going on with a session trains nothing again.

A file is named by the digests that the log has of its weights and optimiser, and what is read from it is held
to both. So the log stays what weights are made from: a file that is missing, damaged or another stack's only
costs the time to train.
"""

import contextlib
from pathlib import Path

import structlog

from continualcode.core.errors import ReplayError
from continualcode.core.events import UpdateApplied
from continualcode.core.optional import Portable
from continualcode.core.protocols import Policy
from continualcode.core.store import state_name

operators = structlog.get_logger("continualcode.checkpoints")


class Checkpoints:
    """The files in `folder`, the `most` that were used last. A session has one: the state that it ends in."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._own: Path | None = None  # written here; one that was found may be another session's as well

    def keep(self, policy: Policy, applied: UpdateApplied) -> None:
        """Write the state that `policy` has after `applied`, in place of the one that this session had."""
        if not self._most or not isinstance(policy, Portable):
            return
        file = self._file(applied)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            before, self._own = self._own, None if file.is_file() else file
            if self._own is not None:
                policy.save(file)
            if before is not None and before != file:
                before.unlink(missing_ok=True)  # only wanted to undo, which can train it
            file.touch()
            files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime)
            for old in files[: -self._most]:
                old.unlink(missing_ok=True)
        except Exception as error:  # such as a full disk: the log has it all
            operators.warning("no checkpoint kept", error=str(error) or repr(error), folder=str(self._folder))

    def take(self, policy: Policy, applied: UpdateApplied) -> bool:
        """Give `policy` the state after `applied`, bit for bit; False: it is not here."""
        file = self._file(applied)
        if not isinstance(policy, Portable) or not file.is_file():
            return False
        with contextlib.suppress(ReplayError):
            policy.load(file)
        right = (policy.weights(), policy.optimiser_state()) == (applied.weights, applied.optimiser)
        with contextlib.suppress(OSError):
            if right:
                file.touch()
            else:
                file.unlink()  # damaged: what is trained instead takes its place
        return right

    def _file(self, applied: UpdateApplied) -> Path:
        return self._folder / state_name(applied.weights, applied.optimiser)
