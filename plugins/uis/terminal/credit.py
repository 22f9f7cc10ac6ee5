"""What an update learned, at a glance: the denied call's tokens, marked by what its teacher thought of each.

The *advantage* of a token is log T(y) − log S(y), in nats: how much more (or less) the model that has read
the correction would have said it than the model that said it. Where the two agree, nothing is learned.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from continualcode.core.events import UpdateApplied
from continualcode.core.session import Session
from continualcode.eventlog import Record, unpack_f32, unpack_u32
from continualcode.plugins.uis.terminal.render import clean
from continualcode.plugins.uis.terminal.status import count
from continualcode.plugins.uis.terminal.theme import Theme

FAINT, CLEAR, STRONG = 0.1, 0.5, 1.5
"""Sizes of an advantage, in nats, from which a token is marked, and marked more strongly."""

AROUND = 6
"""Unmarked tokens that are shown beside a marked one."""

MOST_TOKENS = 160


class Token(NamedTuple):
    """One token of the corrected call: its text and its advantage."""

    text: str
    advantage: float

    @property
    def strength(self) -> int:
        """0 for agreement, 1 to 3 for how strongly the teacher differs."""
        return sum(abs(self.advantage) >= bound for bound in (FAINT, CLEAR, STRONG))


def learned(record: UpdateApplied, session: Session, theme: Theme) -> RenderableType:
    """The strip of each corrected call, and the update's figures under it."""
    started = session.transcript.updates[record.update]
    rows: list[RenderableType] = []
    for example, advantages in zip(started.examples, record.advantages, strict=True):
        ids = unpack_u32(session.transcript.samples[example.sample].token_ids)
        texts = session.policy.pieces(tuple(ids))
        tokens = [Token(t, a) for t, a in zip(texts, unpack_f32(advantages), strict=True)]
        rows.append(strip(tokens, theme))
    below = Padding(Group(*rows, figures(record, started.weights, theme)), (0, 0, 0, 2))
    return Group(Text("what was learned", "learned"), below)


def strip(tokens: Sequence[Token], theme: Theme) -> Text:
    """The tokens near a mark; without colour `[-no-]` and `{+yes+}`, as in a word diff."""
    text = Text()
    shown = _near(tokens)
    for place, token in enumerate(tokens):
        if place not in shown:
            if place == 0 or place - 1 in shown:
                text.append(" … ", "dim")
            continue
        words = clean(token.text).replace("\n", "↵")
        if not token.strength:
            text.append(words, "dim")
        elif theme.colours:
            backgrounds = theme.liked if token.advantage > 0 else theme.disliked
            text.append(words, f"on {backgrounds[token.strength - 1]}")
        else:
            text.append(f"{{+{words}+}}" if token.advantage > 0 else f"[-{words}-]")
    if not any(token.strength for token in tokens):
        text.append("  no token of this call moved by more than 0.1 nats", "dim")
    return text


def _near(tokens: Sequence[Token]) -> set[int]:
    """Places worth showing: the strongest marks and what is around them; with no mark the beginning."""
    marked = sorted((n for n, t in enumerate(tokens) if t.strength), key=lambda n: -abs(tokens[n].advantage))
    shown: set[int] = set()
    for place in marked or [0]:
        around = set(range(max(0, place - AROUND), min(len(tokens), place + AROUND + 1)))
        if shown and len(shown | around) > MOST_TOKENS:
            break
        shown |= around
    return shown


def figures(record: UpdateApplied, weights: str, theme: Theme) -> Text:
    """Divergence before and after, its share that is left, and what it cost."""
    before, after = record.divergence
    left = f" ({100 * after / before:.0f}% left)" if before else ""
    text = Text()
    text.append(f"divergence {before:.3f} → {after:.3f} nats a token{left}", "learned")
    text.append(f" · {count(record.steps, 'step')}, {record.seconds:.1f} s", "dim")
    text.append(f" · weights {weights[:8]} → {record.weights[:8]}", "dim")
    more, less = ("more", "less") if theme.colours else ("{+more+}", "[-less-]")
    text.append("\n")
    text.append(more, f"on {theme.liked[1]}" if theme.colours else "")
    text.append(" or ", "dim")
    text.append(less, f"on {theme.disliked[1]}" if theme.colours else "")
    text.append(" likely to the model that has read your correction", "dim")
    return text


def rejected(record: Record) -> Text:
    """An update that was measured and not kept: why, and the figures. By its fields, as any trainer's."""
    why = str(getattr(record, "why", "") or "no reason was given")
    metrics: dict[str, float] = getattr(record, "metrics", {}) or {}
    text = Text(f"update rejected: {clean(why)}; the weights stand", "warn")
    if metrics:
        text.append("\n" + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()), "dim")
    return text
