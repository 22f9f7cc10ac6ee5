"""The status line: which model, which weights, what was learned, how full the context is, what is allowed.

Where there is less room the least important parts go first; nothing is cut in the middle.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from continualcode.core.events import UpdateApplied
from continualcode.core.session import Session


class Part(NamedTuple):
    """A piece of the line. `rank` 0 is dropped last."""

    text: str
    rank: int


def parts(session: Session) -> list[Part]:
    """What there is to say of a session, from left to right."""
    seen = session.transcript
    last_update = seen.outcomes[seen.standing[-1]] if seen.standing else None
    sampled = sum(len(s.token_ids) // 4 for s in seen.samples.values())
    found = [
        Part(session.policy.model.name, 0),
        Part(f"weights {seen.weights[:8]}", 1),
        Part(count(len(seen.standing), "update"), 3),
    ]
    if isinstance(last_update, UpdateApplied):
        before, after = last_update.divergence
        found.append(Part(f"divergence {before:.3f}→{after:.3f}", 5))
    if not session.config.session.train:
        found.append(Part("learning off", 2))
    found.append(Part(f"{thousands(sampled)} tokens", 6))
    if seen.samples:
        last = next(reversed(seen.samples.values()))
        used = last.prompt.shared + (len(last.prompt.tail) + len(last.token_ids)) // 4
        found.append(Part(f"context {used * 100 // session.policy.model.context}%", 4))
    if seen.safety is not None:
        found.append(Part(f"approvals: {seen.safety.approvals}", 2))
        found.append(Part("no sandbox" if seen.safety.missing else f"sandbox: {seen.safety.sandbox}", 2))
    return found


def fit(found: Sequence[Part], width: int) -> str:
    """The parts on one line of at most `width` cells, the most important ones where not all fit.

    >>> fit([Part("model", 0), Part("tokens", 2), Part("weights", 1)], 18)
    'model · weights'
    """
    kept = list(found)
    while len(kept) > 1 and cell_len(_joined(kept)) > width:
        kept.remove(max(kept, key=lambda part: part.rank))
    return _joined(kept)


def _joined(found: Sequence[Part]) -> str:
    return " · ".join(part.text for part in found)


def count(number: int, noun: str) -> str:
    """A number of things.

    >>> count(1, "update"), count(0, "update")
    ('1 update', '0 updates')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def thousands(number: int) -> str:
    """A count in few characters.

    >>> thousands(950), thousands(12_345)
    ('950', '12.3k')
    """
    return str(number) if number < 1000 else f"{number / 1000:.1f}k"
