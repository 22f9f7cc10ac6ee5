"""The UI `terminal` as the session sees it: what it asks, what it shows, how it starts and how it stops."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.text import Text

from continualcode.core.data import Arguments, Call, Json
from continualcode.core.engine import is_command
from continualcode.core.events import NoteGiven, TurnInterrupted
from continualcode.core.review import Answer, Question, grants
from continualcode.core.schema import check_arguments
from continualcode.core.session import Session
from continualcode.eventlog import Record
from continualcode.plugins.uis.plain import edit
from continualcode.plugins.uis.terminal import help as help_page
from continualcode.plugins.uis.terminal import review
from continualcode.plugins.uis.terminal.ahead import Ahead
from continualcode.plugins.uis.terminal.arguments import edit_fields
from continualcode.plugins.uis.terminal.chips import chips, suggestion
from continualcode.plugins.uis.terminal.completion import Files, PromptCompleter
from continualcode.plugins.uis.terminal.diff import preview
from continualcode.plugins.uis.terminal.lines import Back, Lines
from continualcode.plugins.uis.terminal.live import Activity
from continualcode.plugins.uis.terminal.loading import Loading
from continualcode.plugins.uis.terminal.render import Rows, clean
from continualcode.plugins.uis.terminal.show import Show
from continualcode.plugins.uis.terminal.status import fit, parts
from continualcode.plugins.uis.terminal.theme import Theme
from continualcode.plugins.uis.terminal.working import Working

GIVE_UP = 2.0
"""Seconds that leaving waits for a model that is being loaded before the process ends under it."""


class TerminalUI:
    """Asks and shows. All of it in one thread, but for what `opening` says."""

    def __init__(self, theme: Theme) -> None:
        self._theme = theme
        self._console = theme.console()
        self._ahead = Ahead()
        self._activity = Activity(self._console, self._ahead, theme.code)
        self._show = Show(self._console, self._activity, theme)
        self._working = Working(self._stopping, self._ahead)
        self._session: Session | None = None
        self._loading: Loading | None = None
        self._early: str | None = None  # given before the session was open
        self._over = False  # the input has ended
        self._commanded = False  # what was given last is a command
        completer = PromptCompleter(
            Files(self._root), lambda: self._session.commands if self._session else {}
        )
        self._lines = Lines(theme, self._status, completer)

    # -- The start ------------------------------------------------------------------------------------

    def opening(self, open_session: Callable[[], Session]) -> Session:
        """Run `open_session` in a thread, and take the first prompt meanwhile.

        From that thread come only `progress` and the first events; the prompt's line stays below them.
        Raises what `open_session` raised; SystemExit where the person left before there was a session.
        """
        loading = self._loading = Loading(open_session)
        self._show.say(Text.assemble(("continualcode", "head"), "  /help shows the commands"))
        text = ""
        started = False

        def start() -> None:
            nonlocal started
            if not started:
                started = True
                loading.start(self._lines.withdraw)
            elif loading.error is not None or loading.owes:
                self._lines.withdraw()

        while True:
            given = self._lines.prompt(text, refresh=0.2, begin=start)
            text = given or ""
            if given is None and loading.owes:  # what was left to learn is learned before anything else
                self._ahead.text = self._lines.withdrawn
                self._working.begin(loading.result().cancelled)
                break
            if loading.error is not None and self._lines.withdrawn.strip():
                self._lines.remember(self._lines.withdrawn)
            if loading.error is None and given is None:
                self._leave(loading)
            if loading.error is None and not text.strip():
                continue
            try:
                self._wait(loading)
                break
            except KeyboardInterrupt:
                self._rest()  # what was typed goes back into the line
        self._loading = None
        session = loading.result()
        self._early = text
        return session

    def _wait(self, loading: Loading) -> None:
        if not loading.over:
            self._working.begin(None)
            self._activity.begin(loading.state)
        while not loading.wait(0.1):
            self._activity.label = loading.state
        self._rest()

    def _leave(self, loading: Loading) -> None:
        """End the program before there is a session, or just when there is."""
        session = loading.abandon(0 if loading.over else GIVE_UP)
        if session is not None:
            session.close("quit")
        elif not loading.over:
            # The thread is inside a library that is being loaded, and holds nothing that has to be closed.
            sys.stdout.flush()
            os._exit(0)
        raise SystemExit(0)

    # -- The protocol ---------------------------------------------------------------------------------

    def next_input(self, session: Session) -> str | None:
        """A prompt or a command; None at Ctrl-D. /help is answered here, as it is about this UI, too."""
        self._session = session
        self._rest()
        if self._early is None:
            self._console.print()
        while not self._over:
            given = self._given()
            if given is None:
                return None
            text = given.strip()
            if text in ("/help", "/?"):
                self._show.say(help_page.page(session.commands))
            elif text:
                self._commanded = is_command(text)
                self._ahead.press(self._lines.early_keys())
                self._working.begin(None if self._commanded else session.cancelled)
                return text
        return None

    def _given(self) -> str | None:
        """What was sent before now, or else what is typed now."""
        if self._early is not None:
            early, self._early = self._early, None
            return early
        waited, begun = self._ahead.take()
        if waited is None:
            return self._lines.prompt(begun)
        self._lines.remember(waited)
        self._show.say(Text.assemble(("> ", "head"), clean(waited).replace("\n", "\n… ")))
        return waited

    def review(self, question: Question, session: Session) -> Answer:
        """Show what the call would do, and ask until there is a decision."""
        self._rest()
        try:
            answer = self._decide(question, session)
        finally:
            self._working.begin(session.cancelled)
        return answer

    def event(self, record: Record, session: Session) -> None:
        """Show what matters of a record."""
        self._session = session
        if isinstance(record, TurnInterrupted):
            self._ahead.hold()
        self._show.event(record, session)

    def text(self, piece: str) -> None:
        """A token of the model, or some output of a tool."""
        self._activity.add(piece)

    def progress(self, label: str, done: int, total: int) -> None:
        """How far something long is."""
        if self._loading is not None:
            self._loading.report(label, done, total)
        elif total and self._activity.active:
            self._activity.label = f"{label} {done}/{total}"
        elif total:
            self._activity.begin(f"{label} {done}/{total}")

    def message(self, text: str) -> None:
        """A command's answer, or an error."""
        if self._commanded:
            self._working.end()  # the command is over, and may have ended the session
        self._show.say(Rows(text))

    # -- A question -----------------------------------------------------------------------------------

    def _decide(self, question: Question, session: Session) -> Answer:
        """The keys of a review, one after the other, until one of them is an answer."""
        always = grants(question.always) if question.always is not None else None
        choices = review.Choices(always=always)
        arguments: Arguments | None = None  # as edited
        if not question.preview.startswith(f"{question.call.tool}("):  # the headline has said as much
            self._show.say(preview(question.call, question.preview, self._theme.code), indent=2)
        if question.reason:
            self._show.say(question.reason, "warn", indent=2)
        while True:
            for words in self._ahead.notes():
                self._note(words, session)
            key = review.press(choices, self._lines.status_text, self._theme.prompt_style(), self._ahead)
            try:
                if key == review.STOP and not choices.warned:
                    choices.warned = True
                elif key in (review.STOP, review.END):
                    self._over = key == review.END
                    raise KeyboardInterrupt  # no decision: the turn stops here
                elif key in (review.YES, review.ALWAYS):
                    return Answer(
                        verdict="allow",
                        arguments=arguments,
                        always=key == review.ALWAYS,
                        train=choices.learning,
                    )
                elif key == review.NO:
                    return self._denial(question, session, learning=choices.learning)
                elif key in (review.EDIT, review.EDITOR):
                    arguments = self._edited(question, arguments, session, in_editor=key == review.EDITOR)
                    choices.edited = arguments is not None
                elif key == review.SKIP:
                    choices.learning = not choices.learning
                elif key == review.NOTE and (words := self._lines.note()):
                    self._note(words, session)
            except Back:
                continue

    def _note(self, words: str, session: Session) -> None:
        session.append(NoteGiven(text=words))
        self._show.say(f"Noted, and it joins your next correction: {words}", "dim", indent=2)

    def _denial(self, question: Question, session: Session, *, learning: bool) -> Answer:
        advice = suggestion(question, session.transcript)
        words = self._lines.correction(chips(session.transcript), advice, required=learning)
        return Answer(verdict="deny", reason=words or None, train=learning)

    def _edited(
        self, question: Question, before: Arguments | None, session: Session, *, in_editor: bool
    ) -> Arguments | None:
        """The arguments as changed, shown with what they would do; None if they are as proposed."""
        tool = session.tools[question.call.tool]
        given = before if before is not None else question.call.arguments
        if in_editor:
            arguments = self._in_editor(given, question.call.tool, session)
        else:
            arguments = edit_fields(given, tool.spec, self._lines)
        if arguments == question.call.arguments:
            self._show.say("Nothing was changed.", "dim", indent=2)
            return None
        if arguments != given:
            try:
                text = tool.preview(arguments, session)
            except Exception as error:  # as in the engine: a plugin's tool that cannot say what it would do
                text = f"(no preview: {error})"
            self._show.say("as edited:", "dim", indent=2)
            call = Call(tool=question.call.tool, arguments=arguments)
            self._show.say(preview(call, text, self._theme.code), indent=2)
        return arguments

    def _in_editor(self, given: Arguments, name: str, session: Session) -> Arguments:
        """The arguments as JSON through the person's editor; raises Back where nothing useful comes out."""
        text = json.dumps(given, ensure_ascii=False, indent=2) + "\n"
        try:
            edited = edit(text)
        except (OSError, subprocess.CalledProcessError) as error:
            self._show.say(f"the editor failed: {error}; set EDITOR to one that works", "no", indent=2)
            raise Back from None
        try:
            arguments: Arguments = msgspec.json.decode(edited, type=dict[str, Json])
            wrong = check_arguments(session.tools[name].spec, arguments)
        except msgspec.DecodeError as error:
            arguments, wrong = {}, f"not JSON, or not an object: {error}"
        if wrong is not None:
            self._show.say(f"these arguments cannot run: {wrong}", "no", indent=2)
            raise Back
        return arguments

    # -- Below the line -------------------------------------------------------------------------------

    def _status(self, width: int) -> str:
        if self._loading is not None and not self._loading.over:
            return fit_text(f"{self._loading.state} … you can type already", width)
        return fit(parts(self._session), width) if self._session is not None else ""

    def _root(self) -> Path:
        return self._session.workspace.root if self._session is not None else Path.cwd()

    def _rest(self) -> None:
        """Nothing happens now but the person."""
        self._activity.end()
        self._working.end()

    def _stopping(self) -> None:
        self._activity.label = "stopping (Ctrl-C again: at once)"


def fit_text(text: str, width: int) -> str:
    """`text` cut at `width` cells."""
    shown = Text(text)
    shown.truncate(max(width, 1), overflow="ellipsis")
    return shown.plain
