"""What is typed while the model, a tool or an update works: shown below what happens, and kept.

Enter sends it as soon as the turn is over; what is not sent stands in the next prompt's line. Nothing typed
here ever answers a question: where one comes up in the middle of a word, the word goes on here (`typing`).
"""

import time
from collections.abc import Iterable

from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

PAUSE = 0.7
"""Seconds without a key after which a person has stopped typing."""

_NOTE = "/note "


class Ahead:
    """`text` is the line as it stands, `waiting` what was sent, the first one first."""

    def __init__(self) -> None:
        self.text = ""
        self.waiting: list[str] = []
        self._last = float("-inf")  # when a key came
        self._escape = False  # the key before was Escape: Alt, as terminals write it
        self._parser = Vt100Parser(self._key)

    def feed(self, typed: str) -> None:
        """Characters as the terminal sends them; the last key may not be whole yet."""
        self._parser.feed(typed)

    def whole(self) -> None:
        """Nothing more belongs to the last key: an Escape is an Escape."""
        self._parser.flush()

    def press(self, keys: Iterable[KeyPress]) -> None:
        """Keys that were read by someone else."""
        for key in keys:
            self._key(key)

    @property
    def typing(self) -> bool:
        """Whether someone is in the middle of typing a line."""
        return time.monotonic() - self._last < PAUSE

    @property
    def line(self) -> str:
        """All of it on one line."""
        return " ⏎ ".join([*self.waiting, *([self.text] if self.text else [])]).replace("\n", " ↵ ")

    def take(self) -> tuple[str | None, str]:
        """What is to be sent next; or None, and what to begin the line with."""
        if self.waiting:
            return self.waiting.pop(0), ""
        text, self.text = self.text, ""
        return None, text

    @property
    def noted(self) -> bool:
        """Whether a note waits."""
        return any(line.startswith(_NOTE) for line in self.waiting)

    def notes(self) -> list[str]:
        """The words of `/note`s that wait: they need not wait for the end of the turn."""
        found = [line.removeprefix(_NOTE).strip() for line in self.waiting if line.startswith(_NOTE)]
        self.waiting = [line for line in self.waiting if not line.startswith(_NOTE)]
        return [words for words in found if words]

    def hold(self) -> None:
        """The turn was stopped: what waited for its end is put back into the line."""
        self.text = "\n".join([*self.waiting, *([self.text] if self.text else [])])
        self.waiting = []

    def _key(self, press: KeyPress) -> None:
        self._last = time.monotonic()
        escape, self._escape = self._escape, press.key == Keys.Escape
        match press.key:
            case Keys.ControlM | Keys.ControlJ if escape:
                self.text += "\n"
            case Keys.ControlM | Keys.ControlJ:
                self._enter()
            case Keys.ControlH:  # Backspace
                self.text = self.text[:-1]
            case Keys.ControlW:
                self.text = " ".join(self.text.split(" ")[:-1])
            case Keys.ControlU:
                self.text = ""
            case Keys.Up if not self.text and self.waiting:
                self.text = self.waiting.pop()
            case Keys.BracketedPaste:
                self.text += press.data.replace("\r\n", "\n").replace("\r", "\n")
            case str(character) if len(character) == 1 and character.isprintable() and not escape:
                self.text += character
            case _:
                pass

    def _enter(self) -> None:
        if self.text.endswith("\\"):
            self.text = self.text[:-1] + "\n"
        elif self.text.strip():
            self.waiting.append(self.text.strip())
            self.text = ""
