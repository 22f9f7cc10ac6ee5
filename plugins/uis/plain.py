"""The UI `plain`: a person at any terminal, with nothing but the standard library.

Each tool call is shown with what it would do, and one line of choices. A denial needs words: they are
the correction that the model learns from. Ctrl-C stops the model, a tool or an update; twice at a question
stops the turn; Ctrl-D ends the session. In a pipe that has ended nobody is there: calls are denied.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from continualcode import hookimpl
from continualcode.core.data import Arguments, Json
from continualcode.core.events import NoteGiven
from continualcode.core.protocols import UI
from continualcode.core.review import Answer, Question, grants
from continualcode.core.schema import check_arguments
from continualcode.core.session import Session
from continualcode.plugins.uis.screen import UNANSWERED, Screen, indented

CHOICES = (
    "y  allow this call",
    "a  allow it, and from now on without asking, exactly: {always}",
    "n  deny it, with the words that the model learns from: n use edit_lines instead",
    "e  edit the arguments in $EDITOR, then allow",
    "s  deny it, and learn nothing from that",
    "!  say something in passing: !prefer small edits",
)


class PlainUI(Screen):
    """Asks and shows, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self._over = False  # the input has ended
        try:
            importlib.import_module("readline")  # history and line editing for input(), where there is any
        except ImportError:
            pass

    def next_input(self, session: Session) -> str | None:
        """A prompt; a line that ends in a backslash goes on. None at Ctrl-D."""
        lines: list[str] = []
        while not self._over:
            try:
                line = self._input("> " if not lines else "… ")
            except EOFError:
                return None
            except KeyboardInterrupt:
                self.say("  (Ctrl-D or /quit ends the session)", "dim")
                lines.clear()
                continue
            lines.append(line.removesuffix("\\"))
            text = "\n".join(lines).strip()
            if line.endswith("\\"):
                continue
            if text:
                return text
            lines.clear()
        return None

    def review(self, question: Question, session: Session) -> Answer:
        """Show what the call would do, and ask until there is a decision."""
        self.say(indented(self.diff(question.preview)) if question.preview else "")
        if question.reason:
            self.say(f"  {question.reason}", "yellow")
        choices = f"  [y]es  [a]lways: {grants(question.always)}  [n]o, because…  [e]dit  [s]kip  [?] "
        warned = False
        while True:
            try:
                given = self._input(self.paint(choices, "bold")).strip()
            except EOFError:
                self._over = True
                if not sys.stdin.isatty():  # nobody is there, and nobody was: the turn goes on without
                    self.say("")
                    return Answer(verdict="deny", reason=UNANSWERED, train=False, by="plain:end-of-input")
                raise KeyboardInterrupt from None  # no decision: the turn stops here, and the session ends
            except KeyboardInterrupt:
                if warned:
                    raise
                warned = True
                self.say("  Press Ctrl-C again to stop the model's turn.", "dim")
                continue
            answer = self._answer(given, question, session)
            if answer is not None:
                return answer

    def _answer(self, given: str, question: Question, session: Session) -> Answer | None:
        """The decision that a line stands for; None: it was no decision, ask again."""
        letter, words = given[:1].lower(), given[1:].strip()
        if given.startswith("!"):
            if words:
                session.append(NoteGiven(text=words))
                self.say("  Noted: it joins your next correction.", "dim")
            return None
        if letter in ("n", "s"):
            words = words.removeprefix("o ").strip() if given.lower().startswith("no ") else words
            if given.lower() in ("no", "skip"):
                words = ""
            if letter == "s":
                return Answer(verdict="deny", reason=words or None, train=False)
            return self._denial(words)
        if given.lower() in ("y", "yes"):
            return Answer(verdict="allow")
        if given.lower() in ("a", "always"):
            return Answer(verdict="allow", always=True)
        if given.lower() in ("e", "edit"):
            return self._edited(question, session)
        self.say("\n".join(f"  {c}" for c in CHOICES).format(always=grants(question.always)), "dim")
        return None

    def _denial(self, words: str) -> Answer | None:
        while not words:
            try:
                words = self._input("  What should it do instead? The model learns from this: ").strip()
            except EOFError:
                return None
            if not words:
                self.say("  A denial without words teaches nothing; `s` denies without learning.", "dim")
                return None
        return Answer(verdict="deny", reason=words)

    def _edited(self, question: Question, session: Session) -> Answer | None:
        """The arguments as the person leaves them in their editor; None if they left them as they were."""
        text = json.dumps(question.call.arguments, ensure_ascii=False, indent=2) + "\n"
        spec = session.tools[question.call.tool].spec
        while True:
            try:
                edited = edit(text)
            except (OSError, subprocess.CalledProcessError) as error:
                self.say(f"  the editor failed: {error}; set EDITOR to one that works", "red")
                return None
            if edited.strip() == text.strip():
                self.say("  Nothing was changed.", "dim")
                return None
            try:
                arguments: Arguments = msgspec.json.decode(edited, type=dict[str, Json])
                wrong = check_arguments(spec, arguments)
            except msgspec.DecodeError as error:
                arguments, wrong = {}, f"not JSON, or not an object: {error}"
            if wrong is None:
                return Answer(verdict="allow", arguments=arguments)
            self.say(f"  These arguments cannot run: {wrong}", "red")
            try:
                if self._input("  Edit again? [Y/n] ").strip().lower().startswith("n"):
                    return None
            except EOFError:
                return None
            text = edited

    def _input(self, prompt: str) -> str:
        self._clear()
        return input(prompt)


def edit(text: str) -> str:
    """`text` after the person's editor: $VISUAL, $EDITOR, or the first of nano, vim, vi that there is."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    editor = editor or next((found for name in ("nano", "vim", "vi") if (found := shutil.which(name))), None)
    if editor is None:
        raise OSError("no editor was found: none of $VISUAL, $EDITOR, nano, vim, vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arguments.json"
        file.write_text(text, encoding="utf-8")
        subprocess.run(["/bin/sh", "-c", f'{editor} "$1"', "sh", str(file)], check=True)
        return file.read_text(encoding="utf-8")


@hookimpl
def make_ui(name: str, options: Mapping[str, Any]) -> Callable[[], UI] | None:
    """Answers to `plain`."""
    return PlainUI if name == "plain" else None
