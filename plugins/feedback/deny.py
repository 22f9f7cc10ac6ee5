"""A denied call: the sample was wrong, and the user said why."""

from continualcode.core.data import Slots
from continualcode.core.events import CorrectionGiven, DecisionMade
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.note import teaches, with_notes


class Deny:
    """Trains on the denied sample, with the user's words. A denial without words teaches nothing."""

    kind = "deny"

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """A denial before the call ran (after it: see `tool_failure`)."""
        if not isinstance(record, DecisionMade) or record.verdict != "deny" or not teaches(record):
            return None
        if not record.reason or record.call_id in transcript.results:
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=transcript.call(record.call_id).sample,
            call_id=record.call_id,
            feedback=with_notes(record.reason, transcript),
            by=record.by,
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The words."""
        return Slots(feedback=correction.feedback)
