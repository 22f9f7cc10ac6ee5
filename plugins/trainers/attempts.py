"""Rewards (GRPO): the calls of one turn compared with each other.

The calls that the model made on one prompt of the user's are attempts at one task. A call that was let
through and did its work counts 1; one that was denied, or corrected in whatever way (by words, a failing
test, a linter), counts 0; where neither was said (nobody decided, a plugin's veto, a command that failed) it
is left out. Attempts that all went the same way say nothing about each other: rows only where they differ.
"""

import bisect

from continualcode.core.data import Example
from continualcode.core.events import CorrectionGiven
from continualcode.core.transcript import Transcript

ANSWERS = "approved_retry"
"""The kind of correction that names the call that was wanted: no fault of another call."""


def attempts(correction: CorrectionGiven, transcript: Transcript) -> list[Example]:
    """A row for each attempt of the turn that `correction` is about; none where all went the same way."""
    starts = [step.seq for step in transcript.steps if step.kind == "turn"]
    number = bisect.bisect(starts, transcript.proposals[correction.call_id].seq)
    calls = [c for c in transcript.said if bisect.bisect(starts, transcript.proposals[c].seq) == number]
    rewards = {call: reward for call in calls if (reward := _reward(call, transcript)) is not None}
    if len(set(rewards.values())) < 2:
        return []
    return [_row(call, reward, correction, transcript) for call, reward in rewards.items()]


def _reward(call_id: str, transcript: Transcript) -> float | None:
    decision, result = transcript.decisions.get(call_id), transcript.results.get(call_id)
    if any(c.call_id == call_id and c.kind != ANSWERS for c in transcript.corrections.values()):
        return 0.0
    if (
        decision is None
        or not decision.train
        or decision.by.partition(":")[0] not in ("user", "script", "rule")
    ):
        return None
    if decision.verdict == "deny":
        return 0.0
    return 1.0 if result is not None and result.success else None


def _row(call_id: str, reward: float, correction: CorrectionGiven, transcript: Transcript) -> Example:
    sample = transcript.call(call_id).sample
    turn = transcript.sampled(sample)
    return Example(
        correction=correction.id,
        sample=sample,
        part="attempt",
        prompt_ids=turn.prompt_ids,
        teacher_ids=turn.prompt_ids,
        completion_ids=turn.completion_ids,
        sampled_logprobs=turn.logprobs,
        temperature=turn.params.temperature,
        grammar=turn.grammar,
        reward=reward,
    )
