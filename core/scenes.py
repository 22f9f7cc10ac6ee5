"""Corrected turns apart from any model's tokens: what was said before, what was done, what was said of it."""

from collections.abc import Sequence
from typing import NamedTuple

from continualcode.core.curriculum import Attempt, Course, Verdict, decide, in_order
from continualcode.core.data import Call, Message, ModelInfo
from continualcode.core.events import CorrectionGiven, SessionStarted
from continualcode.core.retraining import Changes
from continualcode.core.transcript import SampledTurn


class Scene(NamedTuple):
    """A corrected turn: what the model saw, which tools it had, what it did, what was said of it."""

    attempt: Attempt
    correction: CorrectionGiven
    turn: SampledTurn
    verdict: Verdict

    @property
    def started(self) -> SessionStarted:
        """How the session began that it is from."""
        assert self.attempt.transcript.started is not None  # else it would be no course
        return self.attempt.transcript.started

    @property
    def tool(self) -> str:
        """The tool that was rejected; empty where no call could be read."""
        return self.turn.call.tool if self.turn.call is not None else ""

    def messages_for(self, model: ModelInfo) -> tuple[Message, ...]:
        """The messages before the turn; calls as calls, where that model may write them in another way."""
        there = self.started.model
        if (there.tokenizer, there.template) == (model.tokenizer, model.template):
            return self.turn.messages
        transcript = self.attempt.transcript
        calls = {
            transcript.samples[proposed.sample].text: proposed.call
            for proposed in transcript.proposals.values()
            if proposed.call is not None
        }
        return tuple(
            Message(role="assistant", call=calls[message.text])
            if message.role == "assistant" and message.text in calls
            else message
            for message in self.turn.messages
        )

    def is_mistake(self, call: Call | None) -> bool:
        """Whether a turn with that call makes the mistake."""
        if self.turn.call is None or call is None:
            return self.turn.call is call
        return call.tool == self.turn.call.tool and call != self.correction.solution


def scenes(courses: Sequence[Course], changes: Changes) -> list[list[Scene]]:
    """The corrected turns of the logs, update by update. ContentForgotten where one cannot be read."""
    attempts = in_order(courses)
    verdicts = decide(attempts, changes.choice)
    return [
        [Scene(a, c, a.transcript.sampled(c.sample), verdicts[c.id]) for c in a.own]
        for a in attempts
        if a.own
    ]
