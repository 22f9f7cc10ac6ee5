"""Carries out updates on a local model: scores the teacher once, then looks and steps on demand.

The algorithm is in `objectives`, the teachers in `teachers`; this module is their arithmetic on real
weights, and the promises around it:

- Both sides score the same completion ids, at the temperature they were sampled with, renormalised over what
  the grammar allowed. Token t of a completion after a prompt of P tokens is predicted at position P + t − 1.
- Only positions where the grammar left a choice carry loss; the output layer runs on no others.
- One example a forward pass, gradients accumulated: there is no padding that could change anything.
- What fails leaves weights, optimiser and teacher as they were; the error names correction and position.
- Same inputs on the same stack (versions, device, threads): same bits.

The gradient goes through the whole prompt, keys and values included. Left out: activation checkpointing
(memory grows with the longest example), and sharing what two prompts have in common.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser, StepReport
from continualcode.core.errors import UpdateError, nearest
from continualcode.plugins.models.local import objectives
from continualcode.plugins.models.local.adapter import Adapter, Factors, digest
from continualcode.plugins.models.local.constraint import unpacked
from continualcode.plugins.models.local.rows import (
    Look,
    Row,
    blaming,
    check,
    look,
    mean,
    of,
    refuse_nonfinite,
    who,
)
from continualcode.plugins.models.local.teachers import Ema, trust_region


class Constraint(Protocol):
    """What decoding allowed, derived again from the grammar that was logged."""

    def masks(self, grammar: str, completion_ids: Sequence[int]) -> Tensor:
        """Packed bits, int32 [T, ⌈V/32⌉]: bit v of row t is set where token v was allowed at position t.

        Raises UpdateError at the first token of the completion that was not.
        """
        ...


@dataclass
class Batch:
    """What `prepare` returns and `step` takes. `begun`: at least one step was taken on it."""

    rows: tuple[Row, ...]
    objective: Objective
    optimiser: Optimiser
    begun: bool = False


@dataclass(frozen=True)
class Snapshot:
    """Weights, AdamW's moments by parameter, and the averaged teacher, at one moment."""

    weights: Factors
    moments: Factors
    ema: Ema | None


class Learner:
    """Trains one adapter. Not thread-safe; nothing else may use the model during a call."""

    def __init__(self, adapter: Adapter, constraint: Constraint, device: torch.device | str = "cpu") -> None:
        self._adapter = adapter
        self._constraint = constraint
        self._device = torch.device(device)
        self._adamw: torch.optim.AdamW | None = None
        self._ema: Ema | None = None
        self._frozen: dict[str, Factors] = {}

    # -- Learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Check the examples and score the teacher on each. Raises UpdateError; changes no weights."""
        if not examples:
            raise UpdateError("an update needs at least one example; none was given")
        for example in examples:
            check(example, self._vocabulary(), self._adapter.model.config.max_position_embeddings)
        masks = [self._choices(example) for example in examples]
        counts = [len(free) for free, _ in masks]
        shares = objectives.shares(counts, [e.weight for e in examples], objective.aggregation)
        rows: list[Row] = []
        for example, (free, allowed), share in zip(examples, masks, shares, strict=True):
            with blaming(example):
                rows.append(self._row(example, free, allowed, share, objective))
        return Batch(tuple(rows), objective, optimiser)

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:
        """Measure the batch; if its divergence is above `stop_below` (nats a token), take one AdamW step.

        The divergence is the mean over free positions, weighted as the loss is: of KL(T‖S) for forward_kl
        and sampled, of the objective's own for the others. stop_below=inf only measures.
        """
        measuring = stop_below == math.inf
        looks: list[Look] = []
        try:
            for number, row in enumerate(batch.rows, start=1):
                with torch.set_grad_enabled(not measuring), blaming(row.example):
                    logits = self._logits(row.example.prompt_ids, row.example, row.free) if row.free else None
                    seen, losses = look(row, logits, batch.objective)
                    looks.append(seen)
                    divergence = mean(looks, [s.divergences for s in looks])
                    # The mean only grows with rows, so the last one's gradient can be spared, and only that.
                    idle = measuring or (number == len(batch.rows) and divergence <= stop_below)
                    if logits is not None and row.share and not idle:
                        self._backward(row, logits, losses)
            divergence = mean(looks, [s.divergences for s in looks])
            stepping = divergence > stop_below and any(row.share for row in batch.rows)
            norm = self._apply(batch) if stepping else 0.0
        finally:
            for parameter in self._adapter.parameters():
                parameter.grad = None
        return StepReport(
            stepped=stepping,
            loss=mean(looks, [s.losses for s in looks]),
            divergence=divergence,
            grad_norm=norm,
            advantages=tuple(s.advantages for s in looks),
            divergences=tuple(s.divergences for s in looks),
        )

    # -- Weights -------------------------------------------------------------------------------------

    def weights(self) -> str:
        """Content digest of the adapter."""
        return self._adapter.digest()

    def optimiser_state(self) -> str:
        """Content digest of AdamW's moments and, where there is one, the averaged teacher."""
        ema = {f"ema {name}": tensor for name, tensor in self._ema.factors.items()} if self._ema else {}
        return digest({**self._moments(), **ema})

    def snapshot(self) -> Snapshot:
        """Everything that training changes, copied."""
        moments = {name: tensor.clone() for name, tensor in self._moments().items()}
        return Snapshot(self._adapter.snapshot(), moments, self._ema)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, bit for bit."""
        self._adapter.restore(snapshot.weights)
        self._ema = snapshot.ema
        self._adamw = None
        if snapshot.moments:
            parameters = self._adapter.parameters()
            self._adamw = torch.optim.AdamW(parameters)
            for name, tensor in snapshot.moments.items():
                number, field = name.split()
                self._adamw.state[parameters[int(number)]][field] = tensor.clone()

    def reset(self) -> None:
        """The untrained adapter, no moments, no averaged teacher."""
        self._adapter.reset()
        self._adamw = None
        self._ema = None

    # -- Preparing -----------------------------------------------------------------------------------

    def _choices(self, example: Example) -> tuple[tuple[int, ...], Tensor | None]:
        """The free positions, and what was allowed at each of them: bool [F, V], None: everything."""
        ids = example.completion_ids
        if example.grammar is None:
            return tuple(range(len(ids))), None
        try:
            allowed = unpacked(self._constraint.masks(example.grammar, ids), self._vocabulary())
        except UpdateError as error:
            raise UpdateError(f"{who(example)}: {error}") from None
        free = tuple(place for place, choices in enumerate(allowed.sum(-1)) if int(choices) > 1)
        return free, allowed[list(free)].to(self._device)

    def _row(
        self,
        example: Example,
        free: tuple[int, ...],
        allowed: Tensor | None,
        share: float,
        objective: Objective,
    ) -> Row:
        tokens = torch.tensor(example.completion_ids, device=self._device)[list(free)]
        sampled = torch.tensor(example.sampled_logprobs, device=self._device)[list(free)]
        if not free:
            return Row(example, free, tokens, sampled, allowed, None, sampled, sampled, share)
        logits = self._teacher_logits(example, free, objective)
        teacher = objectives.log_probs(logits, example.temperature, allowed)
        teacher_tokens = of(teacher, tokens)
        refuse_nonfinite(example, free, teacher_tokens, "the teacher's log-probability")
        support: Tensor | None = None
        if objective.top_k is not None:
            # The student's choice, made once: every step of an update minimises the same function.
            student = self._logits(example.prompt_ids, example, free)
            student = objectives.log_probs(student, example.temperature, allowed)
            support = student.topk(min(objective.top_k, student.shape[1])).indices
            teacher = objectives.with_tail(teacher.gather(1, support))
        return Row(example, free, tokens, sampled, allowed, support, teacher, teacher_tokens, share)

    def _teacher_logits(self, example: Example, free: Sequence[int], objective: Objective) -> Tensor:
        def scored(weights: AbstractContextManager[None]) -> Tensor:
            with weights:
                return self._logits(example.teacher_ids, example, free)

        match objective.teacher:
            case "live":
                return scored(nullcontext())
            case "base":
                return scored(self._adapter.disabled())
            case "frozen":
                return scored(self._adapter.holding(self._kept(objective.frozen_teacher)))
            case "ema":
                return scored(self._adapter.holding(self._ema.factors) if self._ema else nullcontext())
            case "trust_region":
                base, live = scored(self._adapter.disabled()), scored(nullcontext())
                return trust_region(base, live, objective.teacher_rate)

    def _kept(self, wanted: str | None) -> Factors:
        """The weights called `wanted`: the present ones, which are kept from here on, or kept ones."""
        if wanted is not None and wanted not in self._frozen:
            initial = self._adapter.initial()
            for name, factors in ((self.weights(), self._adapter.snapshot()), (digest(initial), initial)):
                if name == wanted:
                    self._frozen[wanted] = factors
        if wanted is None or wanted not in self._frozen:
            hint = nearest(str(wanted), self._frozen)
            raise UpdateError(f"frozen teacher {wanted!r}: no such weights were kept; {hint}")
        return self._frozen[wanted]

    # -- Looking and stepping ------------------------------------------------------------------------

    def _logits(self, prompt: Sequence[int], example: Example, free: Sequence[int]) -> Tensor:
        """Next-token logits [F, V] at the free positions of the completion, after `prompt`."""
        return self._adapter.logits([*prompt, *example.completion_ids], [len(prompt) + t - 1 for t in free])

    def _backward(self, row: Row, logits: Tensor, losses: Tensor) -> None:
        """Add the gradient of one row's part of the loss to the adapter's."""
        # In two stages, so that a fault of the loss, which has a position, can be told from one of the model.
        (at_logits,) = torch.autograd.grad(losses.sum() * row.share, logits)
        refuse_nonfinite(row.example, row.free, at_logits.abs().amax(-1), "the gradient at the logits")
        torch.autograd.backward(logits, at_logits)
        gradients = [p.grad for p in self._adapter.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            raise UpdateError(f"{who(row.example)}: the gradient's norm is {float(norm)}")

    def _apply(self, batch: Batch) -> float:
        """Clip, one AdamW step, one of the averaged teacher; all or nothing. Returns the unclipped norm."""
        settings, averaged = batch.optimiser, batch.objective.teacher == "ema"
        parameters = self._adapter.parameters()
        before = self.snapshot()
        try:
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.grad_clip)
            if self._adamw is None or (settings.fresh and not batch.begun):
                self._adamw = torch.optim.AdamW(parameters)
            self._adamw.param_groups[0].update(
                lr=settings.lr,
                betas=(settings.beta1, settings.beta2),
                eps=settings.eps,
                weight_decay=settings.weight_decay,
            )
            self._adamw.step()  # pyright: ignore[reportUnknownMemberType]  # torch leaves `closure` untyped
            if not all(bool(p.isfinite().all()) for p in parameters):
                raise UpdateError(f"a step at lr {settings.lr:g} made weights that are not finite")
            if averaged:
                start = self._ema or Ema(before.weights)  # a copy of the student as it was
                self._ema = start.stepped(self._adapter.snapshot(), batch.objective.teacher_rate)
        except BaseException as error:  # an interrupt as well: there is no half a step
            self.restore(before)
            if isinstance(error, RuntimeError):
                raise UpdateError(f"torch could not take a step at lr {settings.lr:g}: {error}") from error
            raise
        batch.begun = True
        return float(norm)

    def _moments(self) -> Factors:
        """AdamW's state, flat: `NUMBER FIELD`, the number that of the parameter in the order of names."""
        if self._adamw is None:
            return {}
        return {
            f"{number} {field}": value
            for number, parameter in enumerate(self._adapter.parameters())
            for field, value in self._adamw.state[parameter].items()
        }

    def _vocabulary(self) -> int:
        return int(self._adapter.model.get_input_embeddings().num_embeddings)
