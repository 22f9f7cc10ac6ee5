"""The objects that plugins give to the core: what they must be able to do.

A plugin implements hooks (`continualcode.core.hookspecs`); the objects that its hooks return have
the shapes below. They are Protocols: there is no base class to inherit. The values they exchange
are in `continualcode.core.data`. What some of them can do besides is in `continualcode.core.optional`.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from continualcode.core.data import (
    Arguments,
    Call,
    Capability,
    Example,
    Message,
    ModelInfo,
    Objective,
    Optimiser,
    ParsedTurn,
    Sample,
    SamplingParams,
    Slots,
    StepReport,
    ToolResult,
    ToolSpec,
    UpdateOutcome,
    UpdatePlan,
)
from continualcode.eventlog import Record

if TYPE_CHECKING:
    from continualcode.core.events import CorrectionGiven
    from continualcode.core.review import Answer, Question
    from continualcode.core.session import Session
    from continualcode.core.transcript import Transcript
    from continualcode.core.workspace import Workspace


Progress: TypeAlias = Callable[[str, int, int], None]
"""`progress(label, done, total)`: something long is `done` of `total` along; its own unit."""


class Sandbox(Protocol):
    """What encloses the commands that tools run. One where `missing` is not empty encloses nothing."""

    @property
    def name(self) -> str: ...

    @property
    def missing(self) -> str:
        """Why commands run with the user's rights, and what to do about it; empty: they are enclosed."""
        ...

    @property
    def line(self) -> str:
        """What commands may do, in one line for a person."""
        ...

    def enter(self, argv: Sequence[str]) -> AbstractContextManager[list[str]]:
        """The command line that runs `argv` inside, good as long as the context is open.

        Raises UsageError where the workspace, as it is now, cannot be enclosed.
        """
        ...


class ToolContext(Protocol):
    """What a running tool may use."""

    @property
    def workspace(self) -> "Workspace":
        """The folder the session works in; resolves paths and refuses those outside."""
        ...

    @property
    def sandbox(self) -> Sandbox:
        """What encloses commands: a tool that starts processes starts them with `sandbox.enter(argv)`."""
        ...

    @property
    def cancelled(self) -> threading.Event:
        """Set when the user interrupts; a tool that can take long looks at it."""
        ...

    def show(self, text: str) -> None:
        """Stream a piece of output to the person as it appears."""
        ...


class Tool(Protocol):
    """One tool. The core checks arguments against the schema before `run` sees them."""

    @property
    def spec(self) -> ToolSpec: ...

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Do it. A failure is a ToolResult with success=False; an exception becomes one."""
        ...

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """What would happen, for the person who decides: a diff, a command. Changes nothing."""
        ...


class FeedbackType(Protocol):
    """One kind of correction: how it is noticed in the log and what the teacher is told of it."""

    @property
    def kind(self) -> str:
        """The `kind` of the corrections it gives; unique over all plugins."""
        ...

    def notice(self, record: Record, transcript: "Transcript") -> "CorrectionGiven | None":
        """Called with each decision and tool result as it is appended; None: nothing to learn here."""
        ...

    def slots(self, correction: "CorrectionGiven", transcript: "Transcript") -> Slots:
        """What the teacher's context says of this correction."""
        ...


class Policy(Protocol):
    """A language model with trainable weights: it samples, scores, learns and can go back.

    Its weights are named by content: `weights()` is a digest, so equal digests are equal weights.
    """

    @property
    def model(self) -> ModelInfo: ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; what it cannot is refused by name, never approximated."""
        ...

    @property
    def stack(self) -> Mapping[str, str]:
        """What bit-for-bit replay depends on: library versions, device, dtype, threads."""
        ...

    # The model family's language

    def render(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[int, ...]:
        """The prompt's token ids, ending where the assistant begins to speak."""
        ...

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """The grammar of one well-formed turn, as text that can be logged; None: unconstrained."""
        ...

    def format_call(self, call: Call) -> str:
        """A call as this family would write it."""
        ...

    def parse(self, sample: Sample, tools: Sequence[ToolSpec]) -> ParsedTurn:
        """Read a completion; never raises: what cannot be read says why."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is, alone."""
        ...

    def truncate(self, text: str, tokens: int) -> str:
        """`text` cut in the middle to at most `tokens` tokens, the cut marked; as it is if it fits."""
        ...

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's own text, to show; joined, they are the text of all of them."""
        ...

    # Sampling

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        """Draw one completion. `cancelled` stops it within a token, with stop="interrupted"."""
        ...

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        """P(the turn begins as a call of that tool), by canonical spelling; sums to at most 1."""
        ...

    def demonstrate(
        self,
        teacher_ids: Sequence[int],
        neutral_ids: Sequence[int],
        grammar: str | None,
        *,
        teacher: str,
        guidance: float,
        max_tokens: int,
    ) -> Sample:
        """What the teacher would do instead: its likeliest completion, token by token, with its logprobs.

        teacher: as in `Objective`; one that is a mixture or an average of weights may draw with the base
        model. guidance: as in `Example`.
        """
        ...

    # Learning

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Any:
        """Score the teacher once and return a batch to step on. Raises UpdateError, changes nothing."""
        ...

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        """Measure the batch; take one step if more than `stop_below` nats are left to learn."""
        ...

    # Weights

    def weights(self) -> str:
        """Content digest of the trainable weights."""
        ...

    def optimiser_state(self) -> str:
        """Content digest of the optimiser's state."""
        ...

    def snapshot(self) -> Any:
        """Weights and optimiser as they are now, to give to `restore`."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back, exactly: digests equal those at the time of the snapshot."""
        ...

    def reset(self) -> None:
        """The weights before any update: the adapter as its seed makes it, no optimiser state."""
        ...

    def close(self) -> None:
        """Free what is held; called once."""
        ...


class Trainer(Protocol):
    """Turns corrections into a plan (data, so it is logged) and carries a plan out on a policy."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[Capability]:
        """What the policy must be able to do, given the settings."""
        ...

    def plan(
        self,
        corrections: "Sequence[CorrectionGiven]",
        transcript: "Transcript",
        policy: Policy,
        progress: Callable[[int, int], None] | None = None,
    ) -> UpdatePlan:
        """What to train on; changes nothing. Raises UpdateError by name, and what `progress` raises."""
        ...

    def replan(self, plan: UpdatePlan, own: Collection[str], earlier: "Sequence[UpdatePlan]") -> UpdatePlan:
        """`plan` as it would have been for the corrections `own` alone, after the updates `earlier` stood.

        For replay that leaves corrections out: rows of others go, and what `plan` takes from earlier updates
        (rehearsal) is taken from `earlier`. With what was logged it gives the logged plan.
        """
        ...

    def update(
        self, plan: UpdatePlan, policy: Policy, progress: Callable[[int, int], None] | None = None
    ) -> UpdateOutcome:
        """Carry the plan out: a function of the plan and the policy's weights alone. `progress`: each step.

        May raise; the caller then restores the policy.
        """
        ...


class UI(Protocol):
    """Where a person, a script or a program meets the session."""

    def next_input(self, session: "Session") -> str | None:
        """The next prompt or slash command; None ends the session."""
        ...

    def review(self, question: "Question", session: "Session") -> "Answer":
        """Decide one tool call that neither a rule nor a plugin has decided."""
        ...

    def event(self, record: Record, session: "Session") -> None:
        """Called with every record once it is durable: show what matters."""
        ...

    def text(self, piece: str) -> None:
        """A piece of the model's completion or of a tool's output, as it appears."""
        ...

    def progress(self, label: str, done: int, total: int) -> None:
        """Something long is `done` of `total` along."""
        ...

    def message(self, text: str) -> None:
        """Say something to the person that is not an event: a command's answer, an error."""
        ...


class Command(Protocol):
    """A slash command of the session, for any UI."""

    @property
    def name(self) -> str:
        """Without the slash."""
        ...

    @property
    def help(self) -> str:
        """One line for /help."""
        ...

    def run(self, argument: str, session: "Session") -> str:
        """Do it, and say what was done; the UI shows the text."""
        ...
