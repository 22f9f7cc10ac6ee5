"""Where a turn ends by itself: what one prompt may use is used up, or the model goes in circles.

    [budget]            # in your own settings, or --set budget.turns=40; 0 is no limit
    turns = 20          # times that the model speaks
    seconds = 3600      # of the model and of tools; a person who decides, and learning, cost nothing
    output = 1000000    # bytes that tools tell the model
    tokens = 50000      # that the model says
    repeats = 3         # times that the same may happen in a row

The engine asks `Limits.reached` before the model speaks. Two limits hold within a step as well: when the
time is over a model or a tool is stopped as by Ctrl-C, and output beyond the budget is cut. All but the time
is a function of the log. The next prompt begins with a budget of its own, so nothing is lost.

Going in circles is: one step, or two in turn, `repeats` times in a row, with the same outcome each time. A
step is a call with its arguments, or words that are no call. Anything that differs, a byte of output too, is
progress: a command that prints the time is left to the budget, and nobody is stopped who gets on.
"""

import threading
import time
from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager

import msgspec

from continualcode.core.config import BudgetConfig
from continualcode.core.safety_events import BudgetReached, Resource, WentInCircles
from continualcode.core.transcript import Transcript

PERIODS = (1, 2)
"""How many steps a circle has: the same one again, or a pair in turn."""


class Limits:
    """The limits of one prompt: made when it is submitted. `cancelled` is set when its time is over."""

    def __init__(self, budget: BudgetConfig, transcript: Transcript, cancelled: threading.Event) -> None:
        self._budget, self._transcript, self._cancelled = budget, transcript, cancelled
        self._before = len(transcript.said)
        self._seconds = 0.0
        self.out_of_time = False

    def reached(self) -> BudgetReached | WentInCircles | None:
        """The limit at which the turn ends here, as the fact to be recorded; None: it goes on."""
        used: dict[Resource, float] = {
            "turns": len(self._said),
            "tokens": sum(self._tokens(call_id) for call_id in self._said),
            "output": self._output(),
            "seconds": self._seconds,
        }
        for name, amount in used.items():
            most = getattr(self._budget, name)
            if most and amount >= most:
                return BudgetReached(budget=name, limit=most, used=round(amount, 1))
        length = circle([self._step(call_id) for call_id in self._said], self._budget.repeats)
        if length:
            return WentInCircles(calls=self._said[-length:], times=self._budget.repeats)
        return None

    @contextmanager
    def clock(self) -> Generator[None]:
        """Time counts in here. At the end of it `cancelled` is set, and `out_of_time` says why."""
        begun = time.monotonic()
        timer: threading.Timer | None = None
        if self._budget.seconds:
            timer = threading.Timer(max(self._budget.seconds - self._seconds, 0), self._stop)
            timer.daemon = True
            timer.start()
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            self._seconds += time.monotonic() - begun

    def cut(self, output: str) -> str:
        """A tool's output, or its beginning and a word about the rest where the budget ends within it."""
        most, data = self._budget.output, output.encode()
        left = max(most - self._output(), 0)
        if not most or len(data) <= left:
            return output
        kept = data[:left].decode(errors="ignore")
        return f"{kept}\n… ({len(data) - left} bytes are left out: budget.output = {most} is used up)"

    @property
    def _said(self) -> tuple[str, ...]:
        return self._transcript.said[self._before :]

    def _stop(self) -> None:
        self.out_of_time = True
        self._cancelled.set()

    def _tokens(self, call_id: str) -> int:
        seen = self._transcript
        return len(seen.samples[seen.proposals[call_id].sample].token_ids) // 4

    def _output(self) -> int:
        ran = (self._transcript.results.get(call_id) for call_id in self._said)
        return sum(len(one.output.encode()) + len((one.feedback or "").encode()) for one in ran if one)

    def _step(self, call_id: str) -> Hashable:
        """What the model did and what came of it; equal where nothing has changed."""
        seen = self._transcript
        proposal = seen.proposals[call_id]
        if proposal.call is None:
            return seen.samples[proposal.sample].text, proposal.why
        arguments = seen.ran_with(call_id) or proposal.call.arguments
        decision, ran = seen.decisions.get(call_id), seen.results.get(call_id)
        return (
            proposal.call.tool,
            msgspec.json.encode(arguments, order="deterministic"),
            (decision.verdict, decision.reason) if decision is not None else None,
            (ran.success, ran.output, ran.feedback) if ran is not None else None,
        )


def circle(steps: Sequence[Hashable], times: int) -> int:
    """How many steps the circle has that `steps` end in, gone through `times` times; 0: it is none.

    >>> circle("abcbcbc", 3), circle("aaa", 3), circle("abcabc", 3), circle("aaa", 0)
    (2, 1, 0, 0)
    """
    for period in PERIODS if times else ():
        end = list(steps[-period * times :])
        if len(end) == period * times and end == end[:period] * times:
            return period
    return 0


def sentence(limit: BudgetReached | WentInCircles, transcript: Transcript) -> str:
    """A limit for the person: which one, its value, and what to do."""
    if isinstance(limit, BudgetReached):
        key, most = f"budget.{limit.budget}", limit.limit
        return (
            f"Stopped: this prompt's budget is used up: {key} = {most:.10g} ({UNITS[limit.budget]}). Say how "
            f"to go on: the next prompt has as much again. More: --set {key}={2 * most:.10g}; 0 is no limit."
        )
    calls = (transcript.proposals[call_id].call for call_id in limit.calls)
    names = " and ".join(call.tool if call is not None else "words that are no call" for call in calls)
    last = transcript.decisions.get(limit.calls[-1])
    outcome = "denied for the same reason" if last and last.verdict == "deny" else "with the same result"
    return (
        f"Stopped: the model goes in circles: {names}, {outcome}, {limit.times} times in a row. Say what to "
        f"do instead. To allow more: --set budget.repeats={2 * limit.times}; 0 switches this off."
    )


UNITS: dict[Resource, str] = {
    "turns": "times that the model speaks",
    "seconds": "of the model and of tools",
    "output": "bytes that tools say",
    "tokens": "that the model says",
}
