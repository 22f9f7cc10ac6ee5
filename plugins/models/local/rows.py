"""The rows of an update: an example checked, its teacher scored, and what the student looks like on it.

Shapes: T completion tokens, F of them *free* (the grammar left a choice), V tokens in the vocabulary.
Only free positions carry loss; for the others every figure is 0.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from continualcode.core.data import Example, Objective
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.figures import SHOWN, used, who
from continualcode.plugins.models.local import objectives
from continualcode.plugins.models.local.packing import Laid


@dataclass(frozen=True)
class Row:
    """One example with what stays the same while the student moves.

    tokens, sampled: the sampled ids and their logprobs then, [F]. allowed: bool [F, V], None: everything.
    teacher: log-probabilities [F, V], or [F, k+1]: on `support` [F, k], and a tail. share: what one free
    token counts for in the loss; told: in the divergence that is reported. advantage: of an attempt, which
    has no teacher. laid, number: what it goes through the model with, and its place there.
    """

    example: Example
    laid: Laid
    number: int
    free: tuple[int, ...]
    tokens: Tensor
    sampled: Tensor
    allowed: Tensor | None
    support: Tensor | None
    teacher: Tensor
    teacher_tokens: Tensor
    share: float
    told: float
    advantage: float = 0.0


@dataclass(frozen=True)
class Look:
    """The student on one row, as numbers, one a completion token: loss, divergence, log T − log S.

    kept: its most probable token is the completion's at every free position.
    """

    row: Row
    kept: bool
    losses: tuple[float, ...]
    divergences: tuple[float, ...]
    advantages: tuple[float, ...]


class Seen(NamedTuple):
    """The student on one row, on the device: [F] each; kept: bool. See `Look`."""

    row: Row
    losses: Tensor
    divergences: Tensor
    advantages: Tensor
    kept: Tensor


def compared(
    rows: Sequence[Row], scored: Sequence[Tensor | None], objective: Objective, together: bool
) -> list[Seen]:
    """The student's logits [F, V] beside each row's teacher. No logits: the row has no free position.

    together: rows of a kind as one: a fraction of the launches on a GPU, on a CPU memory for nothing.
    """
    kinds: dict[object, list[int]] = {}
    found: dict[int, Seen] = {}
    for number, (row, logits) in enumerate(zip(rows, scored, strict=True)):
        if logits is None:
            found[number] = Seen(row, *[torch.zeros(0, device=row.tokens.device)] * 4)
            continue
        told = row.advantage if row.example.part == "attempt" else row.example.part == "sample"
        kind = (told, row.example.temperature, row.allowed is None, row.support is None)
        kinds.setdefault(kind if together else number, []).append(number)
    for places in kinds.values():
        some = [rows[place] for place in places]
        parts = [each for place in places if (each := scored[place]) is not None]
        whole = _compared(_joined(some), parts[0] if len(parts) == 1 else torch.cat(parts), objective)
        apart = zip(*(torch.split(part, [len(row.free) for row in some]) for part in whole), strict=True)
        found |= {place: Seen(rows[place], *part) for place, part in zip(places, apart, strict=True)}
    return [found[number] for number in range(len(rows))]


def _joined(rows: Sequence[Row]) -> Row:
    """Rows of a kind as one, as far as `_compared` asks."""

    def cat(name: str) -> Any:
        parts = [getattr(row, name) for row in rows]
        return None if parts[0] is None else torch.cat(parts)

    names = ("tokens", "sampled", "allowed", "support", "teacher", "teacher_tokens")
    return rows[0] if len(rows) == 1 else replace(rows[0], **{name: cat(name) for name in names})


def _compared(row: Row, logits: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The losses to descend, divergences, advantages, and what is kept, [F] each."""
    full = objectives.log_probs(logits, row.example.temperature, row.allowed)
    tokens = of(full, row.tokens)
    kept = full.detach().argmax(-1) == row.tokens
    if row.example.part == "attempt":
        losses = objectives.policy_gradient(tokens, row.sampled, row.advantage, objective.reward_clip)
        none = torch.zeros_like(row.sampled)
        return losses, none, none + row.advantage, kept
    student = full if row.support is None else objectives.with_tail(full.gather(1, row.support))
    if objective.divergence == "sampled":
        losses = objectives.sampled_token(tokens, row.teacher_tokens)
        divergences = objectives.divergence(student.detach(), row.teacher, objective)
    else:
        losses = objectives.divergence(student, row.teacher, objective)
        divergences = losses.detach()
    if row.example.part == "sample":
        losses = losses * objectives.importance_ratio(tokens, row.sampled, objective.ratio_clip)
    return losses, divergences, row.teacher_tokens - tokens.detach(), kept


def looks(seen: Sequence[Seen]) -> list[Look]:
    """All that was compared as numbers, taken from the device at once. Refuses what is not finite."""
    parts = [part for one in seen for part in (one.losses, one.divergences, one.advantages, one.kept)]
    told = iter(numbers(torch.cat(parts)) if parts else [])
    found: list[Look] = []
    for one in seen:
        row, count = one.row, len(one.losses)
        figures = [[*islice(told, count)] for _ in range(3)]
        for values, name in zip(figures, ("the loss", "the divergence", "the advantage"), strict=True):
            refuse_nonfinite(row.example, row.free, values, name)
        kept = all([*islice(told, count)])
        found.append(Look(row, kept, *(spread(row, values) for values in figures)))
    return found


def scored(
    example: Example,
    laid: Laid,
    number: int,
    free: tuple[int, ...],
    allowed: Tensor | None,
    logits: Tensor,
    sharpness: float,
) -> Row:
    """A row from its teacher's logits: [1, F, V], or [2, F, V] with the neutral ones of a guided teacher.

    It counts for nothing yet, and its student has the teacher's choice.
    """
    row = partial(Row, example, laid, number, free)
    device = logits.device
    tokens = torch.tensor(example.completion_ids, device=device)[list(free)]
    own = example.sampled_logprobs or (0.0,) * len(example.completion_ids)
    sampled = torch.tensor(own, device=device)[list(free)]
    if not free or example.part == "attempt":
        return row(tokens, sampled, allowed, None, sampled, sampled, 0.0, 0.0)
    teacher = objectives.log_probs(logits[0], example.temperature, allowed)
    if len(logits) == 2:
        neutral = objectives.log_probs(logits[1], example.temperature, allowed)
        teacher = objectives.guided(teacher, neutral, example.guidance)
    if sharpness != 1.0 and example.part in SHOWN:
        teacher = torch.log_softmax(teacher * sharpness, dim=-1)
    teacher_tokens = of(teacher, tokens)
    if example.guidance != 1.0:  # a guided teacher may find a sampled token impossible
        teacher_tokens = teacher_tokens.clamp(min=-30.0)
    refuse_nonfinite(example, free, numbers(teacher_tokens), "the teacher's log-probability")
    return row(tokens, sampled, allowed, None, teacher, teacher_tokens, 0.0, 0.0)


def kept(looks: Sequence[Look]) -> float:
    """The share of probes on which the student would still do what it did; 1 if there are none."""
    probes = [seen.kept for seen in looks if seen.row.example.part == "probe" and used(seen.row.example)]
    return sum(probes) / len(probes) if probes else 1.0


def certain(example: Example, free: Sequence[int], vocabulary: int) -> Tensor:
    """Logits [F, V] that leave nothing but the completion's own tokens."""
    tokens = torch.tensor(example.completion_ids)[list(free)]
    return torch.full((len(free), vocabulary), -math.inf).scatter(1, tokens[:, None], 0.0)


def prompts(example: Example) -> list[tuple[int, ...]]:
    """The prompts after which its completion is scored."""
    return [ids for ids in (example.prompt_ids, example.teacher_ids, example.neutral_ids) if ids]


def spread(row: Row, values: Sequence[float]) -> tuple[float, ...]:
    """Values of the free positions [F] as one number a completion token."""
    numbers = [0.0] * len(row.example.completion_ids)
    for place, value in zip(row.free, values, strict=True):
        numbers[place] = value
    return tuple(numbers)


def numbers(values: Tensor) -> list[float]:
    """Values [N] taken from the device, which waits for it."""
    found: list[float] = values.detach().to("cpu", torch.float64).numpy().tolist()
    return found


def of(log_probs: Tensor, tokens: Tensor) -> Tensor:
    """The log-probability of one token a position: [F] from [F, V]."""
    return log_probs.gather(1, tokens[:, None])[:, 0]


# -- Refusals ----------------------------------------------------------------------------------------


def check(example: Example, vocabulary: int, context: int) -> None:
    """Refuse an example that cannot be learned from, by name: nothing is dropped or repaired in silence."""
    ids, logprobs = example.completion_ids, example.sampled_logprobs
    if not ids or not example.prompt_ids or not example.teacher_ids:
        raise UpdateError(f"{who(example)}: both prompts and the completion need at least one token")
    expected = len(ids) if example.part in ("sample", "attempt") else 0
    if len(logprobs) != expected:
        raise UpdateError(
            f"{who(example)}: {len(ids)} completion tokens but {len(logprobs)} logprobs; "
            f"a row of kind {example.part!r} has {expected}"
        )
    for place, logprob in enumerate(logprobs):
        if not math.isfinite(logprob) or logprob > 1e-3:  # a certain token is often a hair above 0 in fp32
            raise UpdateError(f"{who(example)}: logprob {logprob} at position {place}; need finite, ≤ 0")
    if not math.isfinite(example.reward):
        raise UpdateError(f"{who(example)}: reward {example.reward}; need a finite number")
    for name, number in (("temperature", example.temperature), ("weight", example.weight)):
        if not math.isfinite(number) or number < 0.0:
            raise UpdateError(f"{who(example)}: {name} {number}; need finite, ≥ 0")
    longest = max(len(example.prompt_ids), len(example.teacher_ids)) + len(ids)
    if longest > context:
        raise UpdateError(f"{who(example)}: {longest} tokens, more than the model's context of {context}")
    for token in (*example.prompt_ids, *example.teacher_ids, *ids):
        if not 0 <= token < vocabulary:
            raise UpdateError(f"{who(example)}: token {token} is outside the vocabulary of {vocabulary}")


def refuse_nonfinite(example: Example, free: Sequence[int], values: Sequence[float], name: str) -> None:
    """Raise UpdateError at the first of `values` [F] that is NaN or infinite."""
    for place, value in zip(free, values, strict=True):
        if not math.isfinite(value):
            raise UpdateError(f"{who(example)}: {name} is {value} at position {place}")


@contextmanager
def blaming(examples: Sequence[Example]) -> Generator[None]:
    """Torch's errors (out of memory, above all) as UpdateErrors that name the corrections."""
    try:
        yield
    except RuntimeError as error:
        names = "; ".join(dict.fromkeys(who(e) for e in examples if e.correction))
        raise UpdateError(f"{names}: torch could not compute it: {error}") from error
