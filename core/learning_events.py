"""The facts of learning: what was wrong, what was trained on, and how that came out.

Part of `core.events`, in a file of its own; import them from there.
"""

from continualcode.core.data import Call, Data, Json, Objective, Optimiser, Part, PromptTokens
from continualcode.eventlog import F32, Record, Text, Tokens


class ExampleRef(Data, frozen=True):
    """A row of an update by reference: the sample that was wrong, and what the teacher was shown.

    Rows that are no samples hold their `completion` as ids; `prompt` and `grammar` are None where they are
    the sample's, as the temperature always is. wide: the student is compared under the sample's grammar;
    student: under this one, where it is neither that nor the teacher's. forced: see `Example`.
    """

    correction: str
    sample: str
    teacher: PromptTokens
    weight: float = 1.0
    part: Part = "sample"
    guidance: float = 1.0
    neutral: PromptTokens | None = None
    grammar: Text | None = None
    completion: Tokens = b""
    prompt: PromptTokens | None = None
    reward: float = 0.0
    wide: bool = False
    forced: bool = False
    student: Text | None = None


class CorrectionGiven(Record, frozen=True, kw_only=True, tag="correction_given"):
    """A sample was wrong, and why: what the teacher will be told (see the feedback type `kind`).

    `retry` is the sample that got it right afterwards, where there is one: `solution` is the call in it.
    `origin` is the id of the correction of another log that this one gives again (`core.retelling`).
    """

    kind: str
    sample: str
    call_id: str
    feedback: Text = ""
    solution: Call | None = None
    environment: Text = ""
    retry: str = ""
    by: str = "user"
    origin: str = ""


class CorrectionTagged(Record, frozen=True, kw_only=True, tag="correction_tagged"):
    """The user gave the correction `correction` a name; replay selects by it (`core.curriculum`)."""

    correction: str
    tag: str


class CorrectionsRetold(Record, frozen=True, kw_only=True, tag="corrections_retold"):
    """From here on, corrections of other logs are given again. `logs`: their names, by id.

    `changes`: what is done otherwise than there, as `core.retraining.Changes`.
    """

    logs: dict[str, str]
    changes: dict[str, Json]


class MistakeNotMade(Record, frozen=True, kw_only=True, tag="mistake_not_made"):
    """The model does not do here what the correction `origin` of another log is about: nothing is corrected.

    `probability` is that of a call of `tool`, the rejected one; `attempts` calls were drawn.
    """

    origin: str
    tool: str
    probability: float
    attempts: int


class ContradictionNoticed(Record, frozen=True, kw_only=True, tag="contradiction_noticed"):
    """The correction `correction` goes against the earlier one, which had been learned."""

    correction: str
    earlier: str


class UpdateStarted(Record, frozen=True, kw_only=True, tag="update_started"):
    """An update, as data: with the weights it starts from, this determines the weights it ends in."""

    trainer: str
    settings: dict[str, Json]
    objective: Objective
    optimiser: Optimiser
    examples: tuple[ExampleRef, ...]
    weights: str


class UpdateApplied(Record, frozen=True, kw_only=True, tag="update_applied"):
    """The weights moved. Digests after it, and what it looked like before the first and after the last step.

    `advantages` (log T − log S) and both `divergences` (nats) have one array an example, one number a
    completion token.
    """

    update: str
    weights: str
    optimiser: str
    steps: int
    loss: tuple[float, float]
    divergence: tuple[float, float]
    advantages: tuple[F32, ...]
    divergences_before: tuple[F32, ...]
    divergences_after: tuple[F32, ...]
    metrics: dict[str, float] = {}
    seconds: float = 0.0


class UpdateRejected(Record, frozen=True, kw_only=True, tag="update_rejected"):
    """An update ran, and its trainer did not stand by the result; the weights before it stand.

    `metrics` are the figures that it was judged by. The corrections are not tried again.
    """

    update: str
    why: Text
    weights: str
    steps: int
    divergence: tuple[float, float]
    metrics: dict[str, float] = {}
    seconds: float = 0.0


class UpdateFailed(Record, frozen=True, kw_only=True, tag="update_failed"):
    """An update could not be planned or finished. The weights that stand are those before it.

    `update` is None where it could not even be planned. The corrections are not tried again.
    """

    update: str | None
    corrections: tuple[str, ...]
    why: Text
    weights: str
