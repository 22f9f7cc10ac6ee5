"""Making a long conversation short, without a model call, and without losing a word of a correction.

Kept as they are: the newest messages, up to `KEEP` of the model's context. What is older becomes one message
of the user's that says what happened:

- corrections (the reasons of denials), notes and prompts: verbatim, however long ago;
- calls and results: a line each, cut; a call that was denied stays with its denial;
- files that went with a prompt (@path): their names.

If that is still too long, the lines of calls and results go, oldest first. The user's words never go: where
they alone are too long, the turn ends with the model's own error about its context.

No model writes the summary: those that run here invent, and a correction that was paraphrased is lost.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from continualcode.core.data import Call, Message
from continualcode.core.events import Compacted
from continualcode.core.session import Session
from continualcode.core.transcript import ATTACHED, DENIED, INSTRUCTED
from continualcode.plugins.context.system import system_message

FULL = 0.75
"""The part of the context at which a conversation is compacted; the teacher needs room for the correction."""

KEEP = 0.35
"""The part of the context that the newest messages may take."""

GOAL = 0.5
"""The part of the context below which the whole comes."""

HEADING = "What happened before, shortened. What the user said, word for word:"
LINES = "\n\nThe calls and what came of them, a line each:"
_CUT = 200


def needed(session: Session) -> bool:
    """Whether the conversation comes near the model's limit. Counts tokens only where it may."""
    limit = FULL * _room(session)
    messages = session.transcript.messages
    if sum(len(message.text) for message in messages) + 40 * len(messages) + 4000 < limit:
        return False  # a token is at least a character
    return _tokens(session, messages) > limit


def compacted(session: Session, by: Literal["user", "limit"]) -> Compacted | None:
    """The conversation made short, as a record; None: there is nothing to shorten."""
    transcript = session.transcript
    rest = [m for m in transcript.messages if m.role != "system"]
    old, new = _split(session, rest)
    if not old:
        return None
    system = system_message(transcript)
    summary = _summary(old)
    goal = GOAL * _room(session)
    messages = _assembled(system, summary, new)
    while _tokens(session, messages) > goal and summary.lines:
        del summary.lines[: max(1, len(summary.lines) // 4)]
        messages = _assembled(system, summary, new)
    before, after = _tokens(session, transcript.messages), _tokens(session, messages)
    if after >= before:
        return None
    return Compacted(messages=tuple(messages), by=by, before=before, after=after)


def in_words(record: Compacted) -> str:
    """What was done, for the person."""
    return (
        f"The conversation was shortened from {record.before:,} to {record.after:,} tokens: older calls and "
        "results are a line each; your corrections, notes and prompts are kept word for word."
    )


def _room(session: Session) -> int:
    return max(1, session.policy.model.context - session.config.sampling.max_tokens)


def _tokens(session: Session, messages: Sequence[Message]) -> int:
    return len(session.policy.render(messages, session.transcript.tools))


def _split(session: Session, messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """What is shortened, and the newest messages that fit; a call is never parted from its result."""
    room, at = KEEP * _room(session), len(messages)
    count = session.policy.count_tokens
    while at > 0 and (room := room - count(_said(messages[at - 1])) - 8) >= 0:
        at -= 1
    while at < len(messages) and messages[at].role == "tool":
        at += 1  # its call is among the old ones
    return messages[:at], messages[at:]


def _said(message: Message) -> str:
    return message.text or (str(message.call.arguments) if message.call else "")


class _Summary(NamedTuple):
    """The user's words, each as it was said, and a line for each call and result; in their order."""

    words: list[str]
    lines: list[str]


def _summary(old: Sequence[Message]) -> _Summary:
    found = _Summary([], [])
    called = ""
    for message in old:
        text = message.text
        if message.role == "user" and text.startswith(HEADING):  # of an earlier time: as it was
            words, _, lines = text.removeprefix(HEADING).rpartition(LINES)
            found.words.append(words)
            found.lines.extend(line for line in lines.split("\n") if line)
        elif message.role == "user" and text.startswith(INSTRUCTED):
            continue  # it is in the system message now
        elif message.role == "user":
            found.words.append(f"The user: {text.partition(ATTACHED)[0]}{_names(text)}")
        elif message.role == "tool" and text.startswith(DENIED):
            found.words.append(f"{called}\n{text}")
        elif message.role == "tool":
            found.lines.append(f"{called}: {_short(text)}")
        else:
            called = _call(message.call) if message.call else _short(text)
    return found


def _names(text: str) -> str:
    names = [part.split("\n", 1)[0].strip() for part in text.split(ATTACHED)[1:]]
    return f" (with {', '.join(names)})" if names else ""


def _call(call: Call) -> str:
    return _short(f"{call.tool}({', '.join(f'{k}={v!r}' for k, v in call.arguments.items())})")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _CUT else f"{line[: _CUT // 2]} … {line[-_CUT // 2 :]}"


def _assembled(system: Message, summary: _Summary, new: list[Message]) -> list[Message]:
    said = "\n".join([HEADING, *summary.words])
    return [system, Message(role="user", text="\n".join([f"{said}{LINES}", *summary.lines])), *new]
