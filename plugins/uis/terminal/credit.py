"""What an update learned, at a glance: the tokens it learned on, marked by what its teacher thought of each.

They are what the model that has read the correction would do instead, or, as the trainer likes, the denied
call. The *advantage* of a token is log T(y) − log S(y), in nats: how much more (or less) that model would
have said it than the one that had not read the correction. Where the two agree, nothing is learned.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from continualcode.core.data import IDLE
from continualcode.core.events import ExampleRef, UpdateApplied, UpdateRejected, UpdateStarted
from continualcode.core.replay import example_of
from continualcode.core.session import Session
from continualcode.core.transcript import Transcript
from continualcode.eventlog import unpack_f32
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
    transcript = session.transcript
    started = transcript.updates[record.update]
    rows: list[RenderableType] = []
    for ref, advantages in zip(started.examples, record.advantages, strict=True):
        if not _new(ref, started, transcript):
            continue
        texts = session.policy.pieces(example_of(ref, transcript).completion_ids)
        tokens = [Token(t, a) for t, a in zip(texts, unpack_f32(advantages), strict=True)]
        rows.append(strip(tokens, theme))
    below = Padding(Group(*rows, figures(record, started, theme)), (0, 0, 0, 2))
    return Group(Text("what was learned", "learned"), below)


def _new(ref: ExampleRef, started: UpdateStarted, transcript: Transcript) -> bool:
    """Whether a row is the call that was corrected, by a correction that no update had taken up before."""
    if not ref.correction or ref.part in ("retry", "sibling", "held", *IDLE):
        return False  # what shall stay, and other prompts
    earlier = (update for id_, update in transcript.updates.items() if id_ != started.id)
    return all(ref.correction != other.correction for update in earlier for other in update.examples)


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


def figures(record: UpdateApplied, started: UpdateStarted, theme: Theme) -> Text:
    """Divergence before and after, its share that is left, and what it cost."""
    before, after = record.divergence
    left = f" ({100 * after / before:.0f}% left)" if before else ""
    text = Text()
    unit = "nats" if started.objective.aggregation == "example_sum" else "nats a token"
    text.append(f"divergence {before:.2f} → {after:.2f} {unit}{left}", "learned")
    text.append(f" · {count(record.steps, 'step')}, {record.seconds:.1f} s", "dim")
    text.append(f" · weights {started.weights[:8]} → {record.weights[:8]}", "dim")
    more, less = ("more", "less") if theme.colours else ("{+more+}", "[-less-]")
    text.append("\n")
    text.append(more, f"on {theme.liked[1]}" if theme.colours else "")
    text.append(" or ", "dim")
    text.append(less, f"on {theme.disliked[1]}" if theme.colours else "")
    text.append(" likely to the model that has read your correction", "dim")
    return text


def rejected(record: UpdateRejected) -> Text:
    """An update that was measured and not kept: why, and the figures."""
    text = Text(f"not kept: {clean(record.why)}; the weights before it stand", "warn")
    text.append("\n" + ", ".join(f"{name} {value:.3g}" for name, value in record.metrics.items()), "dim")
    return text
