"""The facts that a session appends to its log, in the order in which they first happen.

Names are past tense: each record says what has happened, and holds what replay needs to make its
consequences again. Conversation, permissions and weights are folds over these records
(`core.transcript`, `core.replay`); nothing else is state. Third parties register their own types
under their own prefix (`register_events`).

A record's own `id` names it elsewhere: a sample is the id of its SampleTaken, a call the id of its
ToolProposed, a correction that of its CorrectionGiven, an update that of its UpdateStarted.
"""

from typing import Literal

from continualcode.core.data import (
    Arguments,
    Call,
    Data,
    FileChange,
    Json,
    Message,
    ModelInfo,
    PromptTokens,
    SamplingParams,
    StopReason,
    ToolSpec,
    Verdict,
)
from continualcode.core.learning_events import ContradictionNoticed as ContradictionNoticed
from continualcode.core.learning_events import CorrectionGiven as CorrectionGiven
from continualcode.core.learning_events import CorrectionsRetold as CorrectionsRetold
from continualcode.core.learning_events import CorrectionTagged as CorrectionTagged
from continualcode.core.learning_events import ExampleRef as ExampleRef
from continualcode.core.learning_events import MistakeNotMade as MistakeNotMade
from continualcode.core.learning_events import UpdateApplied as UpdateApplied
from continualcode.core.learning_events import UpdateFailed as UpdateFailed
from continualcode.core.learning_events import UpdateRejected as UpdateRejected
from continualcode.core.learning_events import UpdateStarted as UpdateStarted
from continualcode.core.safety_events import BudgetReached, SafetyChosen, WentInCircles
from continualcode.core.undo_events import Rewound, UpdateReverted, WorkspaceRecorded, WorkspaceRestored
from continualcode.eventlog import F32, Record, Registry, Text, Tokens


class PluginInfo(Data, frozen=True):
    """A plugin as loaded: its name, the distribution it came from, and the hooks it implements."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...] = ()


class Rule(Data, frozen=True):
    """Calls of `tool` that may run unasked: with all of `arguments`, exactly; on a path that fits the pattern
    `path`; whose command, each one of them in the line, begins with the words of `prefix`.
    """

    tool: str
    arguments: Arguments = {}
    path: str | None = None
    prefix: tuple[str, ...] = ()


# -- The session ---------------------------------------------------------------------------------------


class Parent(Data, frozen=True):
    """Where a forked log comes from: it begins with the events 0 to `seq` of the log whose id is `log`."""

    log: str
    seq: int


class SessionStarted(Record, frozen=True, kw_only=True, tag="session_started"):
    """What everything after it is a function of. `weights` and `optimiser` are digests before any update.

    In a forked log (`parent`) this is the parent's own record, and everything but `parent` is as it was.
    """

    product: str
    plugins: tuple[PluginInfo, ...]
    config: dict[str, Json]
    model: ModelInfo
    stack: dict[str, str]
    workspace: str
    weights: str
    optimiser: str
    parent: Parent | None = None


class SessionResumed(Record, frozen=True, kw_only=True, tag="session_resumed"):
    """A later process goes on with this log, on this stack, from these weights, in this folder."""

    product: str
    plugins: tuple[PluginInfo, ...]
    config: dict[str, Json]
    stack: dict[str, str]
    weights: str
    workspace: str = ""


class ToolsOffered(Record, frozen=True, kw_only=True, tag="tools_offered"):
    """The tools that the model may call from here on, and the grammar of one well-formed turn."""

    tools: tuple[ToolSpec, ...]
    grammar: str | None


class SessionEnded(Record, frozen=True, kw_only=True, tag="session_ended"):
    """The session closed in an orderly way; a log without it ended in a crash."""

    reason: str


# -- The conversation ----------------------------------------------------------------------------------


class ContextBuilt(Record, frozen=True, kw_only=True, tag="context_built"):
    """From here on the model sees these messages: a system message, a compaction, a plugin's choice.

    Appended only where `build_prompt` answers something else than the conversation as it stands.
    """

    messages: tuple[Message, ...]


class Compacted(Record, frozen=True, kw_only=True, tag="compacted"):
    """The conversation was made short, by the user's wish or at the model's limit; from here on it is this.

    `before` and `after` are tokens of the whole prompt. Corrections are kept verbatim, see the plugin.
    """

    messages: tuple[Message, ...]
    by: Literal["user", "limit"]
    before: int
    after: int


class InstructionsRead(Record, frozen=True, kw_only=True, tag="instructions_read"):
    """What a project's AGENTS.md at `path` says to the model; an empty text: it is gone.

    `sha256` and `size` are of the whole file, of which `text` may be the beginning.
    """

    path: str
    text: Text
    sha256: str
    size: int

    def heading(self) -> str:
        """How it is introduced: by its name, and what it is about."""
        folder = self.path.rpartition("/")[0]
        return f"Instructions of the project ({self.path}{f', for files in {folder}/' if folder else ''}):"


class PromptSubmitted(Record, frozen=True, kw_only=True, tag="prompt_submitted"):
    """The user asked for something."""

    text: Text


class FileAttached(Record, frozen=True, kw_only=True, tag="file_attached"):
    """A file that the prompt names goes with it. `text` is what the model is shown; see `ToolResult.seen`."""

    path: str
    text: Text
    seen: dict[str, str] = {}


class NoteGiven(Record, frozen=True, kw_only=True, tag="note_given"):
    """The user said something in passing; it joins the next correction's feedback."""

    text: Text
    by: str = "user"


class SampleTaken(Record, frozen=True, kw_only=True, tag="sample_taken"):
    """The model spoke: from which weights, after which tokens, which tokens, how probable each was."""

    weights: str
    offer: str  # id of the ToolsOffered in force
    prompt: PromptTokens
    params: SamplingParams
    token_ids: Tokens
    logprobs: F32
    text: Text
    stop: StopReason
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


class ToolProposed(Record, frozen=True, kw_only=True, tag="tool_proposed"):
    """How a sample was read. `call` is None where it could not be (`how` = failed, and `why`)."""

    sample: str
    call: Call | None
    how: str
    why: Text | None = None
    span: tuple[int, int] | None = None


class DecisionMade(Record, frozen=True, kw_only=True, tag="decision_made"):
    """Whether a call may run, and who said so: `user`, `rule:ID`, `plugin:NAME` or `session`.

    `arguments` are the user's edited ones, where they changed any. `train` is False where they asked
    not to learn from this decision.
    """

    call_id: str
    verdict: Verdict
    by: str
    reason: Text | None = None
    arguments: Arguments | None = None
    train: bool = True


class ToolStarted(Record, frozen=True, kw_only=True, tag="tool_started"):
    """A call is about to run, with these arguments (edited and normalised)."""

    call_id: str
    call: Call


class ToolRan(Record, frozen=True, kw_only=True, tag="tool_ran"):
    """What a call did: see `ToolResult`."""

    call_id: str
    output: Text
    success: bool
    feedback: Text | None = None
    changes: tuple[FileChange, ...] = ()
    seen: dict[str, str] = {}
    seconds: float = 0.0


class TurnInterrupted(Record, frozen=True, kw_only=True, tag="turn_interrupted"):
    """The user stopped the model or a tool; what it had begun is not part of the conversation."""


class ContextCleared(Record, frozen=True, kw_only=True, tag="context_cleared"):
    """The conversation starts anew; weights and rules stay."""


class RuleAdded(Record, frozen=True, kw_only=True, tag="rule_added"):
    """Calls that match `rule` need no approval from here on. Its id is `rule_id`, or else this record's."""

    rule: Rule
    by: str = "user"
    rule_id: str = ""


class RuleRemoved(Record, frozen=True, kw_only=True, tag="rule_removed"):
    """The rule `rule_id` holds no longer."""

    rule_id: str


# -- Plugins -------------------------------------------------------------------------------------------


class PluginFailed(Record, frozen=True, kw_only=True, tag="plugin_failed"):
    """A hook of a plugin raised, or answered nonsense; the session went on without its answer."""

    plugin: str
    hook: str
    error: Text


BUILTIN_EVENTS: tuple[type[Record], ...] = (
    SessionStarted,
    SessionResumed,
    SafetyChosen,
    ToolsOffered,
    SessionEnded,
    ContextBuilt,
    Compacted,
    InstructionsRead,
    PromptSubmitted,
    FileAttached,
    NoteGiven,
    SampleTaken,
    ToolProposed,
    DecisionMade,
    ToolStarted,
    ToolRan,
    TurnInterrupted,
    BudgetReached,
    WentInCircles,
    ContextCleared,
    RuleAdded,
    RuleRemoved,
    CorrectionsRetold,
    CorrectionGiven,
    CorrectionTagged,
    MistakeNotMade,
    ContradictionNoticed,
    UpdateStarted,
    UpdateApplied,
    UpdateRejected,
    UpdateFailed,
    UpdateReverted,
    WorkspaceRecorded,
    Rewound,
    WorkspaceRestored,
    PluginFailed,
)


def event_registry(extra: "tuple[type[Record], ...]" = ()) -> Registry:
    """A registry of the built-in records and `extra` ones; a tag that two claim is an error."""
    registry = Registry()
    for cls in (*BUILTIN_EVENTS, *extra):
        registry.register(cls)
    return registry
