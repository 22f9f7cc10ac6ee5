"""A change that broke a test, or did not mend the one it was to mend: told by test runs, not by people.

A failing test by itself is information: it reproduces a fault, or drives the code to come. So a correction
is given in two cases only, each to the last change that the model made:

- *broke*: the same tests passed before; files were changed since, not only test files; now fewer pass, and of
  those that fail at least one was not written since.
- *not mended*: a test that the user had named failed, the model changed something, ended its turn, and the
  last run after that change has the same test failing.

Nothing is run here: what is looked at are the outputs of commands that the model ran and the user allowed.
No correction where files changed otherwise in between (by the user's hand, or by a command; told by the
snapshots of the workspace), where the user edited the change, or asked not to learn from it; and never two
for one change.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from continualcode.core.data import Slots
from continualcode.core.events import CorrectionGiven, ToolRan
from continualcode.core.transcript import ProposedCall, Transcript
from continualcode.eventlog import Record
from continualcode.plugins.feedback.approved_retry import as_it_ran
from continualcode.plugins.feedback.runs import Run, function_of, is_test_file, names_of, read_run

BROKE = "The tests passed before this change, and fail after it. Make the change so that they still pass."
NOT_MENDED = "After this change the test still fails. Make the change that mends it."

MOST_CHARACTERS = 3000
"""How much of the end of the run's output is kept: what failed, and how, stands there."""


class FailingTest:
    """Trains on the last change, with the run's output as the environment. Off by default."""

    kind = "failing_test"

    def __init__(self, *, on: bool = False) -> None:
        self._on = on

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        """A test run, or the answer that ends a turn after one."""
        if not self._on or not isinstance(record, ToolRan) or record.call_id not in transcript.said:
            return None
        history = _History(transcript)
        broke = history.broke()
        change = broke or history.not_mended()
        if change is None or not self._may_teach(change, transcript):
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=change.sample,
            call_id=change.call_id,
            feedback=BROKE if broke else NOT_MENDED,
            environment=_tail(transcript.results[history.last_run].output),
            by="plugin:failing_test",
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        """What the run showed, and the run's output."""
        return Slots(feedback=correction.feedback, environment=correction.environment)

    def _may_teach(self, change: ProposedCall, transcript: Transcript) -> bool:
        decision = transcript.decisions[change.call_id]
        mine = (c for c in transcript.corrections.values() if c.kind == self.kind)
        return (
            decision.verdict == "allow"
            and decision.train
            and decision.arguments is None
            and all(c.call_id != change.call_id for c in mine)
        )


class _History:
    """The calls that ran, of the conversation as it stands, up to now: runs of tests, changes, answers."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._calls = transcript.said
        self._runs = {call_id: run for call_id in self._calls if (run := _run_of(call_id, transcript))}
        self._changes = [call_id for call_id in self._calls if _paths(call_id, transcript)]

    @property
    def last_run(self) -> str:
        """The call that ran tests last; there is one where there is something to tell."""
        return list(self._runs)[-1]

    def broke(self) -> ProposedCall | None:
        """The last change between a run that passed and this one, the same, that does not."""
        if self._calls[-1] not in self._runs:
            return None
        now = self._runs[self._calls[-1]]
        before = self._before(self._calls[-1], now)
        if before is None or not now.broken or self._runs[before].broken:
            return None
        changes = self._between(before, self._calls[-1])
        paths = [path for call_id in changes for path in _paths(call_id, self._transcript)]
        if all(is_test_file(path) for path in paths) or now.passed >= self._runs[before].passed:
            return None
        written = "\n".join(_written(call_id, self._transcript) for call_id in changes)
        old = [name for name in now.failed if not _has(written, function_of(name))]
        clear = old if now.failed else not any(is_test_file(path) for path in paths)
        if not clear or self._touched_otherwise(before):
            return None
        return self._transcript.call(self._guilty(changes))

    def not_mended(self) -> ProposedCall | None:
        """The last change, if the turn ended after it and a test that the user named fails as before."""
        if not self._changes or not self._runs:
            return None
        change, last = self._changes[-1], self.last_run
        if self._place(last) < self._place(change) or not self._ended_since(change):
            return None
        now = self._runs[last]
        before = self._before(change, now)
        if before is None or self._touched_otherwise(before):
            return None
        asked = "\n".join(
            message.text
            for message in self._transcript.sampled(self._transcript.call(change).sample).messages
            if message.role == "user"
        )
        still = now.failed & self._runs[before].failed
        named = any(_has(asked, name) for failing in still for name in names_of(failing))
        return self._transcript.call(change) if named else None

    def _before(self, call_id: str, like: Run) -> str | None:
        """The last run before `call_id` of what `like` ran."""
        earlier = self._calls[: self._place(call_id)]
        same = (c for c in reversed(earlier) if c in self._runs and self._runs[c][:2] == like[:2])
        return next(same, None)

    def _between(self, before: str, after: str) -> list[str]:
        return [c for c in self._changes if self._place(before) < self._place(c) < self._place(after)]

    def _guilty(self, changes: Sequence[str]) -> str:
        """The last change of a file that the output names outside of the tests, or just the last."""
        output = self._transcript.results[self._calls[-1]].output
        code = [c for c in changes if not all(is_test_file(p) for p in _paths(c, self._transcript))]
        named = [c for c in code if any(_has(output, path) for path in _paths(c, self._transcript))]
        return (named or code)[-1]

    def _ended_since(self, change: str) -> bool:
        """Whether the model has said that it is done: an answer, in a tool or in plain text."""
        answers = {spec.name for spec in self._transcript.tools if spec.ends_turn}
        for call_id in self._calls[self._place(change) + 1 :]:
            proposal = self._transcript.proposals[call_id]
            if proposal.how == "text" or (proposal.call is not None and proposal.call.tool in answers):
                return True
        return False

    def _touched_otherwise(self, since: str) -> bool:
        """Whether files changed by another hand than the model's tools for that. False where nobody looked.

        The user's editor between two calls, or a command of the model's that is no test run.
        """
        seqs = [(self._transcript.proposals[c].seq, c) for c in self._calls]
        looks = [look for look in self._transcript.file_changes if look.seq > seqs[self._place(since)][0]]
        for look in looks:
            during = max((seq, c) for seq, c in seqs if seq < look.seq)[1]
            expected = during in self._runs or during in self._changes
            if not expected and look.after not in (None, "", look.before):
                return True
        return any(a.after and b.before and a.after != b.before for a, b in pairwise(looks))

    def _place(self, call_id: str) -> int:
        return self._calls.index(call_id)


def _run_of(call_id: str, transcript: Transcript) -> Run | None:
    if call_id not in transcript.results:
        return None
    call = as_it_ran(transcript.call(call_id), transcript)
    if call.tool != "bash":
        return None
    return read_run(str(call.arguments.get("command", "")), transcript.results[call_id].output)


def _paths(call_id: str, transcript: Transcript) -> list[str]:
    """The files that a call changed, as its result says."""
    ran = transcript.results.get(call_id)
    return [c.path for c in ran.changes if c.before != c.after] if ran is not None else []


def _written(call_id: str, transcript: Transcript) -> str:
    arguments = as_it_ran(transcript.call(call_id), transcript).arguments
    return "\n".join(str(value) for value in arguments.values())


def _has(text: str, name: str) -> bool:
    """Whether `name` stands in `text`, as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _tail(output: str) -> str:
    """The end of the output, from the beginning of a line."""
    if len(output) <= MOST_CHARACTERS:
        return output
    cut = output[-MOST_CHARACTERS:]
    return "…\n" + (cut[cut.find("\n") + 1 :] or cut)
