"""Carries out updates on a local model: scores the teacher once, then looks and steps on demand.

The algorithm is in `objectives`, the teachers in `teachers`; this module is their arithmetic on real
weights, and the promises around it:

- Both sides score the same completion ids, at the temperature they were sampled with, renormalised over what
  the grammar allowed. Token t of a completion after a prompt of P tokens is predicted at position P + t − 1.
- Only positions where the grammar left a choice carry loss; the output layer runs on no others.
- What rows have in common goes through the model once (`scoring`).
- What fails leaves weights, optimiser and teacher as they were; the error names correction and position.
- Same inputs on the same stack (versions, device, threads): same bits.

What the adapter does not act on (`Adapter.reads`) the base model reads, once (`pieces`). With an adapter that
acts on all tokens every step computes everything, and the gradient goes through the prompt.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser, StepReport
from continualcode.core.errors import UpdateError
from continualcode.plugins.models import figures, weighing
from continualcode.plugins.models.figures import who
from continualcode.plugins.models.local import objectives, whitening
from continualcode.plugins.models.local.adapter import Adapter, copied, digest
from continualcode.plugins.models.local.batch import Batch, Snapshot
from continualcode.plugins.models.local.masking import Constraint
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.rows import (
    Look,
    Row,
    Seen,
    blaming,
    check,
    compared,
    kept,
    looks,
    numbers,
    refuse_nonfinite,
)
from continualcode.plugins.models.local.scoring import Scorer
from continualcode.plugins.models.local.stepping import Stepper
from continualcode.plugins.models.local.teachers import Ema, Teachers


class Learner:
    """Trains one adapter. Not thread-safe; nothing else may use the model during a call."""

    def __init__(
        self,
        adapter: Adapter,
        constraint: Constraint,
        prefix: Prefix,
        device: torch.device | str = "cpu",
    ) -> None:
        self._adapter = adapter
        self._teachers = Teachers(adapter)
        self._device = torch.device(device)
        self._scorer = Scorer(adapter, constraint, prefix, self._teachers, self._device)
        self._stepper = Stepper(adapter.parameters())

    # -- Learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Check the examples and score the teacher on each. Raises UpdateError; changes no weights."""
        if not examples:
            raise UpdateError("an update needs at least one example; none was given")
        for example in examples:
            check(example, self._adapter.vocabulary, self._adapter.context)
        rows = self._scorer.rows(examples, objective)
        counts = [len(row.free) for row in rows]
        shares = weighing.in_loss(examples, counts, objective)
        told = weighing.in_report(examples, counts, objective)
        advantages = weighing.advantages(examples)
        rows = [
            replace(row, share=shares[number], told=told[number], advantage=advantages[number])
            for number, row in enumerate(rows)
        ]
        if objective.top_k is not None:
            rows = self._narrowed(rows, objective.top_k)
        batch = Batch(tuple(rows), objective, optimiser)
        anchors = [row for row in rows if row.example.part == "anchor" and row.share]
        if optimiser.whiten is not None and anchors:
            batch.whitening = whitening.maps(
                self._adapter, optimiser.whiten, lambda: self._scorer.read(anchors)
            )
        return batch

    def step(self, batch: Batch, *, stop_below: float) -> StepReport:
        """Measure the batch; if what is left to learn is above `stop_below` (nats), take one AdamW step.

        The divergence is over the rows about corrections, weighted as the loss is: of KL(T‖S) for forward_kl
        and sampled, of the objective's own for the others. What is left: see `figures.left`. stop_below=inf
        only measures, and probes too.
        """
        measuring = stop_below == math.inf
        taking = weighing.taking_part(batch.rows, batch.objective, batch.steps, measuring)
        rows = [replace(row, share=row.share * by, told=row.told * by) for row, by in taking]
        try:
            with torch.set_grad_enabled(not measuring):
                scored = self._scorer.logits(rows)
                seen = compared(rows, scored, batch.objective, together=self._device.type == "cuda")
                found = looks(seen)
            more = not measuring and figures.left(found, batch.objective.aggregation) > stop_below
            stepping = more and any(row.share for row in rows)
            if stepping:
                self._backward(scored, seen, [self._counted(batch, one) for one in found])
            norm = self._apply(batch) if stepping else 0.0
        finally:
            self._adapter.stepped()
            for parameter in self._adapter.parameters():
                parameter.grad = None
        by_row = {id(one.row.example): one for one in found}
        unseen = tuple[float, ...]()
        return StepReport(
            stepped=stepping,
            loss=figures.loss(found),
            divergence=figures.divergence(found),
            grad_norm=norm,
            drift=figures.drift(found),
            kept=kept(found),
            advantages=tuple(
                by_row[id(r.example)].advantages if id(r.example) in by_row else unseen for r in batch.rows
            ),
            divergences=tuple(
                by_row[id(r.example)].divergences if id(r.example) in by_row else unseen for r in batch.rows
            ),
        )

    # -- Weights -------------------------------------------------------------------------------------

    def weights(self) -> str:
        """Content digest of the adapter."""
        return self._adapter.digest()

    def optimiser_state(self) -> str:
        """Content digest of AdamW's moments and, where there is one, the averaged teacher."""
        averaged = self._teachers.ema.factors if self._teachers.ema else {}
        ema = {f"ema {name}": tensor for name, tensor in averaged.items()}
        return digest({**self._stepper.moments(), **ema})

    def snapshot(self) -> Snapshot:
        """Everything that training changes, copied."""
        return Snapshot(self._adapter.snapshot(), copied(self._stepper.moments()), self._teachers.ema)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, bit for bit."""
        self._adapter.restore(snapshot.weights)
        self._teachers.ema = snapshot.ema
        self._stepper.restore(snapshot.moments)

    def reset(self) -> None:
        """The untrained adapter, no moments, no averaged teacher."""
        self._adapter.reset()
        self._stepper.restore({})
        self._teachers.ema = None

    # -- Preparing -----------------------------------------------------------------------------------

    def _counted(self, batch: Batch, seen: Look) -> tuple[float, ...]:
        """What each free position of a row counts for, beside its share."""
        key, objective = id(seen.row.example), batch.objective
        if seen.row.example.part in figures.ANCHORING:
            return (float(math.fsum(seen.divergences) > objective.slack),) * len(seen.row.free)
        if key not in batch.emphasis:
            batch.emphasis[key] = figures.emphasis(seen, objective)
        return batch.emphasis[key]

    def _narrowed(self, rows: Sequence[Row], top_k: int) -> list[Row]:
        """The rows on the student's `top_k` tokens and a tail.

        The student's choice, made once: every step of an update minimises the same function.
        """
        scored = self._scorer.logits(rows)
        narrowed: list[Row] = []
        for row, logits in zip(rows, scored, strict=True):
            if logits is None or row.example.part == "attempt":
                narrowed.append(row)
                continue
            student = objectives.log_probs(logits, row.example.temperature, row.allowed)
            support = student.topk(min(top_k, student.shape[1])).indices
            narrowed.append(
                replace(row, support=support, teacher=objectives.with_tail(row.teacher.gather(1, support)))
            )
        return narrowed

    def _backward(
        self, scored: Sequence[Tensor | None], seen: Sequence[Seen], counted: Sequence[tuple[float, ...]]
    ) -> None:
        """Leave the gradient of the loss in the adapter."""
        # In two stages, so that a fault of the loss, which has a position, can be told from one of the model.
        learned = [
            (one.row, logits, one.losses, [one.row.share * count for count in counts])
            for one, logits, counts in zip(seen, scored, counted, strict=True)
            if logits is not None and one.row.share
        ]
        losses = torch.cat([losses for _, _, losses, _ in learned])
        weights = torch.tensor([by for *_, each in learned for by in each]).to(losses)
        at_logits = torch.autograd.grad((losses * weights).sum(), [logits for _, logits, *_ in learned])
        largest = iter(numbers(torch.cat(at_logits).abs().amax(-1)))
        for row, *_ in learned:
            steepest = [*islice(largest, len(row.free))]
            refuse_nonfinite(row.example, row.free, steepest, "the gradient at the logits")
        with blaming([row.example for row, *_ in learned]):
            torch.autograd.backward([logits for _, logits, *_ in learned], at_logits)
        gradients = [p.grad for p in self._adapter.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            raise UpdateError(f"{who(learned[0][0].example)}: the gradient's norm is {float(norm)}")

    def _apply(self, batch: Batch) -> float:
        """Clip, one AdamW step, one of the averaged teacher; all or nothing. Returns the unclipped norm."""
        settings, averaged = batch.optimiser, batch.objective.teacher == "ema"
        before = self.snapshot()
        try:
            norm = self._stepper.step(settings, batch.steps, batch.whitening)
            if not torch.nn.utils.get_total_norm(self._adapter.parameters()).isfinite():
                raise UpdateError(f"a step at lr {settings.lr:g} made weights that are not finite")
            if averaged:
                start = self._teachers.ema or Ema(before.weights)  # a copy of the student as it was
                self._teachers.ema = start.stepped(self._adapter.snapshot(), batch.objective.teacher_rate)
        except BaseException as error:  # an interrupt as well: there is no half a step
            self.restore(before)
            if isinstance(error, RuntimeError):
                raise UpdateError(f"torch could not take a step at lr {settings.lr:g}: {error}") from error
            raise
        batch.steps += 1
        return norm
