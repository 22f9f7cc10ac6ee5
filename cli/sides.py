"""Which weights are meant: the base model's, a log's last, those at an event of it, or any by digest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from continualcode.cli.adapter import store_folder
from continualcode.cli.run import checkpoint_folder
from continualcode.core.checkpoints import Checkpoints
from continualcode.core.curriculum import require_event, up_to
from continualcode.core.differing import make, recipe
from continualcode.core.errors import UsageError
from continualcode.core.events import SessionStarted, UpdateApplied, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import take_weights, trainers_of
from continualcode.core.session import Session
from continualcode.core.store import WeightStore
from continualcode.eventlog import LogError, Record, Registry, read

BASE = "base"
"""The weights before any correction, as `--compare` and `--weights` name them."""


@dataclass(frozen=True)
class Side:
    """Weights to measure: the base model's (no log), or those of a log: the last, at an event, by digest.

    `kept`: those that the store of replayed weights has under the digest.
    """

    label: str
    log: Path | None = None
    seq: int | None = None
    digest: str = ""
    kept: bool = False

    def take(self, session: Session) -> None:
        """Give the session's policy, which has the base model's, these weights."""
        policy, trainer_of, progress = session.policy, trainers_of(session.plugins), session.ui.progress
        if self.kept:
            store = WeightStore(store_folder())
            found = recipe(self.digest, session.plugins, store, session.feedback)
            make(found, policy, trainer_of, store, progress)
        elif self.log is not None:
            disk = Checkpoints(checkpoint_folder(), most=0)  # those of sessions; none of its own
            take_weights(self.records(session.plugins), policy, trainer_of, progress, disk)

    def records(self, plugins: Plugins) -> Iterator[Record]:
        """The log's records up to where the weights are. UsageError says what there is instead."""
        assert self.log is not None
        known: list[str] = []
        for record in up_to(self.seq, read(self.log, event_registry(plugins.event_types())), self.log):
            yield record
            if (digest := _digest(record)) is not None:
                known.append(digest[:12])
                if self.digest and digest.startswith(self.digest):
                    return
        if self.digest:
            raise UsageError(
                f"{self.log} has no weights {self.digest}…; it has been through {', '.join(known)}"
            )


def two_sides(
    log: Path | None, weights: str | None, compare: tuple[str, str] | None, sessions: Path
) -> tuple[Side, Side | None]:
    """What is measured first, and what beside it. `sessions`: where logs are looked for by digest."""
    if compare is not None:
        return _side(compare[0], sessions), _side(compare[1], sessions)
    if weights == BASE or (log is None and weights is None):
        return Side(BASE), None
    if log is not None:
        return Side(BASE), Side(log.name, log, digest=weights or "")
    return Side(BASE), _by_digest(weights or "", sessions)


def recorded_model(sides: Sequence[Side | None]) -> dict[str, object] | None:
    """The model that the first of the logs was recorded on."""
    for side in sides:
        if side is not None and side.log is not None:
            first = next(iter(read(side.log, event_registry())), None)
            if not isinstance(first, SessionStarted):
                raise UsageError(f"{side.log} does not begin with a session: no weights come from it")
            return dict(first.config["model"])
    return None


def _side(spec: str, sessions: Path) -> Side:
    if spec == BASE:
        return Side(BASE)
    if Path(spec).is_file():
        return Side(spec, Path(spec))
    name, _, at = spec.rpartition("@")
    if name and Path(name).is_file():
        if at.isdecimal() and len(at) < 8:  # a shorter beginning of a digest would be a bad name anyway
            require_event(int(at), Path(name))
            return Side(spec, Path(name), seq=int(at))
        return Side(spec, Path(name), digest=at)
    try:
        return _by_digest(spec, sessions)
    except UsageError as error:
        raise UsageError(
            f"{spec!r} names no weights: {BASE}, a log, LOG@SEQ, LOG@DIGEST or a DIGEST does; {error}"
        ) from None


def _by_digest(digest: str, sessions: Path) -> Side:
    """Of the sessions' logs, newest first, one that has been through these weights; else the store's."""
    label = digest[:12]
    if len(digest) >= 4 and not set(digest.lower()) - set("0123456789abcdef"):
        registry = Registry()
        registry.register(SessionStarted)
        registry.register(UpdateApplied)
        for log in sorted(sessions.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True):
            try:
                if any((_digest(record) or "").startswith(digest) for record in read(log, registry)):
                    return Side(f"{label} ({log.name})", log, digest=digest)
            except LogError:
                continue  # a damaged log is `cc log verify`'s business
        store = WeightStore(store_folder())
        if any(known.weights.startswith(digest) for known in store.every()):
            return Side(label, digest=store.named(digest).weights, kept=True)
    raise UsageError(
        f"no session in {sessions} has been through weights {digest!r}, and no replay has kept any "
        "(cc adapter list); with --log LOG they are looked for there"
    )


def _digest(record: object) -> str | None:
    return record.weights if isinstance(record, SessionStarted | UpdateApplied) else None
