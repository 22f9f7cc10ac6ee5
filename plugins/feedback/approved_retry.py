"""A call that answers a correction: what the user wanted, shown by the model itself.

The correction is looked at once more when its answer is there. On the denied sample the teacher is now shown
the approved call instead of words; and the record names the sample of that call (`retry`), so that a
trainer can also train on the call itself, after a prompt in which nobody had to ask for it.

Which call is the answer: one of the same turn, not the same call again, that the user let run (asked, or by
a rule of theirs) and that did its work. A call that only reads, on the way to the answer, is not it: unless
what was denied only reads too, or the words name that tool ("use read, not cat").
"""

import re

from continualcode.core.data import Call, Slots
from continualcode.core.events import CorrectionGiven, ToolRan
from continualcode.core.transcript import ProposedCall, Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.note import teaches

ANSWERED = ("deny", "tool_failure")
"""Kinds that a retry can answer; an edit holds its own answer."""


class ApprovedRetry:
    """Trains on the denied sample again, with the approved call as the demonstration. Off by default."""

    kind = "approved_retry"

    def __init__(self, *, on: bool = False) -> None:
        self._on = on

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """A call that did its work, where the last correction of the turn has no answer yet."""
        if not self._on or not isinstance(record, ToolRan) or not record.success:
            return None
        retry = transcript.call(record.call_id)
        denied = answered(retry, transcript)
        if denied is None:
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=denied.sample,
            call_id=denied.call_id,
            feedback=denied.feedback,
            solution=as_it_ran(retry, transcript),
            retry=retry.sample,
            by=transcript.decisions[record.call_id].by,
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The demonstration alone: the trainer writes `solution` as the model's family writes a call."""
        return Slots()


def answered(retry: ProposedCall, transcript: Transcript) -> CorrectionGiven | None:
    """The correction that `retry` answers: the last of its turn, if no call has answered that before."""
    decision = transcript.decisions[retry.call_id]
    if decision.verdict != "allow" or not teaches(decision):
        return None
    reading = {spec.name for spec in transcript.tools if spec.reads_only}
    start = max((step.seq for step in transcript.steps if step.kind == "turn"), default=-1)
    corrections = transcript.corrections.values()
    before = transcript.said[: transcript.said.index(retry.call_id)]
    for call_id in reversed(before):
        if transcript.proposals[call_id].seq < start:
            return None
        given = [c for c in corrections if c.call_id == call_id and c.kind in ANSWERED]
        if given:
            denied = transcript.call(call_id).call
            again = as_it_ran(retry, transcript) == denied
            done = any(c.kind == ApprovedRetry.kind and c.call_id == call_id for c in corrections)
            return None if again or done or _on_the_way(retry.call, denied, given[-1], reading) else given[-1]
        ran = transcript.results.get(call_id)
        if ran is not None and ran.success and transcript.call(call_id).call.tool not in reading:
            return None
    return None


def _on_the_way(call: Call, denied: Call, correction: CorrectionGiven, reading: set[str]) -> bool:
    """Whether `call` only reads, and was neither asked for by name nor of the kind that was denied."""
    named = re.search(rf"\b{re.escape(call.tool)}\b", correction.feedback) is not None
    return call.tool in reading and denied.tool not in reading and not named


def as_it_ran(call: ProposedCall, transcript: Transcript) -> Call:
    """The call with the user's arguments, where they changed any."""
    edited = transcript.decisions[call.call_id].arguments
    return call.call if edited is None else Call(tool=call.call.tool, arguments=edited)
