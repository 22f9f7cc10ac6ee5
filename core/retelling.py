"""Corrections of logs given again: to another model, or to weights that would have sampled otherwise.

A plan in a log is made of one model's tokens, and of rows that hold what that model did. What any other model
can be told is what was said: the messages before each corrected turn, and the correction. So a retelling is
a session with a log of its own. For each correction, in the order in which they were learned:

    context_cleared, context_built     the conversation of then, rendered and tokenised by this model
    sample_taken, tool_proposed        this model's own turn
    correction_given, or               the logged correction, where it makes the mistake: `origin` says which
    mistake_not_made                   nothing, where it does not
    update_started, update_applied     an update, for the same corrections as then

The mistake is a call of the tool that was rejected, and not the call that was wanted. The first turn is drawn
as it was then. If it is another one, turns are drawn at temperature 1 until one makes the mistake, `ATTEMPTS`
in all (a user meets it some time, too), unless it is less probable than `NEGLIGIBLE`. Where these weights
drew the logged turn, it stands: so with nothing changed the weights come out as logged.

Calls are never run. So what a correction quotes of the world (a test's output, the old arguments) is that of
the logged call, and what was said later in a conversation is as it was. The log of a retelling replays, goes
on and is measured like any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from continualcode.core import engine
from continualcode.core.curriculum import Course
from continualcode.core.data import Data, ToolSpec
from continualcode.core.errors import UsageError
from continualcode.core.evaluation.measure import NEGLIGIBLE
from continualcode.core.evaluation.teach import ATTEMPTS
from continualcode.core.events import (
    ContextBuilt,
    ContextCleared,
    CorrectionGiven,
    CorrectionsRetold,
    MistakeNotMade,
    SampleTaken,
    SessionStarted,
    ToolProposed,
    ToolsOffered,
    UpdateApplied,
    UpdateFailed,
    UpdateRejected,
    event_registry,
)
from continualcode.core.models import same_model
from continualcode.core.optional import Adaptive
from continualcode.core.protocols import Progress, Trainer
from continualcode.core.replay import TrainerOf
from continualcode.core.retraining import Changes, Weighing
from continualcode.core.scenes import Scene, scenes
from continualcode.core.session import Session, require
from continualcode.core.transcript import Transcript
from continualcode.eventlog import read

Outcome: TypeAlias = Literal["learned", "agreed", "rejected", "failed", "not_made", "left_out"]


class RetoldCorrection(Data, frozen=True):
    """A correction as it went here. tool: what was rejected. words: its first line.

    outcome: learned; agreed: no step was taken, the model was as near to its corrected self; rejected: by the
    gate; failed: no turn could be drawn, or no update made; not_made: the mistake; left_out: not chosen.
    attempts: turns drawn; 0: the logged one stands. same_call: the call in question has the rejected one's
    arguments, too.
    before, after: P(a call of `tool`) there, with the base model and with the weights that it ended in.
    """

    log: str
    seq: int
    kind: str
    by: str
    words: str
    tool: str
    outcome: Outcome
    why: str = ""
    attempts: int = 0
    same_call: bool = False
    steps: int = 0
    before: float | None = None
    after: float | None = None


class Retold(Data, frozen=True):
    """What came of it. weights, optimiser: the digests that it ended in."""

    corrections: tuple[RetoldCorrection, ...]
    weights: str
    optimiser: str

    def count(self, outcome: str) -> int:
        """How many corrections came out so."""
        return sum(one.outcome == outcome for one in self.corrections)


class Reteller:
    """Gives the corrections of `courses` to the policy of `session`, which has a log of its own.

    A session that was resumed goes on where it was: what its log holds is not given again.
    """

    def __init__(
        self,
        courses: Sequence[Course],
        session: Session,
        trainer_of: TrainerOf,
        changes: Changes | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._changes = changes or Changes()
        self._updates = scenes(courses, self._changes)
        self._courses = courses
        self._session = session
        self._trainer_of = trainer_of
        self._progress = progress
        self._known: dict[str, CorrectionGiven | MistakeNotMade] = {}

    def run(self) -> Retold:
        """All of it; the policy ends with the weights."""
        session = self._session
        for update in self._updates:
            require(self._trainer(update), session.policy)
        self._begin()
        total, found = sum(map(len, self._updates)), dict[str, RetoldCorrection]()
        for update in self._updates:
            for scene in update:
                self._show("giving corrections again", len(found), total)
                found[scene.correction.id] = self._given(scene)
            found |= self._learned(update, found)
        if session.transcript.messages:
            session.append(ContextCleared())
        figures = self._figures()
        policy = session.policy
        return Retold(
            corrections=tuple(
                msgspec.structs.replace(one, before=figures[id][0], after=figures[id][1])
                if id in figures
                else one
                for id, one in found.items()
            ),
            weights=policy.weights(),
            optimiser=policy.optimiser_state(),
        )

    def _begin(self) -> None:
        """Say in the log what follows; where it was begun before, take in what it holds of it."""
        session = self._session
        began = CorrectionsRetold(
            logs={course.id: course.name for course in self._courses},
            changes=msgspec.to_builtins(self._changes),
        )
        before: CorrectionsRetold | None = None
        for record in read(session.log.path, event_registry(session.plugins.event_types())):
            if isinstance(record, CorrectionsRetold):
                before = record
            elif isinstance(record, CorrectionGiven | MistakeNotMade) and record.origin:
                self._known[record.origin] = record
        if before is None:
            session.append(began)
        elif (before.logs, msgspec.convert(before.changes, Changes)) != (began.logs, self._changes):
            raise UsageError(
                f"{session.log.path} gives corrections of {', '.join(before.logs.values())} again, with the "
                f"changes {before.changes}; go on with the same, or name a new log"
            )

    # -- One correction --------------------------------------------------------------------------------

    def _given(self, scene: Scene) -> RetoldCorrection:
        """Let the model come to the situation, and correct it where it makes the mistake."""
        id = scene.correction.id
        if not scene.verdict.taken:
            return _told(scene, "left_out", why=scene.verdict.why)
        attempts = 0
        if id not in self._known:
            try:
                self._known[id], attempts = self._drawn(scene)
            except UsageError as error:  # such as a conversation that does not fit the model's context
                return _told(scene, "failed", why=str(error))
        known = self._known[id]
        if isinstance(known, MistakeNotMade):
            why = f"a call of {known.tool} has P = {known.probability:.2f} there"
            return _told(scene, "not_made", why=why, attempts=known.attempts)
        call = self._session.transcript.sampled(known.sample).call
        same = call is not None and call == scene.turn.call
        # What becomes of it is known when the update is over.
        return _told(scene, "failed", attempts=attempts, same_call=same)

    def _drawn(self, scene: Scene) -> tuple[CorrectionGiven | MistakeNotMade, int]:
        """The correction on a turn of this model's, or that there is none to correct; how many were drawn."""
        session, correction, params = self._session, scene.correction, scene.turn.params
        self._stage(scene)
        proposed, attempts, probability = self._logged(scene), 0, 1.0
        while proposed is None and attempts < ATTEMPTS:
            if attempts == 1 and (probability := self._probability(scene)) < NEGLIGIBLE:
                break
            if attempts:
                self._stage(scene)
                seed = scene.turn.params.seed + attempts
                params = msgspec.structs.replace(params, temperature=1.0, seed=seed)
            attempts += 1
            turn = engine.propose(session, engine.draw(session, params))
            proposed = turn if scene.is_mistake(turn.call) else None
        if proposed is None:
            moot = MistakeNotMade(
                origin=correction.id, tool=scene.tool, probability=probability, attempts=attempts
            )
            return session.append(moot), attempts
        given = CorrectionGiven(
            kind=correction.kind,
            sample=proposed.sample,
            call_id=proposed.id,
            feedback=correction.feedback,
            solution=correction.solution,
            environment=correction.environment,
            by=correction.by,
            origin=correction.id,
        )
        return session.append(given, cause=proposed.id), attempts

    def _stage(self, scene: Scene) -> None:
        """Make the conversation of then the one that stands."""
        session, tools = self._session, scene.turn.tools
        if session.transcript.messages:
            session.append(ContextCleared())
        session.append(ContextBuilt(messages=scene.messages_for(self._session.policy.model)))
        if tools != session.transcript.tools:
            session.append(ToolsOffered(tools=tools, grammar=self._grammar(tools)))

    def _logged(self, scene: Scene) -> ToolProposed | None:
        """The logged turn, where these very weights drew it after this very prompt."""
        session, policy, turn = self._session, self._session.policy, scene.turn
        if not same_model(scene.started, policy) or policy.weights() != turn.weights:
            return None
        ids = policy.render(session.transcript.messages, turn.tools)
        if ids != turn.prompt_ids:
            return None
        logged = scene.attempt.transcript.samples[scene.correction.sample]
        stands = SampleTaken(
            weights=logged.weights,
            offer=session.transcript.offer,
            prompt=session.transcript.shorten(ids),
            params=logged.params,
            token_ids=logged.token_ids,
            logprobs=logged.logprobs,
            text=logged.text,
            stop=logged.stop,
        )
        return engine.propose(session, session.append(stands))

    def _learned(
        self, update: Sequence[Scene], found: Mapping[str, RetoldCorrection]
    ) -> dict[str, RetoldCorrection]:
        """Train on what was corrected; how that came out, by correction."""
        session = self._session
        given = {
            scene.correction.id: known
            for scene in update
            if isinstance(known := self._known.get(scene.correction.id), CorrectionGiven)
        }
        factors = {
            given[scene.correction.id].id: scene.verdict.weight
            for scene in update
            if scene.correction.id in given
        }
        session.trainer = Weighing(self._trainer(update), factors)
        outcome = engine.learn(session)
        how: dict[str, RetoldCorrection] = {}
        for id, correction in given.items():
            came = outcome or _outcome_of(correction.id, session.transcript)
            if isinstance(came, UpdateApplied) and not came.steps:
                why = f"{came.divergence[0]:.2f} nats from the corrected model: nothing to learn"
                change: dict[str, Any] = {"outcome": "agreed", "why": why}
            elif isinstance(came, UpdateApplied):
                change = {"outcome": "learned", "steps": came.steps}
            elif isinstance(came, UpdateRejected):
                change = {"outcome": "rejected", "steps": came.steps, "why": came.why}
            else:
                change = {"why": came.why if came is not None else "no update could be planned"}
            how[id] = msgspec.structs.replace(found[id], **change)
        return how

    # -- What it needs ---------------------------------------------------------------------------------

    def _probability(self, scene: Scene) -> float:
        """P(a call of the rejected tool) in the scene; 1 where no call could be read."""
        policy, tools = self._session.policy, scene.turn.tools
        ids = policy.render(scene.messages_for(policy.model), tools)
        return policy.tool_probabilities(ids, self._grammar(tools), tools).get(scene.tool, 1.0)

    def _figures(self) -> dict[str, tuple[float, float]]:
        """P(a call of the rejected tool) with the base model and with the weights at hand, by correction."""
        policy = self._session.policy
        asked = [
            scene
            for update in self._updates
            for scene in update
            if scene.tool and scene.correction.id in self._known
        ]

        def look(label: str) -> list[float]:
            found: list[float] = []
            for scene in asked:
                self._show(label, len(found), len(asked))
                found.append(self._probability(scene))
            return found

        after, learned = look("measuring, afterwards"), policy.snapshot()
        policy.reset()
        try:
            before = look("measuring, before")
        finally:
            policy.restore(learned)
        ids = (scene.correction.id for scene in asked)
        return {id: (one, other) for id, one, other in zip(ids, before, after, strict=True)}

    def _grammar(self, tools: tuple[ToolSpec, ...]) -> str | None:
        """Of a turn with these tools: the one in force, if they are those on offer."""
        transcript = self._session.transcript
        return transcript.grammar if tools == transcript.tools else self._session.policy.grammar(tools)

    def _trainer(self, update: Sequence[Scene]) -> Trainer:
        """That of the logged update, with what is changed.

        Where it needs what this policy cannot do: with what was chosen for that session, else what suits.
        """
        scene, capabilities = update[0], self._session.policy.capabilities
        name, settings = self._changes.trainer_for(scene.attempt.started)
        trainer = self._trainer_of(name, settings)
        if trainer.needs <= capabilities:
            return trainer
        trainer = self._trainer_of(*chosen_trainer(scene.started, self._changes))
        return trainer.suited(capabilities)[0] if isinstance(trainer, Adaptive) else trainer

    def _show(self, label: str, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(label, done, total)


def chosen_trainer(started: SessionStarted, changes: Changes) -> tuple[str, dict[str, Any]]:
    """Name and settings of a session's trainer, as they were chosen for it and are changed now."""
    chosen: dict[str, Any] = started.config["trainer"]
    name = changes.trainer or chosen["name"]
    return name, {**(chosen if name == chosen["name"] else {}), **changes.settings, "name": name}


def _outcome_of(correction: str, transcript: Transcript) -> engine.Outcome | None:
    """How the first update on a correction came out that has an outcome: its own, later ones rehearse it."""
    for id, started in transcript.updates.items():
        outcome = transcript.outcomes.get(id)
        if any(ref.correction == correction for ref in started.examples) and not (
            outcome is None or isinstance(outcome, UpdateFailed)
        ):
            return outcome
    return None


def _told(scene: Scene, outcome: Outcome, **details: Any) -> RetoldCorrection:
    correction = scene.correction
    return RetoldCorrection(
        log=scene.attempt.log,
        seq=correction.seq,
        kind=correction.kind,
        by=correction.by,
        words=(correction.feedback.splitlines() or [""])[0],
        tool=scene.tool,
        outcome=outcome,
        **details,
    )
