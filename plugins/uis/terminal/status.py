"""The status line: which model, which weights, what was learned, how full the context is, what is allowed.

Where there is less room, parts say the same in fewer words, then the least important ones go; nothing is cut
in the middle.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from continualcode.core.events import UpdateApplied
from continualcode.core.session import Session


class Part(NamedTuple):
    """A piece of the line, in many words and in fewer (`forms`). Of the parts rank 0 goes last."""

    rank: int
    forms: tuple[str, ...]


def parts(session: Session) -> list[Part]:
    """What there is to say of a session, from left to right."""
    seen = session.transcript
    digest = seen.weights[:8]
    found = [
        Part(4, (session.policy.model.name,)),
        Part(0, (f"weights {digest}", digest)),
        Part(2, _learned(session)),
    ]
    sampled = thousands(sum(len(s.token_ids) // 4 for s in seen.samples.values()))
    found.append(Part(3, (f"{sampled} tokens", f"{sampled} tok")))
    if seen.samples:
        last = next(reversed(seen.samples.values()))
        used = last.prompt.shared + (len(last.prompt.tail) + len(last.token_ids)) // 4
        share = used * 100 // session.policy.model.context
        found.append(Part(5, (f"context {share}%", f"ctx {share}%")))
    if seen.safety is not None:
        enclosed = "no sandbox" if seen.safety.missing else seen.safety.sandbox
        mode = seen.safety.approvals
        long = f"approvals: {mode} · {'' if seen.safety.missing else 'sandbox: '}{enclosed}"
        found.append(Part(1, (long, f"{mode}, {enclosed}")))
    return found


def _learned(session: Session) -> tuple[str, ...]:
    seen = session.transcript
    if not session.config.session.train:
        return ("learning off",)
    updates = count(len(seen.standing), "update")
    last = seen.outcomes[seen.standing[-1]] if seen.standing else None
    if not isinstance(last, UpdateApplied):
        return (updates,)
    before, after = last.divergence
    change = f"{before:.2f}→{after:.2f}"
    return (f"{updates} · divergence {change}", f"{updates} {change}", updates)


def fit(found: Sequence[Part], width: int) -> str:
    """The parts on one line of at most `width` cells: as many as have room, then in as many words.

    >>> fit([Part(1, ("model",)), Part(2, ("9 tokens", "9 tok")), Part(0, ("weights ab", "ab"))], 18)
    'model · 9 tok · ab'
    """
    by_rank = sorted(range(len(found)), key=lambda place: found[place].rank)
    shown: dict[int, str] = {}
    for place in by_rank:
        trial = {**shown, place: found[place].forms[-1]}
        if not shown or cell_len(_joined(trial)) <= width:
            shown = trial
    for place in (place for place in by_rank if place in shown):
        trials = ({**shown, place: form} for form in found[place].forms)
        shown = next((trial for trial in trials if cell_len(_joined(trial)) <= width), shown)
    return _joined(shown)


def _joined(shown: dict[int, str]) -> str:
    return " · ".join(shown[place] for place in sorted(shown))


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
