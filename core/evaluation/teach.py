"""Teaches a rule of a case set through the ordinary session: the user is the rule.

Each of the rule's training prompts becomes a turn of the session, on the case's own files: the model is
asked, its call is decided by the rule, a denial is learned from like anyone's. Calls are never run: what is
measured is which call is made, and a small model's shell commands are nobody's to run unseen. The log of
such a session replays like any other.

The first call is what a session would do (its own sampling settings). If it does not break the rule, calls
are drawn at temperature 1 until one does, `ATTEMPTS` at most: a user meets the mistake some time, too.
"""

import shutil
from pathlib import Path
from typing import Literal

import msgspec

from continualcode.core import engine
from continualcode.core.data import Data
from continualcode.core.evaluation.cases import Case, CaseRule
from continualcode.core.evaluation.staging import conversation, prompt_messages, write_files
from continualcode.core.events import (
    ContextBuilt,
    ContextCleared,
    DecisionMade,
    PromptSubmitted,
    UpdateApplied,
)
from continualcode.core.session import Session
from continualcode.core.workspace import Workspace

ATTEMPTS = 12
"""How many calls are drawn, the first one included, before a prompt is given up: the mistake is not made."""


class Lesson(Data, frozen=True):
    """What came of one training prompt. `attempts`: calls drawn until one broke the rule (or all of them).

    outcome: the record that the correction ended in (update_applied, update_rejected, update_failed), or
    not_made: the model did not break the rule, so there was nothing to correct.
    """

    rule: str
    prompt: str
    outcome: Literal["update_applied", "update_rejected", "update_failed", "not_made"]
    attempts: int
    steps: int = 0
    why: str = ""


def teach(session: Session, rule: CaseRule, case: Case) -> Lesson:
    """One prompt of one rule: ask, deny what breaks the rule, learn."""
    configured = session.config
    try:
        for attempt in range(1, ATTEMPTS + 1):
            stage(session, case)
            if attempt == 2:
                warmer = msgspec.structs.replace(configured.sampling, temperature=1.0)
                session.config = msgspec.structs.replace(configured, sampling=warmer)
            proposed = engine.propose(session, engine.sample(session))
            call = proposed.call
            if call is None or not rule.violates.holds(call, session.workspace):
                continue
            session.config = configured
            denial = DecisionMade(
                call_id=proposed.id, verdict="deny", by=f"script:{rule.name}", reason=rule.correction
            )
            engine.noticed(session, session.append(denial, cause=proposed.id))
            return _lesson(engine.learn(session), rule, case, attempt)
    finally:
        session.config = configured
    return Lesson(rule=rule.name, prompt=case.prompt, outcome="not_made", attempts=ATTEMPTS)


def stage(session: Session, case: Case) -> None:
    """A new conversation in a workspace that holds the case's files and nothing else, as facts of the log."""
    root = session.workspace.root
    _empty(root)
    write_files(case, root)
    session.append(ContextCleared())
    session.append(PromptSubmitted(text=case.prompt))
    workspace = Workspace(root)
    messages = conversation(case, workspace, session.tools)
    session.workspace.note_seen(workspace.seen)
    built = prompt_messages(messages, session.transcript, session.first)
    if built != session.transcript.messages:
        session.append(ContextBuilt(messages=tuple(built)))


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _lesson(outcome: engine.Outcome | None, rule: CaseRule, case: Case, attempts: int) -> Lesson:
    """How the correction ended."""
    kind = outcome.__struct_config__.tag if outcome is not None else "update_failed"
    return Lesson(
        rule=rule.name,
        prompt=case.prompt,
        outcome=kind,  # type: ignore[arg-type]  # the tags of the three outcomes
        attempts=attempts,
        steps=outcome.steps if isinstance(outcome, UpdateApplied) else 0,
        why=getattr(outcome, "why", ""),
    )
