"""What an update minimises where a server tells a few numbers a token instead of whole distributions.

sampled   one number a token, log T(y_t): the policy gradient −A ∇ log S(y_t), A = log T(y_t) − log S(y_t), as
          importance sampling at ratio 1, S being measured just before each step
top_k     the teacher's k most probable tokens: cross entropy with the teacher's probabilities as weights,
          whose gradient is that of KL(T‖S) but for what T leaves to other tokens
teacher "completion": cross entropy on the row's own tokens

What is *reported* is a KL on what is known: T and S reduced to those k tokens and the rest, for the sampled
objective to the one token and the rest. Reducing never makes a KL larger, so the figure is at most the real
one, and 0 where both agree on what was asked for.

The student's side is at temperature 1, as servers tell it, whatever a completion was drawn at. Shapes: T
tokens of a completion, n = prompt and completion less one; a server's row i predicts token i + 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from continualcode.core.data import Example, Objective
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.figures import who
from continualcode.plugins.models.tinker.sdk import types

CERTAIN = 1e-7
"""The least that all other tokens have together: rounding may give one token a little more than all."""


@dataclass(frozen=True)
class Row:
    """One example with what stays the same while the student moves.

    free: positions of the completion that carry loss. share: what one of them counts for in the loss; told:
    in the figures of its kind. teacher: log T(y_t) [T]. top: ids and log-probabilities [T, k] of the
    teacher's most probable tokens.
    """

    example: Example
    free: tuple[int, ...]
    share: float
    told: float
    teacher: tuple[float, ...]
    top: tuple[numpy.ndarray, numpy.ndarray] | None = None


@dataclass(frozen=True)
class Look:
    """The student on one row: log S(y_t) [T], and of the teacher's most probable tokens [T, k]."""

    row: Row
    student: tuple[float, ...]
    top: numpy.ndarray | None

    @property
    def losses(self) -> tuple[float, ...]:
        """What is minimised, as far as it is known: the divergences."""
        return self.divergences

    @property
    def divergences(self) -> tuple[float, ...]:
        """KL(T‖S) of what is known, one a completion token; 0 where nothing was free."""
        found = [0.0] * len(self.row.teacher)
        for t in self.row.free:
            if self.row.top is not None and self.top is not None:
                found[t] = coarse_kl(self.row.top[1][t].tolist(), self.top[t].tolist())
            else:
                found[t] = coarse_kl([self.row.teacher[t]], [self.student[t]])
        return tuple(found)

    @property
    def advantages(self) -> tuple[float, ...]:
        """log T(y_t) − log S(y_t), one a completion token; 0 where nothing was free."""
        free = set(self.row.free)
        return tuple(
            t - s if place in free else 0.0
            for place, (t, s) in enumerate(zip(self.row.teacher, self.student, strict=True))
        )


def coarse_kl(teacher: Sequence[float], student: Sequence[float]) -> float:
    """KL(T‖S) over some tokens, by their log-probabilities, and all others as one."""
    inside = math.fsum(math.exp(t) * (t - s) for t, s in zip(teacher, student, strict=True))
    rest_t = max(CERTAIN, 1.0 - math.fsum(map(math.exp, teacher)))
    rest_s = max(CERTAIN, 1.0 - math.fsum(map(math.exp, student)))
    return max(0.0, inside + rest_t * math.log(rest_t / rest_s))


def loss_of(objective: Objective) -> str:
    """The server's name of the loss."""
    plain = objective.divergence != "sampled"
    return "cross_entropy" if plain else "importance_sampling"


def looked_at(row: Row) -> Any:
    """The row for a forward pass: what the student makes of it."""
    return _datum(row, weights=numpy.ones(len(row.teacher), numpy.float32))


def seen(row: Row, output: Any) -> Look:
    """What a forward pass said of the row: a server's log-probabilities of all targets, [n] or [n, k + 1]."""
    length = len(row.teacher)
    told = numpy.asarray(output["logprobs"].to_numpy(), numpy.float64)
    n = len(row.example.prompt_ids) + length - 1
    if told.size % n or told.size // n != (1 if row.top is None else row.top[0].shape[1] + 1):
        raise UpdateError(
            f"{who(row.example)}: the server told {told.size} log-probabilities for {n} positions"
        )
    told = told.reshape(n, -1)[-length:]
    if not numpy.isfinite(told).all():
        raise UpdateError(f"{who(row.example)}: the server told a log-probability that is not finite")
    return Look(row, tuple(told[:, 0].tolist()), told[:, 1:] if row.top is not None else None)


def stepped_on(look: Look, emphasis: Sequence[float], objective: Objective) -> Any:
    """The row for a gradient: what the student was just before, and what each free position counts for."""
    row, length = look.row, len(look.row.teacher)
    scale = numpy.zeros(length, numpy.float32)
    for t, by in zip(row.free, emphasis, strict=True):
        scale[t] = row.share * by * _ratio(look, t, objective)
    if objective.divergence == "sampled":
        advantages = numpy.asarray(look.advantages, numpy.float32) * scale
        return _datum(row, logprobs=numpy.asarray(look.student, numpy.float32), advantages=advantages)
    if row.top is not None:
        return _datum(row, weights=numpy.exp(row.top[1]).astype(numpy.float32) * scale[:, None])
    return _datum(row, weights=scale)


def _ratio(look: Look, t: int, objective: Objective) -> float:
    """How much likelier the token is now than when it was sampled, at most `ratio_clip`."""
    if look.row.example.part != "sample":
        return 1.0
    then = look.row.example.sampled_logprobs[t]
    return min(math.exp(max(-20.0, min(20.0, look.student[t] - then))), objective.ratio_clip)


def _datum(row: Row, **of_completion: numpy.ndarray) -> Any:
    """The row's tokens, and what the loss takes besides, which is 0 over the prompt.

    With k targets a position, the token itself comes first, at weight 0: its log-probability is wanted too.
    """
    example = row.example
    ids = numpy.asarray([*example.prompt_ids, *example.completion_ids], numpy.int64)
    before = len(ids) - 1 - len(example.completion_ids)
    targets: Any = ids[1:]
    if row.top is not None:
        targets = numpy.concatenate(
            [targets[:, None], _after(before, row.top[0].astype(numpy.int64))], axis=1
        )
    inputs = {"target_tokens": types.TensorData.from_numpy(targets)}
    for name, values in of_completion.items():
        if row.top is not None:
            wide = values if values.ndim == 2 else numpy.zeros((len(values), row.top[0].shape[1]))
            values = numpy.concatenate([numpy.zeros((len(values), 1)), wide], axis=1)
        inputs[name] = types.TensorData.from_numpy(_after(before, values.astype(numpy.float32)))
    return types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=inputs)


def _after(before: int, values: numpy.ndarray) -> numpy.ndarray:
    """`values` of a completion [T, …] after `before` rows of zeros."""
    return numpy.concatenate([numpy.zeros((before, *values.shape[1:]), values.dtype), values])
