"""`/model`: which model this is; `/model NAME`: a new session with another one, in the same folder.

A log belongs to one base model, as its weights are a function of it. So another model is another session.
"""

from continualcode.core.errors import UsageError
from continualcode.core.session import Session, Successor
from continualcode.core.workspace import at_home


def model(argument: str, session: Session) -> str:
    """Say which, or end this session and let what opened it open the next one."""
    if not argument:
        return _this(session)
    if argument == session.policy.model.name:
        raise UsageError(f"this is {argument} already")
    options = {**session.config.model, "name": argument}
    if not any(session.plugins.ask("make_policy", model=argument, options=options)):
        raise UsageError(f"/model {argument}: no plugin has such a model; `cc models list` shows some")
    session.successor = Successor(model=options)
    session.close("another model")
    log = at_home(session.log.path)
    return (
        f"Ended: {log}. What it learned stays there; `cc replay {log} --model {argument}` trains "
        f"{argument} on its corrections."
    )


def _this(session: Session) -> str:
    info = session.policy.model
    rows = [
        ("model", info.name),
        ("base", info.base[:12]),
        ("adapter", f"LoRA, rank {info.adapter.rank}, acts on: {info.adapter.acts_on}"),
        ("weights", session.policy.weights()[:12]),
        ("updates", f"{len(session.transcript.standing)} stand"),
        ("runs in", f"{info.dtype}, context {info.context} tokens"),
        ("another", "/model NAME begins a session with it; `cc models list` shows some"),
    ]
    return "\n".join(f"{name:<9}{what}" for name, what in rows)
