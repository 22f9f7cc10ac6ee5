"""Run a program that fills a folder, and watch the folder.

Downloads run as child processes: a child can be given up on after a time, interrupted within a moment,
prints what it likes where nobody sees it, and reads its settings (index, proxy, token, offline) from
the environment, as the user knows them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

_LOOK_EVERY = 0.1


class ChildFailed(Exception):
    """A child process failed or was given up on; the message is the reason, in one line."""


def run(
    arguments: Sequence[str],
    *,
    size: Callable[[], int] = lambda: 0,
    report: Callable[[int], None] = lambda _done: None,
    patience: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run this Python with `arguments` and return what it printed.

    `report` is called with `size()` whenever that has changed. After `patience` seconds without a change
    the child is ended.
    """
    with tempfile.TemporaryFile("w+b") as output, tempfile.TemporaryFile("w+b") as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
        )
        try:
            seen, since = 0, time.monotonic()
            while child.poll() is None:
                now = size()
                if now != seen:
                    seen, since = now, time.monotonic()
                    report(now)
                elif patience is not None and time.monotonic() - since > patience:
                    raise ChildFailed(f"no answer for {patience:g} seconds")
                time.sleep(_LOOK_EVERY)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if child.returncode:
            raise ChildFailed(reason(_text(errors)) or f"exit code {child.returncode}")
        return _text(output)


def reason(text: str) -> str:
    """The line of a program's output that says best why it failed.

    pip names the cause (refused, unknown host) in a warning and ends with a vague error: both are kept.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if "connection broken by" in line]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    cause = causes[-1].split("connection broken by", 1)[1].strip(" '\"") if causes else ""
    error = errors[-1] if errors else (lines[-1] if lines else "")
    full = next((line for line in lines if "No space left on device" in line), "")
    return full or " ; ".join(part for part in (error, cause) if part)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
