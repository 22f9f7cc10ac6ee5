"""The example that a correction gives of a command, said of the file that is asked about.

"Put `timeout 60` in front, for example timeout 60 python3 sim.py." A small teacher that reads this runs
sim.py, whatever it was asked to run: that is what it shows on the corrected prompt and elsewhere
(docs/learning.md). So it is told "… timeout 60 python3 app.py" where app.py is asked about. Only of commands:
other examples are about where a file is to be, or what it is to be called.
"""

import re

from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.forms import filled
from continualcode.plugins.trainers.in_question import spoken
from continualcode.plugins.trainers.paths import FILE

EXAMPLE = re.compile(
    r"\b(?:for example|for instance|e\.g\.|such as|like)(?=\W)(.*)", re.IGNORECASE | re.DOTALL
)
"""What is said after it is an example."""


def copied(words: str, said: str, turn: SampledTurn) -> list[str]:
    """The files that a correction's example of a command is about, and nobody has spoken of."""
    found = EXAMPLE.search(words) if _of_a_command(turn) else None
    return [file[0] for file in FILE.finditer(found[1]) if file[0] not in said] if found else []


def retold(words: str, said: str, turn: SampledTurn) -> str:
    """`words` as the teacher is told them where `said` was said: about what was spoken of there.

    So in an example of a command is the only file with its ending that was spoken of, if there is one, and a
    command's holes are filled (`forms`).
    """
    own = {file[0]: file["ending"] for file in FILE.finditer(said)}
    for example in copied(words, said, turn):
        alike = [name for name, ending in own.items() if example.endswith(ending)]
        if len(alike) == 1:
            words = words.replace(example, alike[0])
    return filled(words, said)


def _of_a_command(turn: SampledTurn) -> bool:
    """Whether the rejected call is a command with a file in it that the conversation names."""
    said = spoken(turn.messages)
    given = (value for value in (turn.call.arguments if turn.call else {}).values() if isinstance(value, str))
    return any(file[0] in said for one in given if " " in one for file in FILE.finditer(one))
