"""The UI `json`: for programs. Events go out as JSON Lines on stdout, decisions come in on stdin.

Out, one object a line: every record as `cc log show --json` prints it (`t` is its type), and three things
that are no facts (`always` is what a rule would grant):

    {"t":"question","call_id":…,"call":{"tool":…,"arguments":{…}},"preview":…,"reason":…,"always":…}
    {"t":"message","text":…}                     an answer to a command, or why something cannot be done
    {"t":"progress","label":…,"done":…,"total":…}

In: an answer to the last question, and, without `--prompt`, prompts (or slash commands):

    {"call_id":…,"verdict":"allow"}              optional: "arguments", "always", "train"
    {"call_id":…,"verdict":"deny","reason":…}    the reason is learned from
    {"prompt":"Fix the test."}

Where stdin has ended, a question is answered by a denial that says so and teaches nothing.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from continualcode import hookimpl
from continualcode.core.data import Arguments, Data
from continualcode.core.protocols import UI
from continualcode.core.review import Answer, Question, grants
from continualcode.core.session import Session
from continualcode.eventlog import Record, to_builtins
from continualcode.plugins.uis.screen import UNANSWERED


class Line(Data, frozen=True, forbid_unknown_fields=True):
    """One line of stdin: a prompt, or the answer to the question `call_id`."""

    prompt: str | None = None
    call_id: str | None = None
    verdict: Literal["allow", "deny"] | None = None
    reason: str | None = None
    arguments: Arguments | None = None
    always: bool = False
    train: bool = True


class JsonUI:
    """A session as two streams of lines."""

    def next_input(self, session: Session) -> str | None:
        """The next prompt; None where stdin has ended."""
        while (line := self._read()) is not None:
            if line.prompt is not None:
                return line.prompt
            self.message('no question is open: {"prompt": "…"} is expected')
        return None

    def review(self, question: Question, session: Session) -> Answer:
        """Ask, and wait for a line that answers this question."""
        self._write(
            {
                "t": "question",
                "call_id": question.call_id,
                "call": question.call,
                "preview": question.preview,
                "reason": question.reason,
                "always": grants(question.always) if question.always else None,
            }
        )
        while (line := self._read()) is not None:
            if line.verdict is None or line.call_id != question.call_id:
                self.message(f'the question {question.call_id} is open: "call_id" and "verdict" are expected')
            elif line.verdict == "deny" and not line.reason and line.train:
                self.message('a denial needs a "reason", which is learned from, or "train": false')
            else:
                return Answer(
                    verdict=line.verdict,
                    reason=line.reason,
                    arguments=line.arguments,
                    always=line.always,
                    train=line.train,
                )
        return Answer(verdict="deny", reason=UNANSWERED, train=False, by="json:end-of-input")

    def event(self, record: Record, session: Session) -> None:
        """A record, as it is in the log."""
        self._write(to_builtins(record))

    def text(self, piece: str) -> None:
        """Not passed on: the record that follows holds it all."""

    def progress(self, label: str, done: int, total: int) -> None:
        """How far something long has come."""
        self._write({"t": "progress", "label": label, "done": done, "total": total})

    def message(self, text: str) -> None:
        """An answer to a command, or an error."""
        self._write({"t": "message", "text": text})

    def _read(self) -> Line | None:
        while text := sys.stdin.readline():
            if not text.strip():
                continue
            try:
                return msgspec.json.decode(text, type=Line)
            except msgspec.DecodeError as error:
                self.message(f"not understood: {error}")
        return None

    def _write(self, line: Any) -> None:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


@hookimpl
def make_ui(name: str, options: Mapping[str, Any]) -> Callable[[], UI] | None:
    """Answers to `json`."""
    return JsonUI if name == "json" else None
