"""Weights as a function of a log: fold it, and train again wherever it says that the weights moved.

Replay calls no tool, no UI, no sampler and no observer: what they did is in the log. It calls the
trainer, on the plan that the log holds as data (`update_started`), and compares digests after each
`update_applied`. On the stack that recorded the log they are equal bit for bit; on another one the
first divergence is reported with its size.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from continualcode.core.checkpoints import Checkpoints
from continualcode.core.curriculum import require_event, up_to
from continualcode.core.data import Data, Example, UpdateOutcome, UpdatePlan
from continualcode.core.errors import ContentForgotten, ReplayError
from continualcode.core.events import (
    ExampleRef,
    SessionResumed,
    SessionStarted,
    UpdateApplied,
    UpdateStarted,
    event_registry,
)
from continualcode.core.lineage import Lineage
from continualcode.core.models import SERVER_TOLERANCE, elsewhere, on_server, require_able, require_same_model
from continualcode.core.optional import Recalling
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import FeedbackType, Policy, Progress, Trainer
from continualcode.core.transcript import Transcript
from continualcode.core.undo_events import Rewound, UpdateReverted
from continualcode.eventlog import Record, pack_u32, read, unpack_f32, unpack_u32

TrainerOf: TypeAlias = Callable[[str, Mapping[str, object]], Trainer]
"""The trainer by name and settings, as an update recorded them."""


def trainers_of(plugins: Plugins) -> TrainerOf:
    """Makes the trainer that a logged update names, with the settings that it was recorded with."""
    return lambda name, settings: plugins.choose("make_trainer", name, settings)


class Divergence(Data, frozen=True):
    """The first update whose weights differ from the logged ones, and by how much.

    `nats` is the largest difference of a per-token advantage, `metric` that of the mean divergence
    after the update; both are 0 where the weights differ in bits that no figure shows. `steps`: as logged
    and here.
    """

    seq: int
    update: str
    logged: str
    replayed: str
    nats: float
    metric: float
    steps: tuple[int, int] = (0, 0)


class ReplayReport(Data, frozen=True):
    """What a replay found. `weights` is the digest that it ended in, `logged` the log's last one.

    `recorded` and `here` are both stacks, `stack` what differs between them: name → (logged, here). nats,
    metric: the largest of any update, as in `Divergence`; `other_steps`: how many took more or fewer steps.
    `tolerance` is what nats and metric may be where the bits of weights are not at hand
    (`optional.Recalling`), or are not asked for (`by_figures`); None where they are. `elsewhere`: one of the
    log and the policy is a server's, the other is not.
    """

    updates: int = 0
    matched: int = 0
    first_divergence: Divergence | None = None
    weights: str = ""
    logged: str = ""
    recorded: dict[str, str] = {}
    here: dict[str, str] = {}
    stack: dict[str, tuple[str, str]] = {}
    nats: float = 0.0
    metric: float = 0.0
    other_steps: int = 0
    tolerance: float | None = None
    by_figures: bool = False
    elsewhere: bool = False

    @property
    def ok(self) -> bool:
        """Every update came out as logged, or, by figures, within the tolerance."""
        return self.matched == self.updates and (self.by_figures or self.weights == self.logged)


def replay_log(
    log: Path,
    plugins: Plugins,
    *,
    model: Mapping[str, Any] | None = None,
    until: int | None = None,
    progress: Progress | None = None,
    tolerance: float | None = None,
) -> ReplayReport:
    """Replay the log in the file `log`, on the model it names unless `model` (name and options) is given."""
    options = model or how_it_began(log, plugins).config["model"]
    require_event(until, log)
    policy: Policy = plugins.choose("make_policy", options["name"], options, progress or _quiet)
    return replay_on(policy, log, plugins, until=until, progress=progress, tolerance=tolerance)


def replay_on(
    policy: Policy,
    log: Path,
    plugins: Plugins,
    *,
    until: int | None = None,
    progress: Progress | None = None,
    tolerance: float | None = None,
) -> ReplayReport:
    """Likewise on `policy`, which is closed."""
    try:
        replayer = Replayer(
            policy, trainers_of(plugins), progress=progress, tolerance=tolerance, compares=True
        )
        records = read(log, event_registry(plugins.event_types()))
        return replayer.run(up_to(until, records, log))
    finally:
        policy.close()


def how_it_began(log: Path, plugins: Plugins) -> SessionStarted:
    """The first event of a session's log; ReplayError says what else there is."""
    first = next(iter(read(log, event_registry(plugins.event_types()))), None)
    if not isinstance(first, SessionStarted):
        found = (
            type(first).__name__ if first is not None else "nothing that can be read (cc log verify says why)"
        )
        raise ReplayError(f"{log}: a session's log begins with SessionStarted, this file with {found}")
    return first


def _quiet(label: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def plan_of(started: UpdateStarted, transcript: Transcript) -> UpdatePlan:
    """The plan of a logged update, its references resolved: equal to the plan that was carried out."""
    try:
        if started.gone is not msgspec.UNSET:
            raise ContentForgotten("its own token ids were forgotten (cc log forget)")
        examples = tuple(example_of(ref, transcript) for ref in started.examples)
    except ContentForgotten as error:
        raise ContentForgotten(
            f"update {started.id} (event {started.seq}) cannot be rebuilt any more: {error}. End before it "
            "(--until SEQ), leave its corrections out (--without SEQ), or begin a session from before it "
            "(cc run --fork LOG@SEQ)"
        ) from error
    return UpdatePlan(
        trainer=started.trainer,
        settings=started.settings,
        objective=started.objective,
        optimiser=started.optimiser,
        examples=examples,
    )


def reference(example: Example, transcript: Transcript) -> ExampleRef:
    """An example as the log stores it: the way back is `plan_of`."""
    own = example.part in ("sample", "attempt")
    turn = transcript.sampled(example.sample)
    elsewhere = example.prompt_ids != turn.prompt_ids
    wide = example.student_grammar is not None and example.student_grammar == turn.grammar
    return ExampleRef(
        correction=example.correction,
        sample=example.sample,
        teacher=transcript.shorten(example.teacher_ids, after=example.sample),
        weight=example.weight,
        part=example.part,
        guidance=example.guidance,
        neutral=transcript.shorten(example.neutral_ids, after=example.sample)
        if example.neutral_ids
        else None,
        grammar=None if example.grammar == turn.grammar else example.grammar,
        completion=b"" if own else pack_u32(example.completion_ids),
        prompt=transcript.shorten(example.prompt_ids, after=example.sample) if elsewhere else None,
        reward=example.reward,
        wide=wide,
        forced=example.forced,
        student=None if wide else example.student_grammar,
    )


def example_of(ref: ExampleRef, transcript: Transcript) -> Example:
    """The example that a logged reference stands for."""
    turn = transcript.sampled(ref.sample)
    own = ref.part in ("sample", "attempt")
    return Example(
        correction=ref.correction,
        sample=ref.sample,
        part=ref.part,
        prompt_ids=turn.prompt_ids if ref.prompt is None else transcript.expand(ref.prompt),
        teacher_ids=transcript.expand(ref.teacher),
        completion_ids=turn.completion_ids if own else tuple(unpack_u32(ref.completion)),
        sampled_logprobs=turn.logprobs if own else (),
        temperature=turn.params.temperature,
        grammar=turn.grammar if ref.grammar is None else ref.grammar,
        neutral_ids=() if ref.neutral is None else transcript.expand(ref.neutral),
        weight=ref.weight,
        guidance=ref.guidance,
        reward=ref.reward,
        student_grammar=turn.grammar if ref.wide else ref.student,
        forced=ref.forced,
    )


def retrain(
    update: str,
    transcript: Transcript,
    policy: Policy,
    trainer_of: TrainerOf,
    progress: Callable[[int, int], None] | None = None,
) -> UpdateOutcome:
    """Carry the logged update `update` out again, on the weights that the policy has."""
    started = transcript.updates[update]
    trainer = trainer_of(started.trainer, started.settings)
    return trainer.update(plan_of(started, transcript), policy, progress)


def take_weights(
    records: Iterable[Record],
    policy: Policy,
    trainer_of: TrainerOf,
    progress: Progress | None = None,
    disk: Checkpoints | None = None,
) -> Transcript:
    """Give `policy` the weights that a log ends in, from `disk` or made again; the log's transcript."""
    transcript = Transcript()
    for record in records:
        transcript.apply(record)
    if transcript.started is None:
        raise ReplayError("this log holds no session_started: no weights come from it")
    require_same_model(transcript.started, policy)
    policy.reset()
    show, stand = progress or _quiet, transcript.standing

    def train(update: str) -> None:
        label = f"update {stand.index(update) + 1} of {len(stand)}"
        retrain(update, transcript, policy, trainer_of, functools.partial(show, label))

    Lineage(policy, train, disk, transcript.outcomes).go((), stand)
    return transcript


class Replayer:
    """A fold that keeps a policy in step with a log. `transcript` and `report` are its state so far.

    tolerance: judge updates by their figures, which may differ by so many nats; None: by digests. compares:
    it is only to compare, so that a log of the same base model `elsewhere` will do.
    """

    def __init__(
        self,
        policy: Policy,
        trainer_of: TrainerOf,
        *,
        feedback: Mapping[str, FeedbackType] | None = None,
        progress: Progress | None = None,
        tolerance: float | None = None,
        compares: bool = False,
    ) -> None:
        self.policy = policy
        self.transcript = Transcript(feedback)
        self._tolerance = tolerance
        self._compares = compares
        self.report = ReplayReport()
        self._trainer_of = trainer_of
        self._progress = progress
        self._updates = 0  # how many there will be, where that is known
        self._lineage = Lineage(policy, self._train)

    def apply(self, record: Record) -> None:
        """Take one record into account; where it says that the weights moved, move them."""
        if isinstance(record, SessionStarted):
            self._start(record)
        stood = self.transcript.standing
        if isinstance(record, UpdateApplied):
            self._lineage.keep(stood)
        self.transcript.apply(record)
        if isinstance(record, UpdateApplied):
            self._retrain(record)
        elif isinstance(record, Rewound | UpdateReverted):
            self._lineage.go(stood, self.transcript.standing)
            self.report = msgspec.structs.replace(
                self.report, weights=self.policy.weights(), logged=record.weights
            )
        elif isinstance(record, SessionStarted | SessionResumed):
            here = dict(self.policy.stack)
            pairs = {k: (record.stack.get(k, "absent"), here.get(k, "absent")) for k in record.stack | here}
            changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
            self.report = msgspec.structs.replace(
                self.report, recorded=record.stack, here=here, stack=changed
            )

    def run(self, records: Iterable[Record], until: int | None = None) -> ReplayReport:
        """Apply `records`, up to and with seq `until`."""
        # Not read on from there: what comes after may be damaged.
        every = list(itertools.takewhile(lambda record: until is None or record.seq <= until, records))
        self._updates = sum(isinstance(record, UpdateApplied) for record in every)
        for record in every:
            self.apply(record)
        if self.transcript.started is None:
            raise ReplayError("this log holds no session_started: there is nothing to replay from")
        return self.report

    def _start(self, started: SessionStarted) -> None:
        apart = self._compares and elsewhere(started, self.policy)
        if not apart:
            require_same_model(started, self.policy)
        self.policy.reset()
        weights = self.policy.weights()
        own = self.policy.tolerance if isinstance(self.policy, Recalling) else None
        own = SERVER_TOLERANCE if apart and own is None else own
        self.report = ReplayReport(
            weights=weights,
            logged=started.weights,
            tolerance=own if self._tolerance is None else self._tolerance,
            by_figures=self._tolerance is not None or apart,
            elsewhere=apart,
        )

    def _train(self, update: str) -> UpdateOutcome:
        if self.report.elsewhere:
            started = self.transcript.updates[update]
            require_able(started, self._trainer_of(started.trainer, started.settings), self.policy)
        label = f"update {self.report.updates + 1}" + (f" of {self._updates}" if self._updates else "")
        show = self._progress and functools.partial(self._progress, label)
        return retrain(update, self.transcript, self.policy, self._trainer_of, show)

    def _retrain(self, applied: UpdateApplied) -> None:
        outcome = self._train(applied.update)
        weights = self.policy.weights()
        was, found = self.report, _divergence(applied, weights, outcome)
        if was.elsewhere and self.transcript.updates[applied.update].objective.divergence == "sampled":
            # A server sees one number a token, and its figure is at most the real one.
            over = outcome.after.divergence - applied.divergence[1]
            over = over if on_server(self.policy.model) else -over
            found = msgspec.structs.replace(found, metric=max(0.0, over))
        alike = found.steps[0] == found.steps[1]
        near = was.tolerance is None or (alike and max(found.nats, found.metric) <= was.tolerance)
        same = near and (was.by_figures or weights == applied.weights)
        self.report = msgspec.structs.replace(
            was,
            updates=was.updates + 1,
            matched=was.matched + same,
            first_divergence=was.first_divergence or (None if same else found),
            weights=weights,
            logged=applied.weights,
            nats=max(was.nats, found.nats),
            metric=max(was.metric, found.metric),
            other_steps=was.other_steps + (not alike),
        )


def _divergence(applied: UpdateApplied, weights: str, outcome: UpdateOutcome) -> Divergence:
    here = [a for row in outcome.before.advantages for a in row]
    logged = [a for row in applied.advantages for a in unpack_f32(row)]
    return Divergence(
        seq=applied.seq,
        update=applied.update,
        logged=applied.weights,
        replayed=weights,
        nats=max((abs(a - b) for a, b in zip(here, logged, strict=True)), default=0.0),
        metric=abs(outcome.after.divergence - applied.divergence[1]),
        steps=(applied.steps, outcome.steps),
    )
