"""The corrected prompt asked otherwise: in another way, about other files.

"Use bash to run main.py." is "Run orders.py in the shell." as well, and what both have in common is what is
asked. So what is like a prompt is found by all of them (`Discerning.nearness`), and where too little is, the
correction is learned on them (`siblings`): on one prompt alone it is learned on that one's words.
"""

import re
from collections.abc import Sequence

import msgspec

from continualcode.core.data import Message
from continualcode.plugins.trainers.paths import FILE

SHELL = r"(?:bash|the shell|the terminal|the command line|a (?:shell|bash|terminal) command)"
"""How people name it."""

BY_SHELL = re.compile(
    rf"(?:please )?(?:use|in|with|from) {SHELL}(?: to|,|:)? (?P<after>.+)"
    rf"|(?P<before>.+?),? (?:in|from|with|on) {SHELL}(?:,? please)?",
    re.IGNORECASE | re.DOTALL,
)
"""A request that says it is for the shell, and what it is without that."""

FRAMES = {
    "shell": (
        "{Asked} in the shell.",
        "Use bash to {asked}.",
        "{Asked} with a shell command.",
        "In the terminal: {asked}.",
        "Please {asked}, in bash.",
        "Run a command in the shell: {asked}.",
    ),
    "question": (
        "Tell me: {asked}?",
        "Hi! {Asked}?",
        "I have a question. {Asked}?",
        "{Asked}? Please find out.",
        "I would like to know: {asked}?",
        "One more thing: {asked}?",
    ),
    "request": (
        "Please {asked}.",
        "Hi! {Asked}.",
        "{Asked}, please.",
        "Next: {asked}.",
        "{Asked}. Thanks.",
        "I want you to do this: {asked}.",
    ),
}
"""Ways to ask, by what is asked; in each, without the point at its end."""

STEMS = ("orders", "parser", "cities", "worker", "shop", "mailer", "colours", "engine")
"""What files are called instead."""

LONGEST = 1000
"""How many characters of a conversation are said again at most: each variant is read anew."""


def reworded(messages: Sequence[Message], correction: str, most: int) -> list[tuple[Message, ...]]:
    """At most `most` variants of a conversation's last request, with the system message and what came after.

    None of a request of several lines, as that brings more than it asks for: a file, an error, instructions.
    Files that the correction names stay, as it may be about them; those of a web address do too.

    >>> asked = [Message(role="user", text="Use bash to run main.py.")]
    >>> [variant[0].text for variant in reworded(asked, "Say python3.", 2)]
    ['Run orders.py in the shell.', 'Use bash to run parser.py.']
    >>> reworded([Message(role="user", text="What is in a/b.toml?")], "Don't read b.toml.", 1)[0][0].text
    'Tell me: what is in a/b.toml?'
    """
    asked = max((n for n, message in enumerate(messages) if message.role == "user"), default=None)
    text = messages[asked].text.strip() if asked is not None else ""
    if asked is None or "\n" in text or sum(len(_said(one)) for one in messages[asked:]) > LONGEST:
        return []
    system = [message for message in messages[:1] if message.role == "system"]
    files = dict.fromkeys(found["name"] for found in FILE.finditer(text))
    named = [file for file in files if file not in correction]
    found: list[tuple[Message, ...]] = []
    for number, way in enumerate(_ways(text)[:most]):
        stems = [STEMS[(number + place) % len(STEMS)] for place in range(len(named))]
        names = {file: stem + file[file.index(".") :] for file, stem in zip(named, stems, strict=True)}
        again = (msgspec.structs.replace(messages[asked], text=way), *messages[asked + 1 :])
        variant = (*system, *(_renamed(message, names) for message in again))
        if _said(variant[len(system)]) != text:
            found.append(variant)
    return found


def _ways(text: str) -> list[str]:
    """A request in other words, that mean the same."""
    bare = text.rstrip(".!? ")
    kind = "question" if text.endswith("?") else "request"
    if by_shell := BY_SHELL.fullmatch(bare):
        kind, bare = "shell", by_shell["after"] or by_shell["before"]
    first = bare.split(maxsplit=1)[0] if bare else ""
    # Not what may be a name: README, test_calc.py, I.
    small = bare[:1].lower() + bare[1:] if re.fullmatch("[A-Z][a-z]+", first) else bare
    large = bare[:1].upper() + bare[1:] if first.isalpha() else bare
    return [frame.format(asked=small, Asked=large) for frame in FRAMES[kind]]


def _renamed(message: Message, names: dict[str, str]) -> Message:
    """The message with other names of files, in its call as well."""

    def renamed(said: str) -> str:
        return FILE.sub(lambda file: file["folder"] + names.get(file["name"], file["name"]), said)

    call = message.call
    if call is not None:
        given = {k: renamed(v) if isinstance(v, str) else v for k, v in call.arguments.items()}
        call = msgspec.structs.replace(call, arguments=given)
    return msgspec.structs.replace(message, text=renamed(message.text), call=call)


def _said(message: Message) -> str:
    return f"{message.text}{message.call.arguments if message.call else ''}"
