"""One shell command in a process group of its own: watched, bounded, and gone when it is over.

The command gets no input and no terminal. Its output is passed on as it comes and kept up to a bound,
head and tail. When it ends, by itself or because of the time, the user or an exception, everything
that it started goes with it: first asked (TERM), then made to (KILL). A child that leaves the group on
purpose is found by a mark in its environment where there is a /proc.
"""

import codecs
import os
import secrets
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

MARK = "CONTINUALCODE_COMMAND"
"""The environment variable by which a command's descendants are known."""

GRACE = 1.0
"""Seconds between asking a process to end and ending it."""

_TICK = 0.05
_ROUNDS = 50
_LINGER = 0.2
"""Seconds that a finished command's pipes may still bring output, if a child left behind holds them."""

Ending: TypeAlias = Literal["exit", "timeout", "cancelled"]


class Outcome(NamedTuple):
    """How a command ended. `code` is the exit status, negative for a signal.

    `output` is standard output and standard error as they came, `errors` the end of the latter;
    `left_out` says how many bytes in the middle of `output` were dropped. `stopped`: something besides
    the command itself was still running at the end, and was ended.
    """

    ending: Ending
    code: int
    output: str
    left_out: int
    errors: str
    stopped: bool
    seconds: float


class Bounded:
    """The first `head` and the last `tail` bytes of a stream, in constant memory."""

    def __init__(self, head: int, tail: int) -> None:
        self._head, self._tail = head, tail
        self._first = bytearray()
        self._last: deque[bytes] = deque()
        self._kept = 0
        self.left_out = 0

    def add(self, data: bytes) -> None:
        """Take in the next piece."""
        room = self._head - len(self._first)
        self._first += data[:room]
        if rest := data[room:]:
            self._last.append(rest)
            self._kept += len(rest)
        while self._kept > self._tail:
            over, oldest = self._kept - self._tail, self._last.popleft()
            if len(oldest) > over:
                self._last.appendleft(oldest[over:])
            cut = min(over, len(oldest))
            self._kept -= cut
            self.left_out += cut

    def text(self, mark: Callable[[int], str]) -> str:
        """What was kept; `mark(left_out)` stands for what was dropped. What is not UTF-8 is replaced."""
        first, last = bytes(self._first), b"".join(self._last)
        if not self.left_out:
            return (first + last).decode(errors="replace")
        # The cut ends are trimmed to whole lines where that costs little.
        first = first[: first.rfind(b"\n") + 1] or first
        last = last[last.find(b"\n") + 1 :] or last
        return first.decode(errors="replace") + mark(self.left_out) + last.decode(errors="replace")


def run_group(
    argv: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    seconds: float,
    cancelled: threading.Event,
    show: Callable[[str], None],
    head: int,
    tail: int,
) -> Outcome:
    """Run `argv` to its end, for `seconds`, or until `cancelled`; an exception ends it and is passed on."""
    mark = secrets.token_hex(16)
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=folder,
        env={**environment, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    output, errors = Bounded(head, tail), Bounded(0, tail)
    with _Pipes(process, output, errors, show) as pipes:
        try:
            ending = _wait(process, pipes, started + seconds, cancelled)
        except BaseException:
            _end(process, mark, pipes)
            raise
        stopped = _end(process, mark, pipes)
        pipes.drain()
    code = process.poll()
    return Outcome(
        ending=ending,
        code=code
        if code is not None
        else -signal.SIGKILL,  # stuck in the kernel: killed as soon as it is not
        output=output.text(lambda n: f"… ({n:,} bytes left out) …\n"),
        left_out=output.left_out,
        errors=errors.text(lambda n: ""),
        stopped=stopped,
        seconds=time.monotonic() - started,
    )


class _Pipes:
    """Both pipes of a process, read as they become ready, without ever blocking."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        output: Bounded,
        errors: Bounded,
        show: Callable[[str], None],
    ) -> None:
        assert process.stdout is not None and process.stderr is not None
        self._output, self._errors, self._show = output, errors, show
        self._selector = selectors.DefaultSelector()
        self._files = (process.stdout, process.stderr)
        for file in self._files:
            os.set_blocking(file.fileno(), False)
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
            self._selector.register(file, selectors.EVENT_READ, (file is process.stderr, decoder))

    def __enter__(self) -> "_Pipes":
        return self

    def __exit__(self, *exception: object) -> None:
        self._selector.close()
        for file in self._files:
            file.close()

    @property
    def open(self) -> bool:
        """Whether anyone can still write to them."""
        return bool(self._selector.get_map())

    def read(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds and take what is there; False: there was nothing."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            is_error, decoder = key.data
            if not data:
                self._selector.unregister(key.fileobj)
            self._output.add(data)
            if is_error:
                self._errors.add(data)
            if text := decoder.decode(data, final=not data):
                self._show(text)
        return bool(ready)

    def drain(self) -> None:
        """Take what the writers left; a survivor that goes on writing is not waited for."""
        deadline = time.monotonic() + _LINGER
        while self.open and self.read(0) and time.monotonic() < deadline:
            pass


def _wait(
    process: "subprocess.Popen[bytes]", pipes: _Pipes, deadline: float, cancelled: threading.Event
) -> Ending:
    while process.poll() is None:
        if cancelled.is_set():
            return "cancelled"
        if (left := deadline - time.monotonic()) <= 0:
            return "timeout"
        if pipes.open:
            pipes.read(min(_TICK, left))
        else:
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(_TICK, left))
    return "exit"


def _end(process: "subprocess.Popen[bytes]", mark: str, pipes: _Pipes) -> bool:
    """End whatever is left of a command; True if anything was."""
    left = _left(process, mark)
    if not left:
        return False
    deadline = time.monotonic() + GRACE
    try:
        _send(left, signal.SIGTERM)
        while (left := _left(process, mark)) and time.monotonic() < deadline:
            if not (pipes.open and pipes.read(_TICK)):
                time.sleep(0.01)
    finally:
        # Here too when a second interrupt cuts the waiting short. More than once, as they may be forking.
        for _ in range(_ROUNDS):
            if not (left := _left(process, mark)):
                break
            _send(left, signal.SIGKILL)
            time.sleep(0.01)
    return True


def _send(targets: Sequence[int], number: signal.Signals) -> None:
    for target in targets:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(target, number)


def _left(process: "subprocess.Popen[bytes]", mark: str) -> list[int]:
    """What is alive of a command, as targets for `kill`: the group (negative), and processes that left it.

    A group is a target only as long as it has a living member, so that its number cannot be someone else's.
    """
    ended = process.poll() is not None
    if not os.path.isdir("/proc/self"):
        return [-process.pid] if not ended or _answers(-process.pid) else []
    group, astray = False, list[int]()
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdecimal():
                state, _, its_group = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:3]
                if state not in "ZX" and int(its_group) == process.pid:
                    group = True
                elif state not in "ZX" and _is_marked(name, mark):
                    astray.append(int(name))
    return [*([-process.pid] if group or not ended else []), *astray]


def _is_marked(pid: str, mark: str) -> bool:
    """Whether a process carries the mark: then it descends from the command, wherever it went."""
    return f"{MARK}={mark}".encode() in Path("/proc", pid, "environ").read_bytes().split(b"\0")


def _answers(target: int) -> bool:
    try:
        os.kill(target, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
