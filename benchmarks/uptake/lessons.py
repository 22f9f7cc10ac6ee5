"""What a session is taught in the benchmark, and what that costs.

`teach` is that of `cc eval --teach`. `teach_with_retry` goes on as a user would who waits for the right call:
after the denial, calls are drawn until one follows the rule, `RETRIES` at most, each after the same
conversation; that one is approved (`approved_retry`), and only then is anything learned.
"""

import time
from typing import Any

import msgspec

from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.evaluation.cases import Case, CaseRule
from continualcode.core.evaluation.teach import Lesson, teach
from continualcode.core.events import ContextBuilt, CorrectionGiven, DecisionMade
from continualcode.core.operator import Predicate
from continualcode.core.session import Session
from continualcode.core.workspace import Workspace

RETRIES = 24
"""How many calls are drawn for one that follows the rule."""


def teach_with_retry(session: Session, rule: CaseRule, case: Case) -> Lesson:
    """Deny what breaks the rule, wait for a call that follows it, learn from both."""
    configured = session.config
    later = msgspec.structs.replace(configured.session, train=False)
    session.config = msgspec.structs.replace(configured, session=later)
    try:
        lesson = teach(session, rule, case)
        if lesson.outcome == "not_made":
            return lesson
        _approve(session, rule)
    finally:
        session.config = configured
    engine.learn(session)
    outcome = next(reversed(session.transcript.outcomes.values()), None)
    if outcome is None:
        why = f"none of {RETRIES} calls followed the rule"
        return msgspec.structs.replace(lesson, outcome="update_failed", why=why)
    kind = outcome.__struct_config__.tag
    return msgspec.structs.replace(lesson, outcome=kind, why=getattr(outcome, "why", ""))


def follows(rule: CaseRule, call: Call | None, workspace: Workspace) -> bool:
    """Whether it is a call that the rule does not forbid and, where it says what it wants, wants."""
    if call is None or rule.violates.holds(call, workspace):
        return False
    return (rule.obeys or Predicate()).holds(call, workspace)


def _approve(session: Session, rule: CaseRule) -> None:
    denied = session.transcript.pending()[-1]
    after = tuple(session.transcript.messages)
    for attempt in range(RETRIES):
        if attempt:
            session.append(ContextBuilt(messages=after))
            warmer = msgspec.structs.replace(session.config.sampling, temperature=1.0)
            session.config = msgspec.structs.replace(session.config, sampling=warmer)
        proposed = engine.propose(session, engine.sample(session))
        call = proposed.call
        if not follows(rule, call, session.workspace):
            continue
        by = f"script:{rule.name}"
        session.append(DecisionMade(call_id=proposed.id, verdict="allow", by=by), cause=proposed.id)
        session.append(
            CorrectionGiven(
                kind="approved_retry",
                sample=denied.sample,
                call_id=denied.call_id,
                feedback=denied.feedback,
                solution=call,
                retry=proposed.sample,
                by=by,
            ),
            cause=proposed.id,
        )
        return


class Meter:
    """What learning costs: seconds, and tokens through the model, with a gradient and without.

    A token through some of the layers counts for that share; a gradient ends where the adapter begins.
    flops: 2N a token forward and 2N backward, N the weights of the layers: with a frozen base a backward pass
    computes the gradients of activations only. Attention and the output layer are left out.
    """

    def __init__(self, session: Session) -> None:
        policy: Any = session.policy
        self._on, self._weights = False, 0
        self.seconds, self.forward, self.gradient = 0.0, 0.0, 0.0
        adapter = getattr(policy, "_adapter", None)  # no part of the protocol, so not of all
        if adapter is not None:
            model = adapter.model.get_base_model()
            embedded = {id(p) for p in model.get_input_embeddings().parameters()}
            counted = (p for n, p in model.named_parameters() if "lora_" not in n and id(p) not in embedded)
            self._weights = sum(p.numel() for p in counted)
            self._upper = 1.0 - adapter.first / model.config.num_hidden_layers
            adapter.forward, adapter.below = self._seen(adapter.forward), self._seen_below(adapter.below)
        for name in ("demonstrate", "nearness", "prepare", "step"):
            if hasattr(policy, name):
                setattr(policy, name, self.metered(getattr(policy, name)))

    def metered(self, run: Any) -> Any:
        """`run`, its cost counted."""

        def counted(*given: Any, **named: Any) -> Any:
            self._on, began = True, time.perf_counter()
            try:
                return run(*given, **named)
            finally:
                self._on = False
                self.seconds += time.perf_counter() - began

        return counted

    def read(self) -> dict[str, float]:
        """The figures since the last reading."""
        found = {
            "seconds": self.seconds,
            "tokens": self.forward,
            "tokens_with_gradient": self.gradient,
            "flops": 2.0 * self._weights * (self.forward + self.gradient),
        }
        self.seconds, self.forward, self.gradient = 0.0, 0.0, 0.0
        return found

    def _seen(self, forward: Any) -> Any:
        import torch

        def counted(*given: Any, **named: Any) -> Any:
            begun = named.get("below", given[5] if len(given) > 5 else None)
            if self._on:
                self.forward += len(given[0]) * (1.0 if begun is None else self._upper)
                self.gradient += len(given[0]) * self._upper if torch.is_grad_enabled() else 0.0
            return forward(*given, **named)

        return counted

    def _seen_below(self, below: Any) -> Any:
        def counted(*given: Any, **named: Any) -> Any:
            found = below(*given, **named)
            if self._on and found is not None:
                self.forward += len(given[0]) * (1.0 - self._upper)
            return found

        return counted
