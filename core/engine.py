"""The agent: one tool call a turn, each fact in the log before anything acts on it.

Read `run`, `turn` and `learn`; the rest are the single steps that they name, in that order.
"""

import re
import time
from functools import partial
from typing import Literal, TypeAlias, TypeVar

import msgspec

from continualcode.core.data import Sample, SamplingParams, ToolResult, UpdateOutcome
from continualcode.core.errors import ContinualCodeError, ModelUnavailable, UsageError, nearest
from continualcode.core.events import (
    ContextBuilt,
    DecisionMade,
    PluginFailed,
    PromptSubmitted,
    RuleAdded,
    SampleTaken,
    ToolProposed,
    ToolRan,
    ToolStarted,
    TurnInterrupted,
    UpdateApplied,
    UpdateFailed,
    UpdateRejected,
    UpdateStarted,
)
from continualcode.core.limits import Limits, sentence
from continualcode.core.plugins import failure
from continualcode.core.protocols import Policy
from continualcode.core.replay import plan_of, reference
from continualcode.core.review import Question, Ruling, always_rule, rule_id, strongest
from continualcode.core.schema import check_arguments, normalise_arguments
from continualcode.core.session import Session
from continualcode.eventlog import LogError, Record, pack_f32, pack_u32, unpack_f32, unpack_u32

R = TypeVar("R", bound=Record)

Ending: TypeAlias = Literal["answered", "limit", "interrupted", "failed"]
"""How a turn ended: with an answer, at a limit (`core.limits`), by the user, or as it could not go on."""

Outcome: TypeAlias = UpdateApplied | UpdateRejected | UpdateFailed
"""How an update ended."""


def run(session: Session) -> None:
    """Read prompts and commands from the UI until it has no more."""
    if session.notice:
        session.ui.message(session.notice)
    learn(session)  # what an earlier process was corrected on and did not get to
    while not session.ended and (given := session.ui.next_input(session)) is not None:
        if is_command(given):
            command(session, given)
        else:
            ask(session, given)


def is_command(given: str) -> bool:
    """Whether a line is a slash command; a path at its beginning makes none.

    >>> is_command("/undo update"), is_command("/etc/hosts is wrong"), is_command("no")
    (True, False, False)
    """
    return re.fullmatch(r"/[\w-]*(\s.*)?", given, re.DOTALL) is not None


def ask(session: Session, prompt: str) -> Ending:
    """One prompt and the turn that it leads to."""
    session.append(PromptSubmitted(text=prompt))
    return turn(session)


def turn(session: Session) -> Ending:
    """Let the model act until it answers, is stopped, or comes to a limit of what one prompt may use."""
    session.cancelled.clear()
    limits = Limits(session.config.budget, session.transcript, session.cancelled)
    try:
        while (limit := limits.reached()) is None:
            with limits.clock():
                taken = sample(session)
            proposed = propose(session, taken)
            if proposed.call is not None:
                decision = decide(session, proposed)
                if decision.verdict == "allow":
                    with limits.clock():
                        execute(session, proposed, decision, limits)
                    stop_if_asked(session)
                learn(session)
                stop_if_asked(session)
            if ends_turn(session, proposed):
                return "answered"
    except KeyboardInterrupt:
        limit = limits.reached() if limits.out_of_time else None
        if limit is None:
            session.append(TurnInterrupted())
            return "interrupted"
    except UsageError as error:  # such as a conversation that has outgrown the model's context
        session.ui.message(f"The turn ends here: {error}")
        return "failed"
    finally:
        session.cancelled.clear()
    session.append(limit)
    session.ui.message(sentence(limit, session.transcript))
    return "limit"


def learn(session: Session) -> Outcome | None:
    """Train on what was corrected since the last update; what goes wrong leaves the weights as they were.

    How it ended, as recorded; None: there was nothing to learn.
    """
    corrections = session.owed
    if not corrections:
        return None
    policy, trainer, transcript = session.policy, session.trainer, session.transcript
    before, clock = session.lineage.keep(transcript.standing), time.perf_counter()
    try:
        plan = trainer.plan(corrections, transcript, policy, partial(report, session, "reading"))
        started = session.append(
            UpdateStarted(
                trainer=plan.trainer,
                settings=plan.settings,
                objective=plan.objective,
                optimiser=plan.optimiser,
                examples=tuple(reference(example, transcript) for example in plan.examples),
                weights=policy.weights(),
            ),
            cause=corrections[-1].id,
        )
        # What is carried out is what was logged: what the log cannot say is not learned either.
        outcome = trainer.update(plan_of(started, transcript), policy, partial(report, session, "learning"))
    except (Exception, KeyboardInterrupt) as error:
        policy.restore(before)
        if isinstance(error, LogError):
            raise
        unfinished = transcript.unfinished_update()
        return session.append(
            UpdateFailed(
                update=unfinished.id if unfinished else None,
                # A model that is away for now has learned nothing yet: they stay pending, for later.
                corrections=() if isinstance(error, ModelUnavailable) else tuple(c.id for c in corrections),
                why="interrupted by the user"
                if isinstance(error, KeyboardInterrupt)
                else str(error) or repr(error),
                weights=policy.weights(),
            )
        )
    else:
        if outcome.rejected is not None:
            policy.restore(before)
        ended = session.append(
            settled(started, outcome, policy, time.perf_counter() - clock), cause=started.id
        )
        session.lineage.arrived(transcript.standing)
        return ended


def stop_if_asked(session: Session) -> None:
    """End the turn between two steps where the user asked for that: no fact is cut off in the middle."""
    if session.cancelled.is_set():
        raise KeyboardInterrupt


def report(session: Session, label: str, done: int, most: int) -> None:
    """How far an update is; also where it can be stopped."""
    session.ui.progress(label, done, most)
    stop_if_asked(session)


# -- The steps of a turn -------------------------------------------------------------------------------


def sample(session: Session) -> SampleTaken:
    """The model speaks: build what it sees, draw one completion."""
    transcript, configured = session.transcript, session.config.sampling
    built = session.first("build_prompt", transcript=transcript)
    if built is not None and list(built) != transcript.messages:
        session.append(ContextBuilt(messages=tuple(built)))
    return draw(session, msgspec.structs.replace(configured, seed=configured.seed + len(transcript.samples)))


def draw(session: Session, params: SamplingParams) -> SampleTaken:
    """One completion of the conversation as it stands, recorded."""
    transcript, policy = session.transcript, session.policy
    prompt_ids = policy.render(transcript.messages, transcript.tools)
    drawn = policy.sample(prompt_ids, transcript.grammar, params, session.ui.text, session.cancelled)
    stop_if_asked(session)
    return session.append(
        SampleTaken(
            weights=policy.weights(),
            offer=transcript.offer,
            prompt=transcript.shorten(tuple(prompt_ids)),
            params=params,
            token_ids=pack_u32(drawn.token_ids),
            logprobs=pack_f32(drawn.logprobs),
            text=drawn.text,
            stop=drawn.stop,
            prefill_seconds=drawn.prefill_seconds,
            decode_seconds=drawn.decode_seconds,
        )
    )


def propose(session: Session, taken: SampleTaken) -> ToolProposed:
    """Read the sample as a call of one of the tools; what cannot be read says why, for the model to see."""
    specs = {tool.name: tool for tool in session.transcript.tools}
    drawn = Sample(
        token_ids=tuple(unpack_u32(taken.token_ids)),
        logprobs=tuple(unpack_f32(taken.logprobs)),
        text=taken.text,
        stop=taken.stop,
    )
    parsed = session.policy.parse(drawn, tuple(specs.values()))
    call, how, why = parsed.call, parsed.how, parsed.why
    if call is not None:
        arguments, notes = normalise_arguments(specs[call.tool], call.arguments)
        call = msgspec.structs.replace(call, arguments=arguments)
        if (wrong := check_arguments(specs[call.tool], arguments)) is not None:
            call, how, why = None, "failed", wrong
        elif notes:
            how, why = "repaired", "; ".join(notes)
    return session.append(
        ToolProposed(sample=taken.id, call=call, how=how, why=why, span=parsed.span), cause=taken.id
    )


def decide(session: Session, proposed: ToolProposed) -> DecisionMade:
    """Ask the plugins, then, where they leave it open, the user; record who decided and what follows."""
    call = proposed.call
    assert call is not None
    tool = session.tools[call.tool]
    ruling = Ruling(verdict="allow", by="session") if tool.spec.ends_turn else rule(session, proposed)
    if ruling.verdict != "ask":
        decision = DecisionMade(
            call_id=proposed.id, verdict=ruling.verdict, by=ruling.by, reason=ruling.reason
        )
        return noticed(session, session.append(decision, cause=proposed.id))
    always = always_rule(call, tool.spec, session.workspace)
    try:
        preview = tool.preview(call.arguments, session)
    except Exception as error:
        preview = f"(no preview: {error})"
    question = Question(call_id=proposed.id, call=call, preview=preview, reason=ruling.reason, always=always)
    answer = session.ui.review(question, session)
    while (
        answer.arguments is not None and (wrong := check_arguments(tool.spec, answer.arguments)) is not None
    ):
        session.ui.message(f"these arguments cannot run: {wrong}")
        answer = session.ui.review(question, session)
    if answer.always and answer.verdict == "allow":
        session.append(RuleAdded(rule=always, by=answer.by, rule_id=rule_id(always)), cause=proposed.id)
    decision = session.append(
        DecisionMade(
            call_id=proposed.id,
            verdict=answer.verdict,
            by=answer.by,
            reason=answer.reason,
            arguments=answer.arguments if answer.arguments != call.arguments else None,
            train=answer.train,
        ),
        cause=proposed.id,
    )
    return noticed(session, decision) if answer.train else decision


def rule(session: Session, proposed: ToolProposed) -> Ruling:
    """What the plugins say of a call: the strongest opinion; one that raises has denied."""
    rulings: list[Ruling] = []
    for reply in session.plugins.ask("review_tool_call", call=proposed.call, transcript=session.transcript):
        if reply.error is not None:
            session.append(failure(reply, "review_tool_call"), cause=proposed.id)
            why = f"the plugin {reply.plugin!r} failed while reviewing this call: {reply.error}"
            rulings.append(Ruling(verdict="deny", reason=why, by=f"plugin:{reply.plugin}"))
        else:
            by = reply.answer.by or f"plugin:{reply.plugin}"
            rulings.append(msgspec.structs.replace(reply.answer, by=by))
    return strongest(rulings)


def execute(session: Session, proposed: ToolProposed, decision: DecisionMade, limits: Limits) -> ToolRan:
    """Run an approved call, with the user's arguments where they changed them, and record what it did."""
    call = proposed.call
    assert call is not None
    if decision.arguments is not None:
        call = msgspec.structs.replace(call, arguments=decision.arguments)
    session.append(ToolStarted(call_id=proposed.id, call=call), cause=decision.id)
    clock = time.perf_counter()
    try:
        result = session.first("run_tool", call=call, context=session)
        if not isinstance(result, ToolResult):
            result = session.tools[call.tool].run(call.arguments, session)
    except Exception as error:
        result = ToolResult(output=f"error: {call.tool} failed: {error}", success=False)
    ran = session.append(
        ToolRan(
            call_id=proposed.id,
            output=limits.cut(result.output),
            success=result.success,
            feedback=result.feedback,
            changes=result.changes,
            seen=result.seen,
            seconds=time.perf_counter() - clock,
        ),
        cause=proposed.id,
    )
    session.workspace.note_seen(ran.seen)
    return noticed(session, ran) if decision.train else ran


def noticed(session: Session, record: R) -> R:
    """Let each feedback type look at a decision or a result; record the corrections that it sees."""
    for kind in session.feedback.values():
        if session.config.feedback.get(kind.kind) is False:
            continue
        try:
            correction = kind.notice(record, session.transcript)
        except Exception as error:
            session.append(
                PluginFailed(plugin=kind.kind, hook="notice", error=f"{type(error).__name__}: {error}")
            )
            continue
        if correction is not None:
            session.append(correction, cause=record.id)
    return record


def ends_turn(session: Session, proposed: ToolProposed) -> bool:
    """Whether the model has answered: in plain text, or by a tool that answers."""
    if proposed.call is None:
        return proposed.how == "text"
    return session.tools[proposed.call.tool].spec.ends_turn


def settled(
    started: UpdateStarted, outcome: UpdateOutcome, policy: Policy, seconds: float
) -> UpdateApplied | UpdateRejected:
    """The outcome of an update as a record; of one that was rejected, after the weights went back."""
    if outcome.rejected is not None:
        return UpdateRejected(
            update=started.id,
            why=outcome.rejected,
            weights=policy.weights(),
            steps=outcome.steps,
            divergence=(outcome.before.divergence, outcome.after.divergence),
            metrics=outcome.metrics,
            seconds=seconds,
        )
    return UpdateApplied(
        update=started.id,
        weights=policy.weights(),
        optimiser=policy.optimiser_state(),
        steps=outcome.steps,
        loss=(outcome.before.loss, outcome.after.loss),
        divergence=(outcome.before.divergence, outcome.after.divergence),
        advantages=tuple(pack_f32(row) for row in outcome.before.advantages),
        divergences_before=tuple(pack_f32(row) for row in outcome.before.divergences),
        divergences_after=tuple(pack_f32(row) for row in outcome.after.divergences),
        metrics=outcome.metrics,
        seconds=seconds,
    )


def command(session: Session, line: str) -> None:
    """Run a slash command of any plugin; what goes wrong is said, and the session goes on."""
    name, _, argument = line[1:].partition(" ")
    found = session.commands.get(name)
    if found is None:
        session.ui.message(f"unknown command /{name}; {nearest(name, session.commands)}")
        return
    try:
        session.ui.message(found.run(argument.strip(), session))
    except ContinualCodeError as error:
        session.ui.message(str(error))
    except KeyboardInterrupt:
        session.ui.message(f"/{name} was stopped.")
