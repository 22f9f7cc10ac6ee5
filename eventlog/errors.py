"""What can go wrong with a log, said so that a person can act on it.

One base, `LogError`, and four leaves that a caller may treat differently. The messages name the
file, the place in it, what was found and what is expected.
"""

from pathlib import Path


class LogError(Exception):
    """Base of everything that this package raises on purpose."""


class LogCorrupt(LogError):
    """Bytes that were acknowledged are not as they were written.

    `path` is the segment's file, `line` is 1-based in that file, `offset` is where that line starts in
    bytes, and `kind` is one word for what it looks like (see `damage.KINDS`).
    """

    def __init__(self, path: Path, line: int, offset: int, kind: str, found: str) -> None:
        super().__init__(f"{path}: line {line} (byte {offset}): {kind}: {found}")
        self.path, self.line, self.offset, self.kind = path, line, offset, kind

    def __reduce__(self) -> tuple[type["LogCorrupt"], tuple[Path, int, int, str, str]]:
        """Pickles by its parts: the default would hand the message to the first argument."""
        found = str(self).split(f": {self.kind}: ", 1)[-1]
        return LogCorrupt, (self.path, self.line, self.offset, self.kind, found)


class LogHeld(LogError):
    """Another process (or another writer of this one) has the log open for writing."""


class LogDead(LogError):
    """A writer that may not write any more: its sync failed, it was closed, or a fork inherited it."""


class RecordError(LogError):
    """A record or type that a log cannot hold: a wrong shape, a doubled tag, a value JSON has no word for."""
