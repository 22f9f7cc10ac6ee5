"""Carries out updates on a server: scores the teacher once, then looks and steps on demand.

One step is three requests: a forward pass (the student as it is, which says whether a step is wanted, and
which the objective is measured from), then the gradient and the optimiser's step, sent together. See
`objective` for what is minimised, `weights` for what happens when a request fails.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy

from continualcode.core.data import Example, Objective, Optimiser, StepReport
from continualcode.core.errors import UpdateError
from continualcode.plugins.models import figures, weighing
from continualcode.plugins.models.figures import ANCHORING, STAYING, used, who
from continualcode.plugins.models.tinker.connection import Connection
from continualcode.plugins.models.tinker.objective import Look, Row, looked_at, loss_of, seen, stepped_on
from continualcode.plugins.models.tinker.sdk import types
from continualcode.plugins.models.tinker.speech import Speech
from continualcode.plugins.models.tinker.usage import Usage
from continualcode.plugins.models.tinker.weights import Weights

MOST_TOP = 20
"""The most tokens a position that the API tells."""


@dataclass
class Batch:
    """What `prepare` returns and `step` takes.

    content: a digest of what a step on it is a function of, besides the weights and the `steps` taken before.
    emphasis: what each free position of a row counts for, from when the row was first looked at.
    """

    rows: tuple[Row, ...]
    objective: Objective
    optimiser: Optimiser
    content: bytes
    steps: int = 0
    emphasis: dict[int, tuple[float, ...]] = field(default_factory=dict)


class Learner:
    """Trains the weights of one session. `other`: what the teacher of that name is; None: there is none."""

    def __init__(
        self, connection: Connection, weights: Weights, speech: Speech, usage: Usage, other: str | None
    ) -> None:
        self._connection = connection
        self._weights = weights
        self._speech = speech
        self._usage = usage
        self._other = other
        self._held: dict[Any, tuple[Any, ...]] = {}  # the base model's scores of what stays, which stay too

    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Check the examples and score the teacher on each. Raises UpdateError; changes no weights."""
        if not examples:
            raise UpdateError("an update needs at least one example; none was given")
        _refuse(objective, optimiser)
        frees = [self._free(example) if used(example) else () for example in examples]
        counts = [len(free) for free in frees]
        shares = weighing.in_loss(examples, counts, objective)
        told = weighing.in_report(examples, counts, objective)
        teachers = self._teachers(examples, objective)
        rows = tuple(
            Row(example, frees[n], shares[n], told[n], *teachers[n]) for n, example in enumerate(examples)
        )
        return Batch(rows, objective, optimiser, _content(examples, objective, optimiser))

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:
        """Look; if more than `stop_below` nats are left to learn, take one step."""
        measuring = stop_below == math.inf
        taking = weighing.taking_part(batch.rows, batch.objective, batch.steps, measuring)
        rows = [replace(row, share=row.share * by, told=row.told * by) for row, by in taking]
        looks = self._looks(rows)
        for one in looks:
            batch.emphasis.setdefault(id(one.row.example), figures.emphasis(one, batch.objective))
        more = not measuring and figures.left(looks, batch.objective.aggregation) > stop_below
        stepping = more and any(row.share for row in rows)
        norm = self._stepped(batch, [look for look in looks if look.row.share]) if stepping else 0.0
        by_row = {id(look.row.example): look for look in looks}
        unseen = tuple[float, ...]()
        told = [by_row.get(id(row.example)) for row in batch.rows]
        probes = [row for row in rows if row.example.part == "probe" and row.free]
        return StepReport(
            stepped=stepping,
            loss=figures.loss(looks),
            divergence=figures.divergence(looks),
            grad_norm=norm,
            drift=figures.drift(looks),
            kept=self._kept(probes) if measuring else 1.0,
            advantages=tuple(look.advantages if look else unseen for look in told),
            divergences=tuple(look.divergences if look else unseen for look in told),
        )

    # -- Preparing -----------------------------------------------------------------------------------

    def _free(self, example: Example) -> tuple[int, ...]:
        """The positions that carry loss: all but what was forced."""
        ids, own = example.completion_ids, example.sampled_logprobs
        expected = len(ids) if example.part == "sample" else 0
        if not ids or not example.prompt_ids or not example.teacher_ids or len(own) != expected:
            raise UpdateError(
                f"{who(example)}: both prompts and the completion need at least one token, and a row of kind "
                f"{example.part!r} {expected} logprobs; it has {len(ids)} tokens and {len(own)} logprobs"
            )
        if example.guidance != 1.0:
            raise UpdateError(
                f"{who(example)}: a guided teacher (trainer.guidance {example.guidance:g}) needs whole "
                "distributions, which a Tinker server does not tell; train with trainer.guidance=1"
            )
        try:
            forced = self._speech.forced(example.grammar, ids)
        except UpdateError as error:
            raise UpdateError(f"{who(example)}: {error}") from None
        # What a grammar left no choice in was logged as certain, by the local model as well.
        return tuple(t for t in range(forced, len(ids)) if not own or own[t] != 0.0)

    def _teachers(self, examples: Sequence[Example], objective: Objective) -> list[tuple[Any, ...]]:
        """Of each example the teacher's log-probabilities [T], and of its most probable tokens, if wanted."""
        found: list[tuple[Any, ...]] = [((0.0,) * len(e.completion_ids),) for e in examples]
        for staying in (False, True):
            chosen = [n for n, e in enumerate(examples) if used(e) and (e.part in STAYING) == staying]
            if not chosen:
                continue
            if not staying and objective.teacher == "completion":
                continue
            k = objective.top_k if objective.divergence != "sampled" else None
            if staying:
                new = [examples[n] for n in chosen if _key(examples[n], k) not in self._held]
                scores = self._scored(self._weights.base_sampler(), new, k) if new else []
                self._held |= zip((_key(e, k) for e in new), scores, strict=True)
                scores = [self._held[_key(examples[n], k)] for n in chosen]
            else:
                teacher = self._teacher(objective.teacher, objective)
                scores = self._scored(teacher, [examples[n] for n in chosen], k)
            for n, scored in zip(chosen, scores, strict=True):
                found[n] = scored
        return found

    def _teacher(self, name: str, objective: Objective) -> Any:
        match name:
            case "live":
                return self._weights.sampler()
            case "base":
                return self._weights.base_sampler()
            case "frozen":
                return self._weights.kept_sampler(objective.frozen_teacher or "")
            case "other" if self._other is not None:
                return self._weights.other_sampler(self._other)
            case _:
                raise UpdateError(f"the teacher {name!r} cannot be had on a Tinker server")

    def _scored(self, sampler: Any, examples: Sequence[Example], k: int | None) -> list[tuple[Any, ...]]:
        """log T of each completion's own tokens and, with `k`, of the most probable ones; in one batch."""
        prompts = [types.ModelInput.from_ints([*e.teacher_ids, *e.completion_ids]) for e in examples]
        params = types.SamplingParams(max_tokens=1, temperature=0.0)

        def submit() -> list[Any]:
            if k is None:
                return [sampler.compute_logprobs(prompt) for prompt in prompts]
            return [
                sampler.sample(prompt, 1, params, include_prompt_logprobs=True, topk_prompt_logprobs=k)
                for prompt in prompts
            ]

        answers = self._connection.ask("score the teacher", submit)
        found: list[tuple[Any, ...]] = []
        for example, answer in zip(examples, answers, strict=True):
            # Entry i is token i's own, the first is None: a completion of T tokens is the last T entries.
            length = len(example.completion_ids)
            whole = answer if k is None else answer.prompt_logprobs
            own = whole[-length:]
            if len(whole) != len(example.teacher_ids) + length or any(
                one is None or not math.isfinite(one) for one in own
            ):
                raise UpdateError(f"{who(example)}: the server did not tell the teacher's logprobs")
            self._usage.prompts += len(whole)
            self._usage.samplings += 1
            self._usage.cached += 0 if k is None else int(answer.prompt_cache_hit_tokens)
            top = None if k is None else _top(answer.topk_prompt_logprobs[-length:], k)
            found.append((tuple(map(float, own)), top))
        return found

    # -- Looking and stepping ------------------------------------------------------------------------

    def _looks(self, rows: Sequence[Row]) -> list[Look]:
        """The student on each row, in one forward pass; where nothing is free nothing is asked."""
        asked = [row for row in rows if row.free]
        output = (
            self._weights.look("look at the update", [looked_at(row) for row in asked]) if asked else None
        )
        self._count(asked)
        told = iter(output.loss_fn_outputs if output else ())
        return [seen(row, next(told)) if row.free else Look(row, row.teacher, None) for row in rows]

    def _stepped(self, batch: Batch, looks: Sequence[Look]) -> float:
        """One step; the gradient's norm, where the server tells it, else 0."""
        chosen = batch.optimiser
        if chosen.fresh and not batch.steps:
            self._weights.forget_moments()
        adam = types.AdamParams(
            learning_rate=figures.learning_rate(chosen, batch.steps),
            beta1=chosen.beta1,
            beta2=chosen.beta2,
            eps=chosen.eps,
            weight_decay=chosen.weight_decay,
            grad_clip_norm=chosen.grad_clip,
        )
        data = [stepped_on(one, self._emphasis(batch, one), batch.objective) for one in looks]
        made_from = batch.content + str(batch.steps).encode()
        _, stepped = self._weights.step("take a step", made_from, data, loss_of(batch.objective), adam)
        batch.steps += 1
        self._count([look.row for look in looks])
        metrics: dict[str, float] = stepped.metrics or {}
        return next(
            (float(value) for name, value in metrics.items() if "grad" in name and "norm" in name), 0.0
        )

    def _emphasis(self, batch: Batch, seen: Look) -> tuple[float, ...]:
        """What each free position of a row counts for in this step."""
        still = seen.row.example.part in ANCHORING and math.fsum(seen.divergences) <= batch.objective.slack
        return tuple(0.0 if still else by for by in batch.emphasis[id(seen.row.example)])

    def _kept(self, probes: Sequence[Row]) -> float:
        """The share of probes on which the model still says what it said, token by token."""
        if not probes:
            return 1.0
        sampler = self._weights.sampler()
        asked = [self._speech.begun(row.example.prompt_ids, row.example.grammar) for row in probes]
        wanted = [row.example.completion_ids[forced:] for row, (_, forced) in zip(probes, asked, strict=True)]

        def submit() -> list[Any]:
            return [
                sampler.sample(
                    types.ModelInput.from_ints(list(prompt)),
                    1,
                    types.SamplingParams(
                        max_tokens=max(1, len(ids)), temperature=0.0, stop=list(self._speech.ends)
                    ),
                )
                for (prompt, _), ids in zip(asked, wanted, strict=True)
            ]

        answers = self._connection.ask("look at what stays", submit)
        self._usage.prompts += sum(len(prompt) for prompt, _ in asked)
        self._usage.sampled += sum(len(answer.sequences[0].tokens) for answer in answers)
        self._usage.samplings += len(answers)
        ends = set(self._speech.ends)
        same = [
            [t for t in answer.sequences[0].tokens if t not in ends] == [t for t in ids if t not in ends]
            for answer, ids in zip(answers, wanted, strict=True)
        ]
        return sum(same) / len(same)

    def _count(self, rows: Sequence[Row]) -> None:
        self._usage.passes += 1
        self._usage.trained += sum(
            len(r.example.prompt_ids) + len(r.example.completion_ids) - 1 for r in rows
        )


def _refuse(objective: Objective, optimiser: Optimiser) -> None:
    """What no Tinker server can minimise, by name."""
    whole = objective.top_k is None and objective.teacher != "completion"
    if objective.divergence not in ("sampled", "forward_kl") or (
        objective.divergence == "forward_kl" and whole
    ):
        raise UpdateError(
            f"a Tinker server cannot minimise {objective.divergence} over whole distributions; allowed are "
            f"trainer.divergence=sampled, or forward_kl with trainer.top_k (at most {MOST_TOP}) where the "
            "server tells the most probable tokens"
        )
    if objective.top_k is not None and objective.top_k > MOST_TOP and objective.divergence != "sampled":
        raise UpdateError(f"trainer.top_k {objective.top_k}: a Tinker server tells at most {MOST_TOP}")
    for name, value, only in (
        ("sharpness", objective.sharpness, 1.0),
        ("reward_weight", objective.reward_weight, 0.0),
        ("whiten", optimiser.whiten, None),
    ):
        if value != only:
            raise UpdateError(f"trainer.{name} {value:g}: a Tinker server cannot do that; allowed is {only}")


def _key(example: Example, k: int | None) -> tuple[Any, ...]:
    """What the teacher's scores of a row that shall stay are a function of."""
    return example.teacher_ids, example.completion_ids, k


def _top(rows: Sequence[Any], k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Lists of (token, logprob) as ids and log-probabilities [T, k]; those not told are next to nothing."""
    ids = numpy.zeros((len(rows), k), numpy.int64)
    logprobs = numpy.full((len(rows), k), -60.0)
    for t, row in enumerate(rows):
        told: list[tuple[int, float]] = list(row or [])[:k]
        for place, (token, logprob) in enumerate(told):
            ids[t, place], logprobs[t, place] = token, logprob
    return ids, logprobs


def _content(examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> bytes:
    """What a step is a function of besides the weights; ids of records say nothing about it."""
    names: dict[str, str] = {"": ""}
    rows = [
        msgspec.structs.replace(e, sample="", correction=names.setdefault(e.correction, str(len(names))))
        for e in examples
    ]
    return hashlib.sha256(msgspec.json.encode((rows, objective, optimiser))).digest()
