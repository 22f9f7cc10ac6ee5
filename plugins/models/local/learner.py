"""Carries out updates on a local model: scores the teacher once, then looks and steps on demand.

The algorithm is in `objectives`, the teachers in `teachers`; this module is their arithmetic on real
weights, and the promises around it:

- Both sides score the same completion ids, at the temperature they were sampled with, renormalised over what
  the grammar allowed. Token t of a completion after a prompt of P tokens is predicted at position P + t − 1.
- Only positions where the grammar left a choice carry loss; the output layer runs on no others.
- All rows go through the model together, what they have in common once (`packing`).
- What fails leaves weights, optimiser and teacher as they were; the error names correction and position.
- Same inputs on the same stack (versions, device, threads): same bits.

What the adapter does not act on (`Adapter.reads`) the base model reads, once (`pieces`). With an adapter that
acts on all tokens every step computes everything, and the gradient goes through the prompt.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from continualcode.core.data import Example, Objective, Optimiser, StepReport
from continualcode.core.errors import UpdateError, nearest
from continualcode.plugins.models import figures, weighing
from continualcode.plugins.models.figures import used, who
from continualcode.plugins.models.local import objectives, whitening
from continualcode.plugins.models.local.adapter import Adapter, Factors, digest
from continualcode.plugins.models.local.batch import Batch, Snapshot
from continualcode.plugins.models.local.masking import Constraint, Masks
from continualcode.plugins.models.local.packing import Laid, Packed, Reading
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.rows import (
    Look,
    Row,
    blaming,
    certain,
    check,
    kept,
    look,
    prompts,
    refuse_nonfinite,
    scored,
)
from continualcode.plugins.models.local.stepping import Stepper
from continualcode.plugins.models.local.teachers import Ema, trust_region

Scored: TypeAlias = tuple[Example, tuple[int, ...], Sequence[int]]
"""What to score: an example's completion, at its free positions, after a prompt."""


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
        self._prefix = prefix
        self._device = torch.device(device)
        self._masks = Masks(constraint, self._vocabulary(), self._device)
        self._stepper = Stepper(adapter.parameters())
        self._ema: Ema | None = None
        self._frozen: dict[str, Factors] = {}

    # -- Learning ------------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, examples: Sequence[Example], objective: Objective, optimiser: Optimiser) -> Batch:
        """Check the examples and score the teacher on each. Raises UpdateError; changes no weights."""
        if not examples:
            raise UpdateError("an update needs at least one example; none was given")
        for example in examples:
            check(example, self._vocabulary(), self._adapter.context)
        masks = [self._masks.choices(example) if used(example) else ((), None) for example in examples]
        counts = [len(free) for free, _ in masks]
        shares = weighing.in_loss(examples, counts, objective)
        told = weighing.in_report(examples, counts, objective)
        advantages = weighing.advantages(examples)
        with blaming(examples):
            reading = self._prefix.reading(ids for e in examples if used(e) for ids in prompts(e))
        laid = self._laid(
            [(e, free, e.prompt_ids) for e, (free, _) in zip(examples, masks, strict=True)], reading
        )
        teachers = self._teachers(examples, [free for free, _ in masks], reading, laid, objective)
        rows: list[Row] = []
        for number, example in enumerate(examples):
            free, allowed = masks[number]
            row = scored(example, free, allowed, teachers[number], objective.sharpness)
            row = replace(row, number=number, share=shares[number], told=told[number])
            row = replace(row, advantage=advantages[number])
            rows.append(replace(row, allowed=self._masks.students(example, free, allowed)))
        if objective.top_k is not None:
            rows = self._narrowed(rows, laid, objective.top_k)
        batch = Batch(tuple(rows), laid, objective, optimiser)
        if optimiser.whiten is not None and (
            stays := [r for r in rows if r.example.part == "anchor" and r.share]
        ):
            batch.whitening = whitening.maps(
                self._adapter, optimiser.whiten, lambda: self._logits(stays, laid)
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
        rows = [replace(row, share=row.share * by) for row, by in taking]
        try:
            with torch.set_grad_enabled(not measuring):
                scored = self._logits(rows, batch.laid)
                seen = [look(row, logits, batch.objective) for row, logits in zip(rows, scored, strict=True)]
            looks = [one for one, _ in seen]
            seen = [(one, self._stressed(batch, one, losses)) for one, losses in seen]
            more = not measuring and figures.left(looks, batch.objective.aggregation) > stop_below
            stepping = more and any(row.share for row in rows)
            if stepping:
                self._backward(rows, scored, [losses for _, losses in seen])
            norm = self._apply(batch) if stepping else 0.0
        finally:
            for parameter in self._adapter.parameters():
                parameter.grad = None
        by_row = {id(one.row.example): one for one in looks}
        unseen = tuple[float, ...]()
        return StepReport(
            stepped=stepping,
            loss=figures.loss(looks),
            divergence=figures.divergence(looks),
            grad_norm=norm,
            drift=figures.drift(looks),
            kept=kept(looks),
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
        ema = {f"ema {name}": tensor for name, tensor in self._ema.factors.items()} if self._ema else {}
        return digest({**self._stepper.moments(), **ema})

    def snapshot(self) -> Snapshot:
        """Everything that training changes, copied."""
        moments = {name: tensor.clone() for name, tensor in self._stepper.moments().items()}
        return Snapshot(self._adapter.snapshot(), moments, self._ema)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to `snapshot`, bit for bit."""
        self._adapter.restore(snapshot.weights)
        self._ema = snapshot.ema
        self._stepper.restore(snapshot.moments)

    def reset(self) -> None:
        """The untrained adapter, no moments, no averaged teacher."""
        self._adapter.reset()
        self._stepper.restore({})
        self._ema = None

    # -- Preparing -----------------------------------------------------------------------------------

    def _stressed(self, batch: Batch, seen: Look, losses: Tensor) -> Tensor:
        """The losses [F] of a row, as the objective weighs its positions."""
        key, objective = id(seen.row.example), batch.objective
        if seen.row.example.part == "anchor":
            return losses if math.fsum(seen.divergences) > objective.slack else losses * 0.0
        if not objective.decisions:
            return losses
        if key not in batch.emphasis:
            batch.emphasis[key] = torch.tensor(figures.emphasis(seen, objective), device=losses.device)
        return losses * batch.emphasis[key]

    def _teachers(
        self,
        examples: Sequence[Example],
        frees: Sequence[tuple[int, ...]],
        reading: Reading,
        laid: Laid,
        objective: Objective,
    ) -> list[Tensor]:
        """The teacher's logits, a row each: [1, F, V]; where it is guided [2, F, V], the second neutral."""
        stays = [e.part in ("anchor", "probe") for e in examples]
        found: list[Tensor] = [torch.zeros(0)] * len(examples)
        for staying in (False, True):
            chosen = [
                n
                for n, free in enumerate(frees)
                if free and stays[n] == staying and examples[n].part != "attempt"
            ]
            if not chosen:
                continue
            if staying:  # the base model after the same prompts
                with self._adapter.disabled(), blaming([examples[n] for n in chosen]):
                    together = laid.logits(self._adapter.forward, chosen, self._device)
                each = torch.split(together, [len(frees[n]) for n in chosen])
                for n, of_teacher in zip(chosen, each, strict=True):
                    found[n] = of_teacher[None]
                continue
            guided = [n for n in chosen if examples[n].guidance != 1.0]
            wanted = [(examples[n], frees[n], examples[n].teacher_ids) for n in chosen]
            wanted += [(examples[n], frees[n], examples[n].neutral_ids) for n in guided]
            logits = self._teacher_logits(wanted, reading, objective)
            for n, of_teacher in zip(chosen, logits[: len(chosen)], strict=True):
                found[n] = of_teacher[None]
            for n, neutral in zip(guided, logits[len(chosen) :], strict=True):
                found[n] = torch.cat([found[n], neutral[None]])
        return found

    def _narrowed(self, rows: Sequence[Row], laid: Laid, top_k: int) -> list[Row]:
        """The rows on the student's `top_k` tokens and a tail.

        The student's choice, made once: every step of an update minimises the same function.
        """
        scored = self._logits(rows, laid)
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

    def _teacher_logits(
        self, wanted: Sequence[Scored], reading: Reading, objective: Objective
    ) -> list[Tensor]:
        """Logits [F, V] of each of `wanted`, by the weights of the objective's teacher."""

        def scored(weights: AbstractContextManager[None]) -> list[Tensor]:
            with weights:
                return self._scored(wanted, reading)

        match objective.teacher:
            case "live":
                return scored(nullcontext())
            case "base":
                return scored(self._adapter.disabled())
            case "frozen":
                return scored(self._adapter.holding(self._kept(objective.frozen_teacher)))
            case "ema":
                return scored(self._adapter.holding(self._ema.factors) if self._ema else nullcontext())
            case "completion":
                return [certain(e, free, self._vocabulary()).to(self._device) for e, free, _ in wanted]
            case _:  # trust_region
                base, live = scored(self._adapter.disabled()), scored(nullcontext())
                rate = objective.teacher_rate
                return [trust_region(b, own, rate) for b, own in zip(base, live, strict=True)]

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

    def _logits(self, rows: Sequence[Row], laid: Laid) -> list[Tensor | None]:
        """Next-token logits [F, V] at the free positions of each row, after its prompt; None: it has none."""
        taking = [row for row in rows if row.free]
        if not taking:
            return [None for _ in rows]
        with blaming([row.example for row in taking]):
            logits = laid.logits(self._adapter.forward, [row.number for row in taking], self._device)
        split = iter(torch.split(logits, [len(row.free) for row in taking]))
        return [next(split) if row.free else None for row in rows]

    def _scored(self, wanted: Sequence[Scored], reading: Reading) -> list[Tensor]:
        """Next-token logits [F, V] at the free positions of each completion after its prompt, in one pass."""
        packed, _, nodes = self._packed(wanted, reading)
        with blaming([example for example, _, _ in wanted]):
            logits = self._adapter.logits(packed, [node for each in nodes for node in each])
        return list(torch.split(logits, [len(free) for _, free, _ in wanted]))

    def _laid(self, wanted: Sequence[Scored], reading: Reading) -> Laid:
        """The rows of a batch, what no step changes computed."""
        with blaming([example for example, _, _ in wanted]):
            return self._adapter.laid(*self._packed(wanted, reading))

    def _packed(
        self, wanted: Sequence[Scored], reading: Reading
    ) -> tuple[Packed, list[list[int]], list[list[int]]]:
        """A trie of completions after what was read; the nodes of each, and those it is scored after."""
        packed = reading.packed.onward()
        paths, nodes = list[list[int]](), list[list[int]]()
        for example, free, prompt in wanted:
            rest = prompt[self._adapter.reads(prompt) :] if free else ()
            new = [*rest, *example.completion_ids[: free[-1]]] if free else []
            path = packed.add(new, reading.ends[tuple(prompt)]) if free else []
            paths.append(path)
            nodes.append([path[len(rest) + t - 1] for t in free])
        return packed, paths, nodes

    def _backward(
        self, rows: Sequence[Row], logits: Sequence[Tensor | None], losses: Sequence[Tensor]
    ) -> None:
        """Leave the gradient of the loss in the adapter."""
        # In two stages, so that a fault of the loss, which has a position, can be told from one of the model.
        learned = [
            (row, of_row, loss_of_row)
            for row, of_row, loss_of_row in zip(rows, logits, losses, strict=True)
            if of_row is not None and row.share
        ]
        total = torch.stack([loss_of_row.sum() * row.share for row, _, loss_of_row in learned]).sum()
        at_logits = torch.autograd.grad(total, [of_row for _, of_row, _ in learned])
        for (row, _, _), gradient in zip(learned, at_logits, strict=True):
            refuse_nonfinite(row.example, row.free, gradient.abs().amax(-1), "the gradient at the logits")
        with blaming([row.example for row, _, _ in learned]):
            torch.autograd.backward([of_row for _, of_row, _ in learned], at_logits)
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
            if not all(bool(p.isfinite().all()) for p in self._adapter.parameters()):
                raise UpdateError(f"a step at lr {settings.lr:g} made weights that are not finite")
            if averaged:
                start = self._ema or Ema(before.weights)  # a copy of the student as it was
                self._ema = start.stepped(self._adapter.snapshot(), batch.objective.teacher_rate)
        except BaseException as error:  # an interrupt as well: there is no half a step
            self.restore(before)
            if isinstance(error, RuntimeError):
                raise UpdateError(f"torch could not take a step at lr {settings.lr:g}: {error}") from error
            raise
        batch.steps += 1
        return norm

    def _vocabulary(self) -> int:
        return self._adapter.vocabulary
