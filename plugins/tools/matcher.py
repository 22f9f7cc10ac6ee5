"""A regular expression over files in a process of its own, because a bad one never ends.

Python's `re` cannot be given a time limit, and some patterns take exponential time. So a small child
(`matcher_child.py`) does the matching: it gets files through a pipe, opens none itself, and is
killed when the time is up or the user interrupts.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

MAX_LINES = 100
"""How many matching lines are returned; the others are counted."""

_CHILD = Path(__file__).with_name("matcher_child.py")
_PATIENCE = 1.0
"""Seconds that the child may go on after the last file: it has what the pipe holds before it."""

_TICK = 0.05


class Found(NamedTuple):
    """The first matching lines as (path, line number, line), how many match in all, in how many files."""

    lines: list[tuple[str, int, bytes]]
    total: int
    files: int


class InvalidPattern(Exception):
    """Not a regular expression; says what is wrong and at which position."""


class TooSlow(Exception):
    """The pattern did not come to an end; `path` is the last file sent, at or near the cause."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def search_files(
    pattern: str, files: Iterable[tuple[str, bytes]], seconds: float, cancelled: threading.Event
) -> Found:
    """Search `files` (name, content) line by line.

    `files` should end after `seconds`; the child is killed a little later. Raises
    InvalidPattern or TooSlow. Nothing is found where `cancelled` was set.
    """
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_CHILD), str(MAX_LINES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stdout is not None
    done, killed = threading.Event(), threading.Event()
    watched = (child, seconds + _PATIENCE, cancelled, done, killed)
    watch = threading.Thread(target=_watch, args=watched, daemon=True)
    watch.start()
    names: list[str] = []
    try:
        with suppress(BrokenPipeError):  # the child is gone: it has said why, or was killed
            _send(child.stdin, pattern.encode())
            for name, data in files:
                names.append(name)
                _send(child.stdin, data)
            child.stdin.close()
        answer = child.stdout.read()
    finally:
        done.set()
        child.kill()
        child.wait()
        watch.join()
        child.stdout.close()
        with suppress(BrokenPipeError):
            child.stdin.close()
    if cancelled.is_set():
        return Found([], 0, len(names))
    if killed.is_set():
        raise TooSlow(names[-1] if names else "compiling it")
    if not answer:
        raise InvalidPattern("it takes more memory than there is")
    told = json.loads(answer)
    if "error" in told:
        raise InvalidPattern(told["error"])
    rows: list[tuple[int, int, str]] = told["lines"]
    lines = [(names[file], number, line.encode(errors="surrogateescape")) for file, number, line in rows]
    return Found(lines, told["total"], len(names))


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(b"%d\n" % len(data))
    pipe.write(data)
    pipe.flush()


def _watch(
    child: "subprocess.Popen[bytes]",
    seconds: float,
    cancelled: threading.Event,
    done: threading.Event,
    killed: threading.Event,
) -> None:
    deadline = time.monotonic() + seconds
    while not done.wait(_TICK):
        if cancelled.is_set() or time.monotonic() > deadline:
            killed.set()
            child.kill()
            return
