"""Progress and notes on stderr."""

import io

import pytest

from continualcode.cli.output import note_on_stderr, progress_on_stderr


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_note_does_not_stand_behind_progress_that_stopped_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    progress_on_stderr()("learning", 5, 10)
    note_on_stderr("learned in 5 steps")
    assert screen.getvalue().endswith("learning  50% 0 s\r\033[Klearned in 5 steps\n")


def test_elsewhere_there_are_lines_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    progress_on_stderr()("learning", 5, 10)
    note_on_stderr("learned in 5 steps")
    assert capsys.readouterr().err == "learning  50% 0 s\nlearned in 5 steps\n"
