"""One running session: the log, the folds over it, and the plugins around them.

`append` is the only way in which anything happens: a record is durable first, then the transcript
takes it in, then the UI shows it, then the observers react. The engine (`core.engine`) decides what
to append next; this module knows how a session is opened, resumed and closed.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from continualcode.core.checkpoints import Checkpoints
from continualcode.core.config import Config
from continualcode.core.errors import CapabilityMissing, ReplayError
from continualcode.core.events import (
    CorrectionGiven,
    PluginFailed,
    SessionEnded,
    SessionResumed,
    SessionStarted,
    ToolsOffered,
    UpdateFailed,
    event_registry,
)
from continualcode.core.lineage import Lineage, Standing
from continualcode.core.models import require_same_model
from continualcode.core.optional import Adaptive, Recalling
from continualcode.core.plugins import Plugins, Reply, failure
from continualcode.core.protocols import UI, Command, FeedbackType, Policy, Progress, Sandbox, Tool, Trainer
from continualcode.core.replay import retrain, trainers_of
from continualcode.core.safety_events import SafetyChosen
from continualcode.core.sandbox import chosen
from continualcode.core.transcript import Transcript, fold
from continualcode.core.workspace import Workspace
from continualcode.eventlog import LogWriter, Record, Redactor, read

R = TypeVar("R", bound=Record)

MAX_REACTIONS = 8
"""How long a chain of observers reacting to observers may grow before it is cut and recorded."""

operators = structlog.get_logger("continualcode.session")


@dataclass(frozen=True)
class Successor:
    """The session after this one: the log to resume, or the table `[model]` of a new one in this folder."""

    log: str | None = None
    model: dict[str, Any] | None = None


@dataclass
class Session:
    """What the engine, the UI and the commands work on. Built by `open_session`."""

    config: Config
    plugins: Plugins
    log: LogWriter
    transcript: Transcript
    workspace: Workspace
    sandbox: Sandbox
    ui: UI
    tools: dict[str, Tool]
    feedback: dict[str, FeedbackType]
    commands: dict[str, Command]
    policy: Policy
    trainer: Trainer
    lineage: Lineage
    notice: str = ""
    """What the user is told as the session begins; empty: nothing."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: bool = False
    successor: "Successor | None" = None
    """What to go on with when this one has ended."""

    @property
    def owed(self) -> tuple[CorrectionGiven, ...]:
        """What is to be learned next: corrections that no update has taken up, unless nothing is learned."""
        return self.transcript.pending() if self.config.session.train else ()

    def append(self, record: R, *, cause: str | None = None, _depth: int = 0) -> R:
        """Make `record` a fact: durable, folded, shown, observed. Returns it as written (with its id)."""
        written = self.log.append(record, cause=cause)
        self.transcript.apply(written)
        self._show(written)
        if not isinstance(written, PluginFailed):
            self._observe(written, _depth)
        return written

    def _show(self, record: Record) -> None:
        """A UI that fails to show a fact does not undo it; said to operators, as the log has no way round."""
        try:
            self.ui.event(record, self)
        except Exception as error:
            operators.error("ui failed", error=repr(error), seq=record.seq)

    def _observe(self, record: Record, depth: int) -> None:
        for reply in self.plugins.ask(
            "event_appended", record=record, transcript=self.transcript, session=self
        ):
            if reply.error is None and depth >= MAX_REACTIONS:
                reply = Reply(
                    reply.plugin, None, RuntimeError(f"reactions to reactions, {depth} deep: cut here")
                )
            if reply.error is not None:
                self.append(failure(reply, "event_appended"), cause=record.id)
                continue
            for reaction in reply.answer:
                self.append(reaction, cause=record.id, _depth=depth + 1)

    def first(self, hook: str, /, **arguments: object) -> Any:
        """The first plugin's answer to `hook`; failures on the way are recorded."""
        return self.plugins.first(hook, self._failed, **arguments)

    def show(self, text: str) -> None:
        """Stream output of a tool to the UI (with `workspace`, `sandbox` and `cancelled`: a ToolContext)."""
        self.ui.text(text)

    def close(self, reason: str) -> None:
        """End the session in an orderly way; safe to call twice."""
        if self.ended:
            return
        self.ended = True
        try:
            self.append(SessionEnded(reason=reason))
        finally:
            self.log.close()
            self.policy.close()

    def _failed(self, record: PluginFailed) -> None:
        self.append(record)


def open_session(
    config: Config,
    plugins: Plugins,
    *,
    workspace: Path,
    log: Path,
    resume: bool = False,
    ui: UI | None = None,
    policy: Policy | None = None,
    checkpoints: Path | None = None,
) -> Session:
    """Open `log`, a new one or one to go on with, and everything around it; append how it starts.

    Nothing is written before every part is there: a model that cannot be had leaves no log behind.
    `ui` and `policy` None: as the configuration says. checkpoints: the folder of `core.checkpoints`; None: no
    weights are kept on disk, and to go on is to train them again.
    """
    tools = plugins.tools()
    feedback = plugins.feedback(config.feedback)
    commands = plugins.commands()
    registry = event_registry(plugins.event_types())
    screen: UI = ui or plugins.choose("make_ui", config.ui["name"], config.ui)
    trainer: Trainer = plugins.choose("make_trainer", config.trainer["name"], config.trainer)
    sandbox: Sandbox = plugins.choose("make_sandbox", config.sandbox["name"], config.sandbox, workspace, log)
    safety = chosen(config.session.approvals, sandbox)
    policy = _policy(plugins, config, screen.progress, policy)
    disk = Checkpoints(checkpoints, config.session.checkpoints) if checkpoints else None
    notice = ""
    if isinstance(trainer, Adaptive):
        trainer, notice = trainer.suited(policy.capabilities)
    if config.session.train:
        require(trainer, policy)
    redact = Redactor.from_environment()
    if resume:
        # Opened first: a log that another session holds is refused before anything is trained.
        writer = LogWriter.open(log, registry, redact=redact)
        try:
            transcript = fold(read(log, registry), feedback)
            lineage = _lineage(policy, transcript, plugins, screen.progress, disk)
            if transcript.started is None:
                raise ReplayError(f"{log}: holds no session_started: there is nothing to go on with")
            require_same_model(transcript.started, policy)
            policy.reset()
            lineage.go(_recalled(policy, read(log, registry), transcript), transcript.standing)
        except BaseException:
            writer.close()
            raise
    else:
        transcript, writer = Transcript(feedback), LogWriter.create(log, registry, redact=redact)
        lineage = _lineage(policy, transcript, plugins, screen.progress, disk)
    session = Session(
        config=config,
        plugins=plugins,
        log=writer,
        transcript=transcript,
        workspace=Workspace(workspace, log),
        sandbox=sandbox,
        ui=screen,
        tools=tools,
        feedback=feedback,
        commands=commands,
        policy=policy,
        trainer=trainer,
        lineage=lineage,
        notice=notice if config.session.train else "",
    )
    session.workspace.note_seen(transcript.seen)
    _append_start(session, safety, resume)
    return session


def _policy(plugins: Plugins, config: Config, progress: Progress, at_hand: Policy | None) -> Policy:
    if at_hand is not None:
        return at_hand
    made: Policy = plugins.choose("make_policy", config.model["name"], config.model, progress)
    return made


def _lineage(
    policy: Policy, transcript: Transcript, plugins: Plugins, progress: Progress, disk: Checkpoints | None
) -> Lineage:
    def train(update: str) -> None:
        stand = transcript.standing
        which = f"update {stand.index(update) + 1} of {len(stand)}" if update in stand else "an update"
        label = f"making the weights again, {which}"
        retrain(
            update, transcript, policy, trainers_of(plugins), lambda done, most: progress(label, done, most)
        )

    return Lineage(policy, train, disk, transcript.outcomes)


def _recalled(policy: Policy, records: Iterable[Record], transcript: Transcript) -> Standing:
    """The updates that need not be trained again, as the policy has found weights with them."""
    outcomes = [transcript.outcomes[update] for update in transcript.standing]
    if not outcomes or not isinstance(policy, Recalling):
        return ()
    return transcript.standing[: policy.recall(records, [outcome.weights for outcome in outcomes])]


def _append_start(session: Session, safety: SafetyChosen, resume: bool) -> None:
    policy, transcript = session.policy, session.transcript
    if resume:
        session.append(
            SessionResumed(
                product=version("continualcode"),
                plugins=session.plugins.loaded(),
                config=msgspec.to_builtins(session.config),
                stack=dict(policy.stack),
                weights=policy.weights(),
                workspace=str(session.workspace.root),
            )
        )
        if (unfinished := transcript.unfinished_update()) is not None:
            # Its corrections stay pending: the weights never moved, so they are learned now, once.
            why = "the session ended while it ran"
            session.append(
                UpdateFailed(update=unfinished.id, corrections=(), why=why, weights=policy.weights())
            )
    else:
        session.append(
            SessionStarted(
                product=version("continualcode"),
                plugins=session.plugins.loaded(),
                config=msgspec.to_builtins(session.config),
                model=policy.model,
                stack=dict(policy.stack),
                workspace=str(session.workspace.root),
                weights=policy.weights(),
                optimiser=policy.optimiser_state(),
            )
        )
    session.append(safety)
    for failed in session.plugins.failures:
        session.append(failed)
    specs = tuple(tool.spec for tool in session.tools.values())
    grammar = policy.grammar(specs)
    if (specs, grammar) != (transcript.tools, transcript.grammar):
        session.append(ToolsOffered(tools=specs, grammar=grammar))


def require(trainer: Trainer, policy: Policy) -> None:
    """Refuse, by name, a trainer that needs what the policy cannot do."""
    if lacking := sorted(trainer.needs - policy.capabilities):
        raise CapabilityMissing(
            f"trainer {trainer.name!r} needs {', '.join(lacking)}, "
            f"which the policy {policy.model.name!r} cannot do; "
            f"it can do: {', '.join(sorted(policy.capabilities)) or 'nothing'}. "
            "Choose other trainer settings, another model, or --no-train."
        )
