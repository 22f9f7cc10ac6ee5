"""Whether a policy is what a log was recorded on; and if not, whether the two can be compared."""

from continualcode.core.data import ModelInfo
from continualcode.core.errors import ReplayError
from continualcode.core.events import SessionStarted, UpdateStarted
from continualcode.core.protocols import Policy, Trainer


def same_model(started: SessionStarted, policy: Policy) -> bool:
    """Whether a policy is what the log was recorded on: its base by content, and its adapter."""
    return (started.model.base, started.model.adapter) == (policy.model.base, policy.model.adapter)


SERVER_TOLERANCE = 0.05
"""Nats by which figures may differ between a local model and the same one on a server, if nothing is said."""


def on_server(model: ModelInfo) -> bool:
    """Whether its weights are a server's, and their bits not at hand."""
    return model.adapter.targets == "server"


def elsewhere(started: SessionStarted, policy: Policy) -> bool:
    """Whether one of log and policy is a server's and the other local, of one base model and tokenizer.

    Then plans are carried out as they were logged, and figures are compared: adapters are not the same.
    """
    logged, here = started.model, policy.model
    same = (logged.base, logged.tokenizer) == (here.base, here.tokenizer)
    return same and on_server(logged) != on_server(here)


def require_same_model(started: SessionStarted, policy: Policy) -> None:
    """Refuse a policy that is not what the log was recorded on."""
    if started.model.base != policy.model.base:
        raise ReplayError(
            f"the log was recorded on {started.model.name} (base {started.model.base[:12]}), "
            f"the model given is {policy.model.name} (base {policy.model.base[:12]}); "
            "weights can only be re-made from the same base; what was said can be given to another model: "
            "cc replay LOG --model NAME"
        )
    if started.model.adapter != policy.model.adapter:
        raise ReplayError(
            f"the log was recorded with the adapter {started.model.adapter}, "
            f"this policy has {policy.model.adapter}; give the same [model] options, or give what was said "
            "to the other one: cc replay LOG --set model.…"
        )


def require_able(started: UpdateStarted, trainer: Trainer, policy: Policy) -> None:
    """Refuse an update that the policy cannot carry out as it was logged, with the trainer that it had."""
    if lacking := trainer.needs - policy.capabilities:
        raise ReplayError(
            f"update {started.id} (event {started.seq}) cannot be compared: as it was logged it needs "
            f"{', '.join(sorted(lacking))}, which {policy.model.name} does not have. What was said can be "
            "given to it again: cc replay LOG --model NAME, without --verify"
        )
