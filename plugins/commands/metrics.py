"""`/metrics`: what the session has done so far, and what was learned from each correction."""

from collections.abc import Iterator

from continualcode.core.events import UpdateApplied, UpdateFailed, UpdateRejected, UpdateStarted
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript

_BARS = "▁▂▃▄▅▆▇█"
_WORDS = 46


def metrics(argument: str, session: Session) -> str:
    """Counts and times, then a row for each update, oldest first: divergence over time."""
    return "\n".join([*_counts(session), *_updates(session.transcript)])


def _counts(session: Session) -> Iterator[str]:
    seen = session.transcript
    samples = seen.samples.values()
    tokens = sum(len(s.token_ids) // 4 for s in samples)
    speaking = sum(s.decode_seconds for s in samples)
    reading = sum(s.prefill_seconds for s in samples)
    learning = sum(o.seconds for o in seen.outcomes.values() if not isinstance(o, UpdateFailed))
    denied = sum(d.verdict == "deny" for d in seen.decisions.values())
    rate = f", {tokens / speaking:.1f} a second" if speaking else ""
    kinds = (UpdateApplied, UpdateRejected, UpdateFailed)
    applied, rejected, failed = (sum(type(o) is kind for o in seen.outcomes.values()) for kind in kinds)
    yield f"samples      {len(seen.samples)}, {tokens} tokens{rate}"
    yield f"calls        {len(seen.decisions)} decided, {denied} denied"
    yield f"corrections  {len(seen.corrections)}, {len(seen.pending())} not learned yet"
    yield f"updates      {applied} applied, {rejected} rejected, {failed} failed; {len(seen.standing)} stand"
    yield f"seconds      {speaking:.1f} speaking, {reading:.1f} reading, {learning:.1f} learning"
    yield f"weights      {session.policy.weights()[:12]}"


def _updates(seen: Transcript) -> Iterator[str]:
    """Each update: the correction it took up first, then its divergence and what it cost."""
    if not seen.outcomes:
        return
    yield ""
    yield "what was learned: how far from the model that has read the correction, before → after"
    largest = max(
        (o.divergence[0] for o in seen.outcomes.values() if not isinstance(o, UpdateFailed)), default=0
    )
    known: set[str] = set()
    for number, update in enumerate((u for u in seen.updates if u in seen.outcomes), 1):
        outcome, started = seen.outcomes[update], seen.updates[update]
        new = [ref.correction for ref in started.examples if ref.correction and ref.correction not in known]
        known |= set(new)
        yield f"{number:>3}  {_figures(outcome, started, seen, largest)}"
        for correction in dict.fromkeys(new):
            said = " ".join(seen.corrections[correction].feedback.split())
            yield f"     “{said if len(said) <= _WORDS else said[: _WORDS - 1] + '…'}”"


def _figures(
    outcome: UpdateApplied | UpdateRejected | UpdateFailed,
    started: UpdateStarted,
    seen: Transcript,
    largest: float,
) -> str:
    if isinstance(outcome, UpdateFailed):
        return f"failed: {outcome.why}"
    before, after = outcome.divergence
    unit = "nats" if started.objective.aggregation == "example_sum" else "nats a token"
    figures = f"{_bar(before, largest)}{_bar(after, largest)} {before:.2f} → {after:.2f} {unit}"
    steps = f"{outcome.steps} step{'' if outcome.steps == 1 else 's'}"
    cost = f"{figures}, {steps}, {outcome.seconds:.1f} s"
    if isinstance(outcome, UpdateRejected):
        return f"{cost}, not kept: {outcome.why}"
    return f"{cost}, {outcome.weights[:8]}{'' if outcome.update in seen.standing else ', undone'}"


def _bar(value: float, largest: float) -> str:
    share = value / largest if largest > 0 else 0.0
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)] if value >= 0 else _BARS[0]
