"""What people ask coding agents for: two thousand requests by kind, in `situations.toml`.

A correction is given once, on one prompt, and is about more than that prompt. Of these kinds the model
itself says which is like the corrected one (`siblings`): there the correction is learned as well. On those
that are unlike it the base model's choice is held on to (`anchors`).
"""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from continualcode.core.data import Call, Message
from continualcode.core.transcript import DENIED, SampledTurn
from continualcode.plugins.trainers.paths import FILE


class Situation(NamedTuple):
    """A request; with a `path`, the file of that name and `content` was read after it."""

    text: str
    path: str = ""
    content: str = ""


class Kind(NamedTuple):
    """Requests of one kind: a correction on one is about the others as well.

    family: kinds that are about the same thing, where a prompt is as near to one as to another.
    tools: those that such requests are for. requests: as they are said most often, as orders. otherwise: the
    same wishes as statements or questions.
    """

    family: str
    tools: tuple[str, ...]
    requests: tuple[Situation, ...]
    otherwise: tuple[Situation, ...]

    @property
    def begun(self) -> bool:
        """Whether such requests come after a file was read."""
        return bool(self.requests[0].path)


def _kinds() -> tuple[Kind, ...]:
    file = files("continualcode.plugins.trainers").joinpath("situations.toml")
    return tuple(map(_kind, tomllib.loads(file.read_text(encoding="utf-8"))["kind"]))


def _kind(said: dict[str, Any]) -> Kind:
    requests, otherwise = (tuple(map(_situation, said[name])) for name in ("requests", "otherwise"))
    return Kind(said["family"], tuple(said["tools"]), requests, otherwise)


def _situation(said: str | dict[str, str]) -> Situation:
    return Situation(said) if isinstance(said, str) else Situation(**said)


KINDS = _kinds()
"""Those of one family are beside each other."""

SITUATIONS = tuple(one for kind in KINDS for one in kind.requests)

OTHERWISE = tuple(one for kind in KINDS for one in kind.otherwise)


def taking(tool: str, among: Sequence[Situation]) -> list[Situation]:
    """Those of `among` that are for a tool; all of them where nothing is known of it."""
    kinds = [kind for kind in KINDS if tool in kind.tools]
    return [one for one in among if not kinds or any(one in kind.requests for kind in kinds)]


READ = tuple(one for one in SITUATIONS if one.path)
"""Those after which a file was read."""

NEW = frozenset(
    one for kind in KINDS if kind.tools == ("write",) for one in (*kind.requests, *kind.otherwise)
)
"""Those for a file that is not there yet."""


def is_begun(turn: SampledTurn) -> bool:
    """Whether a turn comes after a call that was made, not right after a request."""
    for message in reversed(turn.messages):
        if message.role == "user":
            return False
        if message.role == "tool" and not message.text.startswith(DENIED):
            return True
    return False


def begun(one: Situation) -> Situation:
    """The same after a file was read: the one that it is about, with what another one of its sort says.

    >>> begun(Situation("Move style.css into assets/.")).path
    'style.css'
    """
    if one.path:
        return one
    path = "" if one in NEW else file_of(one)
    ending = path.rpartition(".")[2]
    fitting = [read for read in READ if path and read.path.rpartition(".")[2] == ending] or READ
    read = fitting[len(one.text) % len(fitting)]
    return one._replace(path=path or read.path, content=read.content)


def file_of(one: Situation) -> str:
    """The file that a situation is about; empty: none. That of an address is elsewhere.

    >>> file_of(Situation("Show me a/b.py.")), file_of(Situation("Fetch https://example.com/a.csv."))
    ('a/b.py', '')
    """
    named = FILE.search(one.text)
    return one.path or (named[0] if named else "")


def messages(turn: SampledTurn, situation: Situation) -> tuple[Message, ...]:
    """A situation in the session's own system message."""
    system = [message for message in turn.messages[:1] if message.role == "system"]
    asked = [*system, Message(role="user", text=situation.text)]
    if situation.path:
        call = Call(tool="read", arguments={"path": situation.path})
        asked += [Message(role="assistant", call=call), Message(role="tool", text=_shown(situation))]
    return tuple(asked)


def _shown(one: Situation) -> str:
    """A file as the tool `read` shows it."""
    lines = one.content.splitlines()
    numbered = "\n".join(f"{number:4}| {line}" for number, line in enumerate(lines, 1))
    return f"{one.path} ({len(lines)} lines):\n{numbered}"
