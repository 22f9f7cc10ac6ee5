"""The example that a correction gives of a command, said of the file that is asked about.

"Put `timeout 60` in front, for example timeout 60 python3 sim.py." A small teacher that reads this runs
sim.py, whatever it was asked to run: that is what it shows on the corrected prompt and elsewhere
(docs/learning.md). So it is told "… timeout 60 python3 app.py" where app.py is asked about. Only of commands:
other examples are about where a file is to be, or what it is to be called.
"""

import re
from collections.abc import Sequence

from continualcode.core.data import Message
from continualcode.core.transcript import SampledTurn

EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|such as|like)(?=\W)(.*)", re.IGNORECASE | re.DOTALL
)
"""What is said after it is an example."""

FILE = re.compile(r"(?<![\w./:@-])(?:[\w.-]+/)*[\w-]+(?P<ending>(?:\.[A-Za-z]\w{0,9})+)(?![\w/-]|\.\w)")
"""A file with its folder."""


def spoken(messages: Sequence[Message]) -> str:
    """What a conversation says, but for the system message."""
    return "\n".join(message.text for message in messages if message.role in ("user", "tool"))


def of_a_command(turn: SampledTurn) -> bool:
    """Whether the rejected call is a command with a file in it that the conversation names."""
    said = spoken(turn.messages)
    given = (value for value in (turn.call.arguments if turn.call else {}).values() if isinstance(value, str))
    return any(file[0] in said for one in given if " " in one for file in FILE.finditer(one))


def copied(words: str, said: str) -> set[str]:
    """The files that a correction's example is about, and nobody has spoken of.

    >>> copied("Use python3 -X dev, for example python3 -X dev sim.py.", "Run app.py.")
    {'sim.py'}
    """
    found = EXAMPLE.search(words)
    return {file[0] for file in FILE.finditer(found[1]) if file[0] not in said} if found else set()


def retold(words: str, said: str) -> str:
    """`words` with the example's file as the only one with its ending that was spoken of, if there is one.

    >>> retold("Use python3 -X dev, for example python3 -X dev sim.py.", "Run src/app.py.")
    'Use python3 -X dev, for example python3 -X dev src/app.py.'
    >>> retold("Use python3 -X dev, for example python3 -X dev sim.py.", "Run watch.js.")
    'Use python3 -X dev, for example python3 -X dev sim.py.'
    """
    own = {file[0]: file["ending"] for file in FILE.finditer(said)}
    for example in copied(words, said):
        alike = [name for name, ending in own.items() if example.endswith(ending)]
        if len(alike) == 1:
            words = words.replace(example, alike[0])
    return words
