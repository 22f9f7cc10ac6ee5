"""A call that ran and turned out wrong, because the user or a rule says so, not because it failed."""

from continualcode.core.data import Slots
from continualcode.core.events import CorrectionGiven, DecisionMade, ToolRan
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.note import teaches, with_notes


class ToolFailure:
    """A late verdict: a `decision_made` that denies a call after its `tool_ran`.

    It comes from the user (`/wrong`), and is then looked at itself; or from an observer's rule, as a
    reaction to the result, and is then already there when the result is looked at.
    """

    kind = "tool_failure"

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """The words of the late denial, and all that the tool gave."""
        if not isinstance(record, DecisionMade | ToolRan):
            return None
        decision, result = transcript.decisions[record.call_id], transcript.results.get(record.call_id)
        if result is None or decision.verdict != "deny" or not decision.reason or not teaches(decision):
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=transcript.call(record.call_id).sample,
            call_id=record.call_id,
            feedback=with_notes(decision.reason, transcript),
            environment="\n".join(text for text in (result.output, result.feedback) if text),
            by=decision.by,
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """The words and the tool's output; the teacher's context keeps the output's head and tail."""
        return Slots(feedback=correction.feedback, environment=correction.environment)
