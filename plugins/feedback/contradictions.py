"""Says so where a correction asks for what an earlier one denied: the model cannot keep both.

It looks at the records alone. A correction is read as a wish: this call, not that one. The wanted call is the
edited or approved one; else a tool that the words name, where they name exactly one that was not denied.
Two wishes go against each other if one wants the denied tool of the other and denies its wanted one; or, both
being about one tool, if one takes out of an argument the words that the other puts in, and puts in those that
it takes out. And the situation must be the same: the same suffix of the path, a file that the model had seen,
or none.

So what is reported is a contradiction; many that are not written down in this way are not reported.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.events import ContradictionNoticed, CorrectionGiven, ToolRan
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.approved_retry import answered, as_it_ran


class Wish(NamedTuple):
    """What a correction asks for. `instead` has no arguments where only its tool is known."""

    denied: Call
    instead: Call
    suffix: str | None
    seen: bool


def wish(correction: CorrectionGiven, transcript: Transcript, answer: Call | None = None) -> Wish | None:
    """`correction` as a wish; None where nobody said what is wanted. `answer` is a call that answers it."""
    denied = transcript.call(correction.call_id).call
    same_call = (c for c in transcript.corrections.values() if c.call_id == correction.call_id)
    shown = next((c.solution for c in same_call if c.solution is not None), None)
    instead = answer or shown or _named(correction.feedback, denied, transcript)
    if instead is None:
        return None
    path = denied.arguments.get("path")
    return Wish(
        denied,
        instead,
        PurePosixPath(path).suffix if isinstance(path, str) else None,
        path in transcript.mark(correction.seq).seen,
    )


def opposed(one: Wish, other: Wish) -> bool:
    """Whether they cannot both be followed.

    >>> write, lines = Call(tool="write", arguments={}), Call(tool="edit_lines", arguments={})
    >>> opposed(Wish(write, lines, ".py", True), Wish(lines, write, ".py", True))
    True
    """
    if (one.suffix, one.seen) != (other.suffix, other.seen):
        return False
    if (one.denied.tool, one.instead.tool) != (other.instead.tool, other.denied.tool):
        return False
    if one.denied.tool != one.instead.tool:
        return True
    return any(
        change and other_change == (change[1], change[0])
        for change, other_change in (
            (_change(one, name), _change(other, name)) for name in one.instead.arguments
        )
        if change is not None and other_change is not None
    )


def undone(
    correction: CorrectionGiven, transcript: Transcript, answer: Call | None = None
) -> CorrectionGiven | None:
    """The last earlier correction that is learned, or about to be, and that `correction` goes against."""
    new = wish(correction, transcript, answer)
    if new is None:
        return None
    standing = {e.correction for update in transcript.standing for e in transcript.updates[update].examples}
    standing |= {c.id for c in transcript.pending()}
    for earlier in reversed(transcript.corrections.values()):
        if earlier.seq < correction.seq and earlier.id in standing:
            old = wish(earlier, transcript)
            if old is not None and opposed(old, new):
                return earlier
    return None


def _named(words: str, denied: Call, transcript: Transcript) -> Call | None:
    """The one tool besides the denied one that the words name."""
    tools = (spec.name for spec in transcript.tools if spec.name != denied.tool)
    named = [name for name in tools if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words)]
    return Call(tool=named[0], arguments={}) if len(named) == 1 else None


def _change(wish: Wish, name: str) -> tuple[Counter[str], Counter[str]] | None:
    """The words that an argument lost, and those that it gained; None: it is as it was, or is no text."""
    before, after = wish.denied.arguments.get(name), wish.instead.arguments.get(name)
    if not isinstance(before, str) or not isinstance(after, str) or before == after:
        return None
    lost, gained = Counter(before.split()), Counter(after.split())
    return lost - gained, gained - lost


@hookimpl
def event_appended(record: Record, transcript: Transcript, session: Session) -> Sequence[Record]:
    """Looks at each correction as it is given, and again when a call has answered it."""
    if isinstance(record, CorrectionGiven) and not record.retry:
        correction, answer = record, None
    elif isinstance(record, ToolRan) and record.success and record.call_id in transcript.said:
        call = transcript.call(record.call_id)
        found = answered(call, transcript)
        if found is None or wish(found, transcript) is not None:
            return ()  # answers nothing, or what it answers has been looked at
        correction, answer = found, as_it_ran(call, transcript)
    else:
        return ()
    earlier = undone(correction, transcript, answer)
    if earlier is None:
        return ()
    words = (earlier.feedback.splitlines() or [""])[0]
    session.ui.message(f"This goes against an earlier correction, event {earlier.seq}: {words}")
    return (ContradictionNoticed(correction=correction.id, earlier=earlier.id),)
