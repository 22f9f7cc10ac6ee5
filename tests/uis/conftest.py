"""A person at a terminal emulator: `cc run --ui terminal` in a pseudo-terminal, its screen kept by pyte."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

HERE = Path(__file__).parent
CALLS: Sequence[object] = [
    {"name": "read", "arguments": {"path": "a.txt"}},
    {"name": "write", "arguments": {"path": "a.txt", "content": "one\n2\nthree\n"}},
    {"name": "reply", "arguments": {"text": "Line 2 says **2** now."}},
]


class _Screen(pyte.Screen):
    """Answers what programs ask a terminal, such as where its cursor is."""

    answer: Callable[[str], object]

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class Terminal:
    """What a person does (`keys`) and sees (`text`); `sees` waits until something is on the screen."""

    def __init__(
        self,
        folder: Path,
        calls: Sequence[object],
        size: tuple[int, int],
        arguments: Sequence[str],
        env: dict[str, str],
        model: str,
    ) -> None:
        script = folder / "calls.jsonl"
        script.write_text("".join(f"{json.dumps(c) if isinstance(c, dict) else c}\n" for c in calls))
        self.folder = folder
        self.project = folder / "project"
        self.log = folder / "log.jsonl"
        rows, columns = size
        self._screen = _Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        named = ["--model", model.format(script)] if model else []
        options = ["--log", str(self.log)] if "--resume" not in arguments else []
        options += ["--set", "trainer.divergence_floor=0.3"]  # whatever figure is tuned into the default
        self.child: pexpect.spawn[str] = pexpect.spawn(
            str(Path(sys.executable).parent / "continualcode"),
            ["run", str(self.project), *named, *options, *arguments],
            env={
                **{
                    k: v
                    for k, v in os.environ.items()
                    if k not in ("NO_COLOR", "COLORFGBG", "EDITOR", "VISUAL")
                },
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "XDG_CONFIG_HOME": str(folder),
                "XDG_DATA_HOME": str(folder / "data"),
                "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
                **env,
            },
            cwd=str(folder),
            encoding="utf-8",
            dimensions=size,
        )
        self._screen.answer = self.child.send

    @property
    def text(self) -> str:
        """The screen as it is now, without the empty end of each line and of the page."""
        self._read(0.02)
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def sees(self, pattern: str, seconds: float = 60) -> str:
        """Wait until `pattern` is on the screen; the screen then. Fails with the screen as it is."""
        end = time.monotonic() + seconds
        while not re.search(pattern, text := self.text):
            ended = not self._read(0.05) and not self.child.isalive()
            if (ended or time.monotonic() > end) and not re.search(pattern, text := self.text):
                pytest.fail(f"{'ended' if ended else 'after'} {seconds} s without {pattern!r}:\n{text}")
        return text

    def keys(self, typed: str) -> None:
        """Press these."""
        self.child.send(typed)

    def resize(self, rows: int, columns: int) -> None:
        """Drag the window."""
        self._screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)  # pyright: ignore[reportUnknownMemberType]  # untyped

    def colours(self, words: str) -> set[tuple[str, str]]:
        """(foreground, background) of the cells that `words` take where they are on the screen first."""
        for row, line in enumerate(self._screen.display):
            if (start := line.find(words)) >= 0:
                cells = [self._screen.buffer[row][start + n] for n in range(len(words))]
                return {(cell.fg, cell.bg) for cell in cells}
        raise AssertionError(f"{words!r} is not on the screen:\n{self.text}")

    def ends(self) -> int | None:
        """Wait for the end; the exit code."""
        end = time.monotonic() + 60
        while self._read(0.1) or self.child.isalive():
            assert time.monotonic() < end, self.text
        self.child.close()
        code: int | None = self.child.exitstatus
        return code

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The log's events of one kind."""
        lines = self.log.read_text().splitlines()
        return [e for e in map(json.loads, lines) if e["t"] == kind]

    def _read(self, seconds: float) -> bool:
        """Take in what the program has written; False at its end."""
        if self.child.closed:
            return False
        try:
            while True:
                self._stream.feed(self.child.read_nonblocking(1 << 16, timeout=seconds))
                seconds = 0.01
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False


Start = Callable[..., Terminal]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Start]:
    """`terminal(calls, size=(rows, columns), arguments=…, NAME=value…)`: a session at its first prompt.

    model: "" names none, as a new user does.
    """
    started: list[Terminal] = []

    def start(
        calls: Sequence[object] = CALLS,
        *,
        size: tuple[int, int] = (50, 80),
        arguments: Sequence[str] = (),
        prompt: str = r"(?m)^commands:[\s\S]*^>$",
        model: str = "scripted:{}",
        **env: str,
    ) -> Terminal:
        project = tmp_path / "project"
        if not project.exists():
            project.mkdir()
            (project / "a.txt").write_text("one\ntwo\nthree\n")
        started.append(Terminal(tmp_path, calls, size, arguments, env, model))
        started[-1].sees(prompt)
        return started[-1]

    yield start
    for one in started:
        one.child.close(force=True)
