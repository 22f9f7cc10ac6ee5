"""Lines that a person types: the prompt, the words of a correction, a note, a value.

Everywhere the same keys: Enter sends, Alt-Enter (or a backslash at the end) begins a new line, pasted text
stays as it is, Ctrl-R searches what was typed before, Ctrl-X Ctrl-E opens $EDITOR. What was typed is kept per
user, in the platform's folder for such things.
"""

from collections.abc import Callable, Sequence

from platformdirs import user_data_path
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import Completer, DummyCompleter, WordCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.filters.app import completion_is_selected, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import PromptSession
from prompt_toolkit.validation import Validator

from continualcode.plugins.uis.terminal.completion import begun
from continualcode.plugins.uis.terminal.render import clean
from continualcode.plugins.uis.terminal.status import Part, fit
from continualcode.plugins.uis.terminal.theme import Theme

LEAVE = "Ctrl-D or /quit ends the session"
MOST_CHIPS = 5


class Back(Exception):
    """Ctrl-C in a question's own line: back to the question, nothing is decided."""


def keep(name: str) -> History:
    """What was typed at such a line before, this session and earlier ones; in memory if it cannot be kept."""
    folder = user_data_path("continualcode") / "history"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / name
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)


class Lines:
    """Asks for lines. `status(width)` is the line below them."""

    def __init__(self, theme: Theme, status: Callable[[int], str], completer: Completer) -> None:
        self._theme = theme
        self._status = status
        self.withdrawn = ""
        self._hint = ""
        self._prompts = keep("prompts")
        self._corrections = keep("corrections")
        self._notes = keep("notes")
        self._prompt: PromptSession[str | None] = PromptSession(
            history=self._prompts,
            completer=completer,
            complete_while_typing=Condition(lambda: begun(get_app().current_buffer.document)),
            reserve_space_for_menu=6,
            key_bindings=self._prompt_keys(),
            bottom_toolbar=self._toolbar,
            prompt_continuation=continuation,
            multiline=True,
            enable_open_in_editor=True,
            enable_suspend=True,
            style=theme.prompt_style(),
            include_default_pygments_style=False,
        )

    def prompt(
        self, default: str = "", *, refresh: float = 0, begin: Callable[[], None] | None = None
    ) -> str | None:
        """The next thing to do; None at Ctrl-D. Others may print meanwhile: it goes above the line."""
        self._hint = ""
        with patch_stdout(raw=True):
            return self._prompt.prompt(
                [("class:prompt", "> ")], default=default, refresh_interval=refresh, pre_run=begin
            )

    def early_keys(self) -> list[KeyPress]:
        """Keys that came in one piece with the Enter that ended the prompt."""
        return get_typeahead(self._prompt.input)

    def remember(self, text: str) -> None:
        """As if it had been typed at the prompt."""
        self._prompts.append_string(text)

    def withdraw(self) -> None:
        """End the prompt from another thread as if nothing had been typed; what was is in `withdrawn`."""
        app = self._prompt.app

        def leave() -> None:
            if app.is_running and not app.is_done:
                self.withdrawn = self._prompt.default_buffer.text
                app.exit(result=None)

        if app.loop is not None:
            app.loop.call_soon_threadsafe(leave)

    def correction(self, chips: Sequence[str], suggestion: str | None, *, required: bool) -> str:
        """The words that the model learns from. Raises Back. `chips`: by number, or with Tab."""
        chosen = list(chips[:MOST_CHIPS])
        keys = plain_keys()
        empty = Condition(lambda: not get_app().current_buffer.text)

        def take(text: str) -> Callable[[KeyPressEvent], None]:
            return lambda event: event.current_buffer.insert_text(text)

        for number, chip in enumerate(chosen, 1):
            keys.add(str(number), filter=empty)(take(chip))
        if suggestion:
            keys.add("right", filter=empty)(take(suggestion))

        @keys.add("tab")
        def _(event: KeyPressEvent) -> None:
            """The first of them at once, then the next."""
            if event.current_buffer.complete_state is not None:
                event.current_buffer.complete_next()
            else:
                event.current_buffer.start_completion(select_first=True)

        offered = [*chosen, *([suggestion] if suggestion else [])]
        hints = ["Enter sends", "Ctrl-C back"]
        hints += ["→ takes what is suggested"] if suggestion else []
        hints += ["1, 2, Tab: an earlier one"] if chosen else []
        session: PromptSession[str] = PromptSession(
            history=self._corrections,
            completer=WordCompleter(offered, sentence=True) if offered else DummyCompleter(),
            complete_while_typing=False,
            key_bindings=keys,
            placeholder=[("class:placeholder", suggestion)] if suggestion else None,
            validator=Validator.from_callable(
                lambda text: not required or any(character.isalpha() for character in text),
                "a denial without words teaches nothing (Ctrl-C, then s: deny without learning)",
                move_cursor_to_end=True,
            ),
            validate_while_typing=False,
            bottom_toolbar=self._hints(hints),
            prompt_continuation=continuation,
            multiline=True,
            enable_open_in_editor=True,
            reserve_space_for_menu=0,
            erase_when_done=True,  # the decision that follows says it again
            style=self._theme.prompt_style(),
            include_default_pygments_style=False,
        )
        label = "  What should it do instead?" if required else "  Why? (Enter: no reason)"
        earlier = [("class:dim", f"    {n} {clean(chip)}\n") for n, chip in enumerate(chosen, 1)]
        return session.prompt([("class:prompt", f"{label}\n"), *earlier, ("class:prompt", "  > ")]).strip()

    def note(self) -> str:
        """A note in passing; "" for none. Raises Back."""
        session: PromptSession[str] = PromptSession(
            history=self._notes,
            key_bindings=plain_keys(),
            multiline=True,
            prompt_continuation=continuation,
            bottom_toolbar=self._hints(["Enter sends", "Ctrl-C back"]),
            style=self._theme.prompt_style(),
            include_default_pygments_style=False,
        )
        return session.prompt([("class:prompt", "  Note: ")]).strip()

    def value(self, label: str, text: str, validator: Validator) -> str:
        """A value to change, in place. Raises Back."""
        session: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            key_bindings=plain_keys(),
            validator=validator,
            validate_while_typing=True,
            multiline=True,
            enable_open_in_editor=True,
            prompt_continuation=continuation,
            bottom_toolbar=self._hints(
                ["Enter next", "Alt-Enter new line", "Ctrl-X Ctrl-E editor", "Ctrl-C back"]
            ),
            style=self._theme.prompt_style(),
            include_default_pygments_style=False,
        )
        return session.prompt([("class:prompt", label)], default=text)

    def status_text(self) -> StyleAndTextTuples:
        """The status line for wherever else it is shown."""
        return [("class:status", self._status(get_app().output.get_size().columns))]

    def _toolbar(self) -> StyleAndTextTuples:
        if self._hint:
            return [("class:warn", self._hint)]
        return self.status_text()

    def _hints(self, hints: Sequence[str]) -> Callable[[], StyleAndTextTuples]:
        """As many of them as the line has room for."""
        found = [Part(rank, (hint,)) for rank, hint in enumerate(hints)]
        return lambda: [("class:status", fit(found, get_app().output.get_size().columns))]

    def _prompt_keys(self) -> KeyBindings:
        keys = sending_keys()

        @keys.add("enter", filter=completion_is_selected)
        def _(event: KeyPressEvent) -> None:
            """Take what the menu points at: more may follow it."""
            event.current_buffer.complete_state = None

        @keys.add("c-c")
        @keys.add("<sigint>")
        def _(event: KeyPressEvent) -> None:
            """Empty the line; on an empty one, say how to leave."""
            if event.current_buffer.text:
                event.current_buffer.reset()
                self._hint = ""
            else:
                self._hint = LEAVE

        @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
        def _(event: KeyPressEvent) -> None:
            """The end."""
            event.app.exit(result=None)

        return keys


def sending_keys() -> KeyBindings:
    """Enter sends; Alt-Enter, or a backslash before Enter, begins a new line."""
    keys = KeyBindings()

    @keys.add("enter", filter=~is_searching)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if _ends_in_backslash(buffer):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


def plain_keys() -> KeyBindings:
    """The same; Ctrl-C, and Ctrl-D on an empty line, go back."""
    keys = sending_keys()

    @keys.add("c-c")
    @keys.add("<sigint>")
    @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
    def _(event: KeyPressEvent) -> None:
        event.app.exit(exception=Back())

    return keys


def continuation(width: int, line: int, wrapped: int) -> StyleAndTextTuples:
    """What stands before the second line and those after it; nothing where a line only wraps."""
    return [("class:dim", ("" if wrapped else "… ").rjust(width))]


def _ends_in_backslash(buffer: Buffer) -> bool:
    document: Document = buffer.document
    return document.is_cursor_at_the_end and document.text.endswith("\\")
