"""One key decides a call: allow, always, deny and teach, edit, not to be learned from, a note, help.

Keys that were pressed before the question was on the screen decide nothing, and neither does the rest of a
line that was being typed when it came up: nobody approves what they have not seen. Edited arguments are shown
again, with what they would do, before they run.
"""

import contextlib
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass

from prompt_toolkit.application import Application, get_app
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import HSplit, Layout, Window
from prompt_toolkit.layout.controls import FormattedTextControl
from prompt_toolkit.styles import BaseStyle
from rich.console import Console
from rich.text import Text

from continualcode.plugins.uis.terminal.ahead import Ahead
from continualcode.plugins.uis.terminal.render import clean
from continualcode.plugins.uis.terminal.working import waiting

YES, ALWAYS, NO, EDIT, EDITOR, SKIP, NOTE, HELP = "y", "a", "n", "e", "E", "s", "!", "?"
STOP, END, NOTED = "c-c", "c-d", "noted"
COMMAND = "/"

HELP_LINES = (
    ("y", "allow this call, once"),
    ("a", "allow it, and from now on without asking, exactly what is written beside it"),
    ("n", "deny it and say what to do instead: the model learns from those words at once"),
    ("e", "change the arguments here, field by field; what you change is learned from, too"),
    ("E", "change them as JSON in $EDITOR"),
    ("s", "decide, but let nothing be learned from it: then y, n or e; s again takes it back"),
    ("!", "a note: the model sees it, and it joins your next correction"),
    ("Ctrl-C", "twice: stop the model's turn. Ctrl-D ends the session. Nothing is decided then"),
)


@dataclass
class Choices:
    """What can be decided. `always` says what the rule would grant, None where there is none to add."""

    always: str | None
    edited: bool = False
    learning: bool = True
    helping: bool = False
    warned: bool = False
    typed: str = ""  # the person's next prompt, as far as it is typed

    def text(self, width: int) -> StyleAndTextTuples:
        """The choices as they are shown, on lines of at most `width` cells."""
        choices = [
            ("y", "allow as edited" if self.edited else "allow"),
            ("n", "deny & teach" if self.learning else "deny"),
            ("e", "edit"),
            ("s", "without learning" if self.learning else "learn after all"),
            ("!", "note"),
            ("?", "help"),
        ]
        found: StyleAndTextTuples = []
        room = 0
        for key, words in choices:
            if (needed := len(key) + len(words) + 3) > room:
                found.append(("", "\n  " if found else "  "))
                room = width - 2
            else:
                found.append(("", "  "))
            room -= needed
            found += [("class:key", key), ("", f" {words}")]
        if self.always is not None and not self.edited:
            lines = wrapped(f"always allow: {clean(self.always)}", width - 4)
            found += [("", "\n  "), ("class:key", "a"), ("", " " + f"\n{'':4}".join(lines))]
        if not self.learning:
            found.append(("class:warn", "\n  nothing will be learned from this decision"))
        if self.warned:
            found.append(("class:warn", "\n  Ctrl-C again stops the model's turn"))
        if self.typed:
            lines = wrapped(f"kept for your next prompt: {clean(self.typed)}", width - 2)
            found += [("class:dim", "".join(f"\n  {line}" for line in lines))]
        for key, words in HELP_LINES if self.helping else ():
            lines = wrapped(words, width - 10)
            found += [("class:key", f"\n  {key:<7}"), ("class:dim", f"\n{'':9}".join(lines))]
        return found

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that mean something now."""
        always = (ALWAYS,) if self.always is not None and not self.edited else ()
        return (YES, *always, NO, EDIT, EDITOR, SKIP, NOTE, HELP)


def wrapped(text: str, width: int) -> list[str]:
    """`text` on lines of at most `width` cells, spaces in it as they are."""
    return [str(line) for line in Text(text).wrap(Console(width=max(width, 20)), max(width, 20))]


def press(choices: Choices, status: Callable[[], StyleAndTextTuples], style: BaseStyle, ahead: Ahead) -> str:
    """The key that was pressed: one of `choices.keys`, STOP or END. Any other key shows the help.

    While someone is in the middle of typing a line, keys belong to that line (`ahead`), until they pause; a
    slash begins one. NOTED: that line was a note, which waits in `ahead`.
    """
    keys = KeyBindings()

    @keys.add(Keys.Any)
    @keys.add(Keys.Enter)
    def _(event: KeyPressEvent) -> None:
        pressed = event.key_sequence[0].key
        if ahead.typing or pressed == COMMAND:
            ahead.press(event.key_sequence)
            choices.typed = ahead.line
            if ahead.noted:
                event.app.exit(result=NOTED)
        elif pressed in choices.keys and pressed != HELP:
            event.app.exit(result=pressed)
        else:
            choices.helping = not choices.helping or pressed != HELP

    @keys.add("c-c")
    @keys.add("<sigint>")
    def _(event: KeyPressEvent) -> None:
        event.app.exit(result=STOP)

    @keys.add("c-d")
    def _(event: KeyPressEvent) -> None:
        event.app.exit(result=END)

    @keys.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        """Pasted text decides nothing."""
        choices.helping = True

    body = Window(
        FormattedTextControl(
            lambda: choices.text(get_app().output.get_size().columns), focusable=True, show_cursor=False
        ),
        wrap_lines=True,
        dont_extend_height=True,
    )
    bar = Window(FormattedTextControl(status), height=1, dont_extend_height=True)
    app: Application[str] = Application(
        layout=Layout(HSplit([body, Window(), bar])), key_bindings=keys, style=style, erase_when_done=True
    )
    _go_on(ahead, app)
    choices.typed = ahead.line
    return NOTED if ahead.noted else app.run()


def _go_on(ahead: Ahead, app: "Application[str]") -> None:
    """Keys that came before there was a question go on with the line that was begun, or are dropped."""
    read, unread = get_typeahead(app.input), ""
    with contextlib.suppress(termios.error, OSError, ValueError):  # no terminal: nothing is waiting in it
        unread = waiting(sys.stdin.fileno())
    if ahead.text:
        ahead.press(read)
        ahead.feed(unread)
        ahead.whole()
