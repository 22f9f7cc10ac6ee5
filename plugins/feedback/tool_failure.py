"""A call that ran and turned out wrong, because the user or a rule says so, not because it failed."""

from continualcode.core.data import Slots
from continualcode.core.events import CorrectionGiven, DecisionMade
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.note import teaches, with_notes


class ToolFailure:
    """Noticed in a `decision_made` that denies a call after its `tool_ran`: the verdict came late."""

    kind = "tool_failure"

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """The words of the late denial, and all that the tool gave."""
        if not isinstance(record, DecisionMade) or record.verdict != "deny" or not teaches(record):
            return None
        result = transcript.results.get(record.call_id)
        if result is None or not record.reason:
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=transcript.call(record.call_id).sample,
            call_id=record.call_id,
            feedback=with_notes(record.reason, transcript),
            environment="\n".join(text for text in (result.output, result.feedback) if text),
            by=record.by,
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The words and the tool's output; the teacher's context keeps the output's head and tail."""
        return Slots(feedback=correction.feedback, environment=correction.environment)
