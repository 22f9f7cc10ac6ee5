"""The conversation, the permissions and the corrections as a fold over the log.

A `Transcript` is made from nothing but records, in order: the same fold serves a running session, a
resumed one, replay and every plugin that looks at the session. It never reads a clock, a file or a
model. Plugins get it to read; only the session applies records to it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from continualcode.core.data import Arguments, Call, Message, PromptTokens, SamplingParams, Slots, ToolSpec
from continualcode.core.errors import ContentForgotten, ReplayError, UpdateError, nearest
from continualcode.core.events import (
    Compacted,
    ContextBuilt,
    ContextCleared,
    CorrectionGiven,
    DecisionMade,
    FileAttached,
    InstructionsRead,
    NoteGiven,
    PromptSubmitted,
    Rule,
    RuleAdded,
    RuleRemoved,
    SampleTaken,
    SessionResumed,
    SessionStarted,
    ToolProposed,
    ToolRan,
    ToolsOffered,
    ToolStarted,
    TurnInterrupted,
    UpdateApplied,
    UpdateFailed,
    UpdateRejected,
    UpdateStarted,
)
from continualcode.core.protocols import FeedbackType
from continualcode.core.rewind import FileChanges, Mark, Step
from continualcode.core.safety_events import BudgetReached, SafetyChosen
from continualcode.core.sequences import Sequences, require_ids, shortened
from continualcode.core.undo_events import (
    Rewound,
    UpdateReverted,
    WorkspaceRecorded,
    WorkspaceRestored,
)
from continualcode.eventlog import Record, unpack_f32, unpack_u32

DENIED = "The user denied this call"  # what follows are the user's words

ATTACHED = "\n\nContent of the file "
"""What comes before each file that goes with a prompt."""

INSTRUCTED = "(Not by the user, from a file.) "
"""How instructions begin that come up while the conversation goes on."""

FORWARD = (
    PromptSubmitted,
    NoteGiven,
    ContextCleared,
    ContextBuilt,
    Compacted,
    SampleTaken,
    UpdateStarted,
)
"""Records after which an undo can no longer be taken back: the session has gone on from there."""


class SampledTurn(NamedTuple):
    """One sample with everything that a trainer needs to learn from it."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    params: SamplingParams
    grammar: str | None
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    weights: str
    text: str
    call: Call | None


class ProposedCall(NamedTuple):
    """One tool call as the model proposed it, and the sample it came from."""

    call_id: str
    sample: str
    call: Call


class Transcript:
    """What has happened so far. Attributes are the state; `apply` is the fold."""

    def __init__(self, feedback: Mapping[str, FeedbackType] | None = None) -> None:
        self.started: SessionStarted | None = None
        self.messages: list[Message] = []
        self.tools: tuple[ToolSpec, ...] = ()
        self.grammar: str | None = None
        self.weights = ""
        self.workspace = ""
        self.rules: dict[str, Rule] = {}
        self.safety: SafetyChosen | None = None
        self.seen: dict[str, str] = {}
        self.instructions: dict[str, InstructionsRead] = {}
        """What was read last of each AGENTS.md, by path; an empty text: it is gone."""
        self.samples: dict[str, SampleTaken] = {}
        self.proposals: dict[str, ToolProposed] = {}
        self.decisions: dict[str, DecisionMade] = {}
        self.results: dict[str, ToolRan] = {}
        self.said: tuple[str, ...] = ()
        """What the model said in the conversation as it stands: ids of tool_proposed, in order."""
        self.corrections: dict[str, CorrectionGiven] = {}
        self.updates: dict[str, UpdateStarted] = {}
        self.outcomes: dict[str, UpdateApplied | UpdateRejected | UpdateFailed] = {}
        self.standing: tuple[str, ...] = ()
        """The updates, by id and in order, that the weights at hand are made of."""
        self.steps: tuple[Step, ...] = ()
        """What can be undone, oldest first."""
        self.undone: tuple[int, ...] = ()
        """Seqs of the undos that can be taken back, the next one last."""
        self.file_changes: list[FileChanges] = []
        """Every change of the workspace that was recorded, in the order of time; going back adds to it."""
        self.unrestored: Rewound | None = None
        """Says how the workspace shall be, and it is not said yet that it is so: a crash came in between."""
        self.marks: dict[int, Mark] = {}
        """What stood after each event, by seq."""
        self._pending: dict[str, CorrectionGiven] = {}
        self._sequences = Sequences(self._sample)
        self._calls: dict[str, Call | None] = {}  # of samples
        self._started: dict[str, ToolStarted] = {}
        self._offers: dict[str, ToolsOffered] = {}
        self._offer = ""
        self._seen_by_sample: dict[str, tuple[list[Message], int]] = {}
        self._notes: tuple[str, ...] = ()
        self._last_sample: str | None = None
        self._feedback = feedback or {}

    # -- Reading --------------------------------------------------------------------------------------

    @property
    def offer(self) -> str:
        """Id of the ToolsOffered in force; empty before the first."""
        return self._offer

    def call(self, call_id: str) -> ProposedCall:
        """The call that `call_id` names, as the model proposed it."""
        proposal = self.proposals.get(call_id)
        if proposal is None or proposal.call is None:
            raise ReplayError(
                f"no call {call_id!r} in this log: decisions and results name a tool_proposed by its id"
            )
        return ProposedCall(call_id, proposal.sample, proposal.call)

    def ran_with(self, call_id: str) -> Arguments:
        """The arguments that a call ran with: the user's, where they changed any; none if it never ran."""
        started = self._started.get(call_id)
        return started.call.arguments if started is not None else {}

    def sequence(self, sample_id: str) -> tuple[int, ...]:
        """The token ids of a sample's prompt and then its completion."""
        return self._sequences.of(sample_id)

    def expand(self, prompt: PromptTokens) -> tuple[int, ...]:
        """The token ids that `prompt` stands for."""
        return self._sequences.expanded(prompt)

    def shorten(self, ids: tuple[int, ...], after: str | None = None) -> PromptTokens:
        """`ids` as what they share with an earlier sample's sequence (by default the last) and a tail."""
        earlier = after if after is not None else self._last_sample
        try:
            return shortened(ids, earlier, self.sequence(earlier) if earlier is not None else ())
        except ContentForgotten:
            return shortened(ids, None, ())

    def sampled(self, sample_id: str) -> SampledTurn:
        """A sample with its prompt, the messages behind that prompt, and the tools it could call."""
        sample = self._sample(sample_id)
        require_ids(sample)
        offer = self._offers[sample.offer]
        messages, count = self._seen_by_sample[sample_id]
        completion = tuple(unpack_u32(sample.token_ids))
        sequence = self.sequence(sample_id)
        return SampledTurn(
            prompt_ids=sequence[: len(sequence) - len(completion)],
            completion_ids=completion,
            logprobs=tuple(unpack_f32(sample.logprobs)),
            params=sample.params,
            grammar=offer.grammar,
            messages=tuple(messages[:count]),
            tools=offer.tools,
            weights=sample.weights,
            text=sample.text,
            call=self._calls.get(sample_id),
        )

    def slots(self, correction: CorrectionGiven) -> Slots:
        """What the teacher is told of a correction, by the feedback type of its kind."""
        feedback = self._feedback.get(correction.kind)
        if feedback is None:
            raise UpdateError(
                f"correction {correction.id}: no plugin knows the kind {correction.kind!r}; "
                f"{nearest(correction.kind, self._feedback)}"
            )
        return feedback.slots(correction, self)

    def notes_since_update(self) -> list[str]:
        """What the user said in passing since the last update started."""
        return list(self._notes)

    def pending(self) -> tuple[CorrectionGiven, ...]:
        """Corrections that no update has taken up yet, oldest first."""
        return tuple(self._pending.values())

    def mark(self, seq: int) -> Mark:
        """The state as it was after the event `seq`."""
        try:
            return self.marks[seq]
        except KeyError:
            raise ReplayError(f"no event {seq} here: there are 0 to {len(self.marks) - 1}") from None

    def unfinished_update(self) -> UpdateStarted | None:
        """The update that was running when the log ended; None: every update has its outcome."""
        last = next(reversed(self.updates.values()), None)
        return last if last is not None and last.id not in self.outcomes else None

    def _sample(self, sample_id: str) -> SampleTaken:
        try:
            return self.samples[sample_id]
        except KeyError:
            raise ReplayError(f"no sample {sample_id!r} before this record in the log") from None

    # -- The fold -------------------------------------------------------------------------------------

    def apply(self, record: Record) -> None:
        """Take one record into account. Records of other kinds change nothing."""
        self._fold(record)
        self.marks[record.seq] = Mark(
            messages=self.messages,
            length=len(self.messages),
            notes=self._notes,
            seen=self.seen,
            instructions=self.instructions,
            pending=self._pending,
            weights=self.weights,
            standing=self.standing,
            steps=self.steps,
            said=self.said,
        )

    def _fold(self, record: Record) -> None:
        """What a mark holds is replaced, never changed in place; the message list may also grow."""
        if isinstance(record, FORWARD):
            self.undone = ()
        match record:
            case SessionStarted():
                self.started = record
                self.weights, self.workspace = record.weights, record.workspace
            case SessionResumed():
                self.weights, self.workspace = record.weights, record.workspace or self.workspace
            case ToolsOffered():
                self._offers[record.id] = record
                self._offer, self.tools, self.grammar = record.id, record.tools, record.grammar
            case ContextBuilt():
                self.messages = list(record.messages)
            case Compacted():
                if record.by == "user":
                    self.steps = (*self.steps, Step("compaction", record.seq))
                self.messages = list(record.messages)
            case InstructionsRead():
                self.instructions = {**self.instructions, record.path: record}
                if self.messages:  # otherwise it will be in the system message
                    text = record.text or f"{record.path} is gone: what it said holds no longer."
                    said = f"{INSTRUCTED}{record.heading()}\n{text}"
                    self.messages.append(Message(role="user", text=said))
            case FileAttached():
                self.seen = {**self.seen, **record.seen}
                *before, prompt = self.messages
                text = f"{prompt.text}{ATTACHED}{record.path}\n{record.text}"
                self.messages = [*before, Message(role="user", text=text)]
            case PromptSubmitted():
                self.steps = (*self.steps, Step("turn", record.seq, record.text))
                self.messages.append(Message(role="user", text=record.text))
            case NoteGiven():
                self._notes = (*self._notes, record.text)
                self.messages.append(Message(role="user", text=record.text))
            case SampleTaken():
                self.samples[record.id] = record
                self._last_sample = record.id
                self._seen_by_sample[record.id] = (self.messages, len(self.messages))
                self.messages.append(Message(role="assistant", text=record.text))
            case ToolProposed():
                self.proposals[record.id] = record
                self._calls.setdefault(record.sample, record.call)
                self.said = (*self.said, record.id)
                if record.call is None and record.how != "text":  # an answer in plain text is no failed call
                    self.messages.append(Message(role="tool", text=f"error: {record.why}"))
            case DecisionMade():
                self._decide(record)
            case ToolStarted():
                self._started[record.call_id] = record
            case ToolRan():
                self.results[record.call_id] = record
                self.seen = {**self.seen, **record.seen}
                extra = f"\n{record.feedback}" if record.feedback and not record.success else ""
                self.messages.append(Message(role="tool", text=record.output + extra))
            case ContextCleared():
                self.steps = (*self.steps, Step("clear", record.seq))
                self.messages = []  # a new list: samples hold on to the old one
                self._notes, self.said = (), ()
            case TurnInterrupted() | BudgetReached():
                if self.messages and self.messages[-1].role == "assistant":
                    who = "by the user" if isinstance(record, TurnInterrupted) else "as its time was over"
                    self.messages.append(Message(role="tool", text=f"Interrupted {who}."))
            case RuleAdded():
                self.rules[record.rule_id or record.id] = record.rule
            case SafetyChosen():
                self.safety = record
            case RuleRemoved():
                self.rules.pop(record.rule_id, None)
            case CorrectionGiven():
                self.corrections[record.id] = record
                self._pending = {**self._pending, record.id: record}
            case UpdateStarted():
                self.updates[record.id] = record
                self._notes = ()
            case UpdateApplied():
                self.outcomes[record.update] = record
                self.weights = record.weights
                self.standing = (*self.standing, record.update)
                self._settle(e.correction for e in self.updates[record.update].examples)
            case UpdateRejected():
                self.outcomes[record.update] = record
                self._settle(e.correction for e in self.updates[record.update].examples)
            case UpdateFailed():
                if record.update is not None:
                    self.outcomes[record.update] = record
                self._settle(record.corrections)
            case UpdateReverted():
                self.undone = (*self.undone, record.seq)
                self.standing, self.weights = self.standing[:-1], record.weights
            case WorkspaceRecorded():
                self._record_files(record)
            case Rewound():
                self._rewind(record)
            case WorkspaceRestored():
                self.unrestored = None
            case _:
                pass

    def _rewind(self, rewound: Rewound) -> None:
        mark = self.mark(rewound.to)
        self.undone = self.undone[:-1] if rewound.how == "redo" else (*self.undone, rewound.seq)
        self.messages = mark.messages[: mark.length]
        self._notes, self.seen, self._pending = mark.notes, mark.seen, mark.pending
        self.instructions = mark.instructions
        self.weights, self.standing, self.steps = mark.weights, mark.standing, mark.steps
        self.said = mark.said
        if rewound.before is not None:
            self.file_changes.append(FileChanges(rewound.seq, rewound.before, rewound.after))
            self.unrestored = rewound

    def _record_files(self, recorded: WorkspaceRecorded) -> None:
        """Pairs: what comes after belongs to the last that came before, if there was one."""
        if recorded.when == "before":
            self.file_changes.append(FileChanges(recorded.seq, recorded.tree, None, recorded.why))
        elif self.file_changes and self.file_changes[-1].after is None:
            self.file_changes[-1] = self.file_changes[-1]._replace(seq=recorded.seq, after=recorded.tree)

    def _decide(self, decision: DecisionMade) -> None:
        self.decisions[decision.call_id] = decision
        proposed = self.call(decision.call_id)
        if decision.verdict == "deny" and decision.call_id in self.results:
            text = f"Your call of {proposed.call.tool} was wrong: {decision.reason}"
            self.messages.append(Message(role="user", text=text))
        elif decision.verdict == "deny":
            self.messages.append(denial(decision.reason))
        elif decision.arguments is not None:
            edited = Call(tool=proposed.call.tool, arguments=decision.arguments)
            # A copy, as samples hold on to the list in which the model's own call stands.
            self.messages = [*self.messages[:-1], Message(role="assistant", call=edited)]

    def _settle(self, corrections: Iterable[str]) -> None:
        settled = set(corrections)
        self._pending = {i: c for i, c in self._pending.items() if i not in settled}


def denial(reason: str | None) -> Message:
    """What the model is told of a call that did not run."""
    return Message(role="tool", text=f"{DENIED}: {reason}" if reason else f"{DENIED}.")


def fold(records: Iterable[Record], feedback: Mapping[str, FeedbackType] | None = None) -> Transcript:
    """The transcript of a whole log."""
    transcript = Transcript(feedback)
    for record in records:
        transcript.apply(record)
    return transcript
