"""The data that passes between the core and its plugins; all of it can be written to the log.

Token ids are tuples of ints. Logprobs are natural logarithms of the distribution that was actually
sampled from: renormalised over what the grammar allowed at that position, at the temperature used.
Frozen structs, so that what was logged and what is used are the same thing.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from continualcode.eventlog import CONTENT, Text, Tokens

Json: TypeAlias = Any
"""Whatever JSON can hold."""

Arguments: TypeAlias = Annotated[dict[str, Json], CONTENT]
"""A tool call's arguments, by name."""

Verdict: TypeAlias = Literal["allow", "ask", "deny"]

StopReason: TypeAlias = Literal["end", "length", "interrupted"]
"""Why a completion ended: by itself, at max_tokens, or by the user."""

Capability: TypeAlias = Literal[
    "full_distribution",  # the whole vocabulary's logprobs at every completion position
    "topk_distribution",  # the k most probable tokens and a tail bucket
    "sampled_logprobs",  # one logprob a token: that of the token that was sampled
    "grammar_masks",  # decoding and learning constrained by a grammar
    "rewards",  # samples with a reward, compared within their group: `Objective.reward_weight`
    "demonstrations",  # the teacher says what it would do instead: `Policy.demonstrate`
    "guided_teacher",  # a teacher's distribution raised against a neutral one: `Example.guidance`
    "whitening",  # steps that move least what must stay: `Optimiser.whiten`
    "teacher:live",  # the teachers, by name
    "teacher:base",
    "teacher:frozen",
    "teacher:ema",
    "teacher:trust_region",
    "teacher:completion",
    "teacher:other",
]


class Data(msgspec.Struct, frozen=True, kw_only=True):
    """Base of plain values: frozen, keyword-only, unknown fields ignored when read."""


class Call(Data, frozen=True):
    """One tool call: which tool, and with what."""

    tool: str
    arguments: Arguments


class Message(Data, frozen=True):
    """One turn of the conversation as a chat template sees it.

    `text` is what the role said, raw: for the assistant, the sampled completion decoded. `call` is
    set where the assistant called a tool; a policy renders `text` if it is not empty, else `call`.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: Text = ""
    call: Call | None = None


class ToolSpec(Data, frozen=True):
    """What a tool is called, what it does in one line, and the JSON schema of its arguments.

    `reads_only`: cannot change anything, so modes that only ask about changes may let it run.
    `confined`: does nothing but through `context.workspace` and `context.sandbox`, so that the mode `sandbox`
    may let it run. `ends_turn`: a call of it answers the user (the built-in `reply`); no approval is asked.
    """

    name: str
    description: str
    parameters: dict[str, Json]
    reads_only: bool = False
    confined: bool = False
    ends_turn: bool = False


class FileChange(Data, frozen=True):
    """A file that a tool changed: sha256 of the bytes before and after, None where there was none."""

    path: str
    before: str | None
    after: str | None


class ToolResult(Data, frozen=True):
    """What a tool did. `output` goes to the model; `feedback` says more about a failure.

    `seen` maps each workspace path whose content the model now knows to the sha256 of that content;
    `write` and the edits refuse where it is missing or has changed.
    """

    output: str
    success: bool = True
    feedback: str | None = None
    changes: tuple[FileChange, ...] = ()
    seen: dict[str, str] = {}


class SamplingParams(Data, frozen=True):
    """How a completion is drawn. Temperature 0 takes the most probable token, scored at 1."""

    temperature: float = 0.0
    max_tokens: int = 512
    seed: int = 0


class Sample(Data, frozen=True):
    """One completion as drawn: ids, their logprobs (same length), the decoded text, timings in s."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    stop: StopReason
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


class ParsedTurn(Data, frozen=True):
    """A completion read as the family's call format: plain text, a call, or neither.

    `span` is the half-open range of completion tokens that the call took.
    """

    text: str
    call: Call | None
    how: Literal["text", "ok", "repaired", "failed"]
    why: str | None = None
    span: tuple[int, int] | None = None


class AdapterSpec(Data, frozen=True):
    """A LoRA adapter before any training: a function of the base model, this and nothing else.

    acts_on: all tokens, or only the completion, from the header that the chat template puts before it: the
    prompt is then read by the base model, whatever was learned (aLoRA, Greenewald et al. 2025).
    upper: the share of the model's layers that it is on, counted from the last.
    targets: the modules that it is on; `server`: those of a server, which keeps its weights.
    """

    rank: int = 32
    alpha: float = 32.0
    targets: str = "all-linear"
    seed: int = 0
    acts_on: Literal["all", "completion"] = "all"
    upper: float = 1.0


class ModelInfo(Data, frozen=True):
    """Which model this is, by content: digests are sha256 in hex, of files or of what they decode to."""

    name: str
    base: str
    tokenizer: str
    template: str
    adapter: AdapterSpec
    dtype: str
    context: int


class Objective(Data, frozen=True):
    """What an update minimises; the formulas are in plugins/models/local/objectives.py.

    divergence: forward_kl = KL(teacher‖student), reverse_kl = KL(student‖teacher), jsd = the
    generalised Jensen-Shannon divergence at `alpha`, sampled = the sampled-token policy gradient.
    top_k: None for the whole vocabulary, else the student's k most probable tokens and a tail bucket.
    ratio_clip: upper bound of the importance ratio between now and when the tokens were sampled.
    aggregation: token_mean over all completion tokens of the batch, example_mean of token means, or
    example_sum: the mean over examples of their tokens' sum, the divergence of whole completions.
    teacher: which weights score the corrected context; `teacher_rate` is τ of an EMA teacher, or the
    base model's share in a trust-region teacher. completion: no weights, the row's tokens themselves, with
    probability 1; forward_kl is then supervised fine-tuning. other: another model, which the policy's options
    name.
    reward_weight: what a policy gradient on the rows of kind `attempt` (GRPO, Shao et al. 2024) counts for
    beside the divergence, aggregated over those rows alone; reward_clip: ε of its ratio's clip.
    decisions: of each completion, the nth position at which the student is to decide otherwise (0.2 nats or
    more from the teacher at first) counts 1/n, and so do those after it: what comes first makes the rest.
    sharpness: the teacher's distributions on demonstrations are raised to this power, so that the student
    comes to do what the teacher would rather do, not to do it as often. slack: nats by which an anchor may
    move before it counts.
    in_turn: how many rows of each of the kinds `rehearsed`, `anchor` and `held` a step takes, in turn; 0: all
    of them. What is new takes part in every step.
    """

    divergence: Literal["forward_kl", "reverse_kl", "jsd", "sampled"] = "forward_kl"
    alpha: float = 0.5
    top_k: int | None = None
    ratio_clip: float = 2.0
    aggregation: Literal["token_mean", "example_mean", "example_sum"] = "token_mean"
    teacher: Literal["live", "base", "frozen", "ema", "trust_region", "completion", "other"] = "live"
    teacher_rate: float = 0.05
    frozen_teacher: str | None = None
    reward_weight: float = 0.0
    reward_clip: float = 0.2
    decisions: bool = False
    sharpness: float = 1.0
    slack: float = 0.0
    in_turn: int = 0


class Optimiser(Data, frozen=True):
    """AdamW, one set of moments; `fresh` forgets them at the start of every update.

    whiten: the factors B are trained in coordinates in which what the anchors send into them is white, so
    that a step moves least what must stay; the damping, as a share of the mean variance. None: not.
    over: the learning rate falls to a tenth over that many steps; 0: it stays.
    """

    lr: float = 3e-5
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    fresh: bool = True
    whiten: float | None = None
    over: int = 0


class PromptTokens(Data, frozen=True):
    """Token ids stored as the head of an earlier sequence plus what was appended.

    The sequence of sample s is its prompt and then its completion; this one is the first `shared`
    ids of that (none where `after` is None) and then `tail`. So a session's log grows linearly.
    """

    after: str | None = None
    shared: int = 0
    tail: Tokens = b""


Part: TypeAlias = Literal[
    "sample",
    "demonstration",
    "retry",
    "sibling",
    "rehearsed",
    "attempt",
    "near",
    "beside",
    "held",
    "anchor",
    "probe",
]
"""What a row of an update is for; see `Example`."""

LESSONS: tuple[Part, ...] = ("sample", "demonstration", "retry", "sibling")
"""Rows of a correction's own that it is learned on, and later rehearsed on."""

IDLE: tuple[Part, ...] = ("near", "beside")
"""Rows that are there to say what an update was not to touch: nothing is learned on them."""


class Example(Data, frozen=True):
    """One row of an update: the student's and the teacher's prompts, and the tokens both score.

    The token lists say whose they are: `prompt_ids` is what the student saw, `teacher_ids` the same
    with the correction in it; `completion_ids` are scored under `grammar` (None: unconstrained) at
    `temperature`. By `part`:

    sample         the completion was drawn by the student, with `sampled_logprobs` (same length)
    demonstration  the teacher's own completion: what it would do instead; no `sampled_logprobs`; weighs
                   0 where it is what was rejected, as nothing can be learned of that
    retry          the demonstration where the model is asked again: after the call that was denied
    sibling        a demonstration on another prompt, which the model finds alike
    rehearsed      a row of one of those kinds, of an earlier correction
    attempt        drawn by the student as well, and not distilled: its `reward` counts, next to those of the
                   other attempts with the same `correction`; both prompts are the student's
    near           nothing is learned on it: a prompt that the correction may be about as well, or not
    beside         the same, in this update alone: later ones may hold on to it again
    anchor         something that shall stay: both prompts are the same, the teacher is the base model
    held           an anchor of one correction's own: how the tool that it is about is called elsewhere
    probe          like an anchor, but only looked at: no gradient, whatever its weight

    guidance: γ of the guided teacher T^γ U^(1−γ), U the same teacher after `neutral_ids`, the prompt with a
    correction that says nothing, over the tokens that T finds plausible; 1 is the teacher as it is. What
    the correction's words changed is taken γ times (classifier-free guidance, Sanchez et al. 2023; the
    baseline that says nothing is that of contextual calibration, Zhao et al. 2021).
    student_grammar: the student's distributions are over what this one allows, where it is another than the
    teacher's; None: `grammar`.
    forced: learned as well where only the student's grammar leaves a choice: that a call is one of the tools
    that the user asked for, or goes where they said.
    """

    correction: str
    sample: str
    prompt_ids: tuple[int, ...]
    teacher_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    sampled_logprobs: tuple[float, ...]
    temperature: float
    grammar: str | None
    weight: float = 1.0
    part: Part = "sample"
    guidance: float = 1.0
    neutral_ids: tuple[int, ...] = ()
    reward: float = 0.0
    student_grammar: str | None = None
    forced: bool = False


class UpdatePlan(Data, frozen=True):
    """Everything that an update is a function of, besides the weights it starts from."""

    trainer: str
    settings: dict[str, Json]
    objective: Objective
    optimiser: Optimiser
    examples: tuple[Example, ...]


class StepReport(Data, frozen=True):
    """One look at a batch. Divergences are real KLs in nats, whatever the objective is.

    `stepped` is False where the divergence was already at or below the caller's bound: then nothing
    changed. `advantages` and `divergences` have one row an example, one number a completion token:
    log T(y_t) − log S(y_t), and the divergence at that position; of an attempt, its advantage among those
    of its correction, and 0. `divergence` is over the rows about corrections alone, their mean as
    `Objective.aggregation` has it: of a completion, or a token. Of what stays, as far as it was looked at:
    `drift`, its mean divergence (nats a row), and `kept`, the share of probes whose completion is still the
    most probable one, token by token; 1 without probes.
    """

    stepped: bool
    loss: float
    divergence: float
    grad_norm: float
    advantages: tuple[tuple[float, ...], ...]
    divergences: tuple[tuple[float, ...], ...]
    drift: float = 0.0
    kept: float = 1.0


class UpdateOutcome(Data, frozen=True):
    """What an update did: steps taken, the looks before and after, and the trainer's own figures.

    rejected: why the trainer does not stand by it; the caller then restores the weights before it.
    """

    steps: int
    before: StepReport
    after: StepReport
    metrics: dict[str, float] = {}
    rejected: str | None = None


class Slots(Data, frozen=True):
    """What the teacher is told, apart from the conversation."""

    feedback: str = ""
    solution: str = ""
    environment: str = ""
