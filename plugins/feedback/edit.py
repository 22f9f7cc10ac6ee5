"""A call whose arguments the user changed: trains on what the model proposed, not on what they typed."""

import difflib
import json

from continualcode.core.data import Arguments, Call, Json, Slots
from continualcode.core.events import CorrectionGiven, DecisionMade
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.note import teaches, with_notes


class Edit:
    """The feedback is a readable difference of the arguments, the solution is the edited call."""

    kind = "edit"

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """An approval with other arguments than those proposed."""
        if not isinstance(record, DecisionMade) or record.verdict != "allow" or not teaches(record):
            return None
        if record.arguments is None:
            return None
        proposed = transcript.call(record.call_id)
        changes = difference(proposed.call.arguments, record.arguments)
        if not changes:
            return None
        said = f"I changed your call before it ran:\n{changes}"
        return CorrectionGiven(
            kind=self.kind,
            sample=proposed.sample,
            call_id=record.call_id,
            feedback=with_notes(f"{record.reason}\n\n{said}" if record.reason else said, transcript),
            solution=Call(tool=proposed.call.tool, arguments=record.arguments),
            by=record.by,
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The difference. The trainer writes `correction.solution` as the model's family writes a call."""
        return Slots(feedback=correction.feedback)


def difference(before: Arguments, after: Arguments) -> str:
    """What changed, one argument after the other: `name: old → new`, texts of several lines as a diff.

    >>> print(difference({"path": "a.py", "start_line": 3}, {"path": "a.py", "start_line": 5}))
    start_line: 3 → 5
    """
    parts: list[str] = []
    for name in dict.fromkeys([*before, *after]):
        old = _json(before[name]) if name in before else None
        new = _json(after[name]) if name in after else None
        if old == new:
            continue
        texts = before.get(name, ""), after.get(name, "")
        if all(isinstance(text, str) for text in texts) and any("\n" in text for text in texts):
            parts.append(f"{name}:\n{_diff(*texts)}")
        else:
            parts.append(f"{name}: {old or '(not given)'} → {new or '(left out)'}")
    return "\n".join(parts)


def _diff(before: str, after: str) -> str:
    """A unified diff without its headers, two lines of context. The last line's newline does not count."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2)
    return "\n".join(list(lines)[2:]) or "(only the line ends changed)"


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
