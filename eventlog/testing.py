"""Two kinds of record, one small and one with arrays, for tests and benchmarks of what uses a log."""

from continualcode.eventlog.arrays import F32, U32
from continualcode.eventlog.record import Record
from continualcode.eventlog.registry import Registry


class Note(Record, frozen=True, kw_only=True, tag="note"):
    """A small record."""

    text: str


class Sample(Record, frozen=True, kw_only=True, tag="sample"):
    """A record with arrays, and things inside of things."""

    ids: U32
    logprobs: F32
    rows: tuple[F32, ...] = ()
    metrics: dict[str, float] = {}
    maybe: str | None = None


def example_registry() -> Registry:
    """Knows both."""
    registry = Registry()
    registry.register(Note)
    registry.register(Sample)
    return registry
