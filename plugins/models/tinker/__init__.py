"""The `tinker:NAME` model: the same session on the hosted Tinker API, or on a server that speaks it.

NAME is a base model as the server calls it: `tinker:Qwen/Qwen3-4B-Instruct-2507`. Importing this imports no
SDK: the base install has none. See docs/tinker.md.
"""

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from continualcode import hookimpl
from continualcode.core.errors import ModelUnavailable
from continualcode.core.events import SessionEnded
from continualcode.core.learning_events import UpdateApplied
from continualcode.core.protocols import Command, Policy, Progress
from continualcode.eventlog import Record
from continualcode.plugins.models.tinker.events import CheckpointSaved
from continualcode.plugins.models.tinker.usage import UsageCommand

if TYPE_CHECKING:
    from continualcode.core.session import Session

SCHEME = "tinker:"
EXTRA = ("tinker", "transformers", "jinja2")


@hookimpl
def make_policy(model: str, options: Mapping[str, Any]) -> Callable[[Progress], Policy] | None:
    """Answers to `tinker:NAME`; whether the server has such a model is found out when it is built."""
    if not model.startswith(SCHEME):
        return None
    return lambda progress: _build(model.removeprefix(SCHEME), options, progress)


@hookimpl
def register_events() -> Sequence[type[Record]]:
    """Where weights are kept on the server."""
    return (CheckpointSaved,)


@hookimpl
def register_commands() -> Sequence[Command]:
    """`/usage`."""
    return (UsageCommand(),)


@hookimpl
def event_appended(record: Record, session: "Session") -> Sequence[Record] | None:
    """Keep the weights of each update on the server, and say where; tell the server how a session ended."""
    keeper: Any = session.policy
    if not session.policy.model.name.startswith(SCHEME):
        return None
    if isinstance(record, SessionEnded):
        keeper.outcome = record.reason
    if not isinstance(record, UpdateApplied):
        return None
    path = keeper.checkpoint()  # none for an update that took no step from where there was nothing learned
    return [CheckpointSaved(weights=record.weights, path=path)] if path else None


def _build(name: str, options: Mapping[str, Any], progress: Progress) -> Policy:
    missing = [needed for needed in EXTRA if importlib.util.find_spec(needed) is None]
    if missing:
        raise ModelUnavailable(
            f"the model {SCHEME}{name} is reached through Tinker's SDK and needs {', '.join(missing)}, not "
            "installed here: pip install 'continualcode[tinker]'"
        )
    # The SDK sends usage data unless it is told not to. Before it is imported, and only if nobody chose.
    os.environ.setdefault("TINKER_TELEMETRY", "0")
    from continualcode.plugins.models.tinker.policy import TinkerPolicy

    return TinkerPolicy(name, options, progress)
