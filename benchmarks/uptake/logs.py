"""The logs of measurements that take hours: one that was stopped goes on in a fork of its log."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continualcode.core.sessions import fork


def log_from(number: int, name: str, logs: Path, last: Mapping[str, Any] | None) -> Path:
    """Where what is numbered so, and what comes after it, is to be logged.

    last: the line of what came before, with its `log` and `seq`: the new log is that one up to there. None:
    there is none, and no log yet.
    """
    log = logs / f"{name}-from-{number}.jsonl"
    remove(log)
    if last is not None:
        fork(logs / last["log"], last["seq"], log)
    return log


def remove(log: Path) -> None:
    """Delete what an interrupted measurement left of a log, its segments and blobs."""
    for old in log.parent.glob(f"{log.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
