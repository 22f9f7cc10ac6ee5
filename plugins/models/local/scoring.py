"""The rows of an update, and what the model says on them: as the teacher once, as the student when asked.

Rows go through the model together, what they have in common once (`packing`); what must stay apart from the
rest (`standing`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from continualcode.core.data import Example, Objective
from continualcode.plugins.models.figures import STAYING, used
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.masking import Constraint, Masks
from continualcode.plugins.models.local.packing import Laid, Packed, Reading
from continualcode.plugins.models.local.prefix import Prefix
from continualcode.plugins.models.local.rows import Row, blaming, certain, prompts, scored
from continualcode.plugins.models.local.standing import STANDING, Standing
from continualcode.plugins.models.local.teachers import Teachers

Scored: TypeAlias = tuple[Example, tuple[int, ...], Sequence[int]]
"""What to score: an example's completion, at its free positions, after a prompt."""


class Scorer:
    """Scores completions. Changes no weights. Not thread-safe."""

    def __init__(
        self,
        adapter: Adapter,
        constraint: Constraint,
        prefix: Prefix,
        teachers: Teachers,
        device: torch.device,
    ) -> None:
        self._adapter = adapter
        self._masks = Masks(constraint, adapter.vocabulary, device)
        self._prefix = prefix
        self._teachers = teachers
        self._device = device
        self._standing = Standing(lambda stays: self._together(stays, Objective()))

    def rows(self, examples: Sequence[Example], objective: Objective) -> list[Row]:
        """A row of each example, its teacher scored, that counts for nothing yet. Raises UpdateError."""
        if self._adapter.spec.acts_on == "all":  # apart, what all prompts begin with would be computed twice
            return self._together(examples, objective)
        stays = [example.part in STANDING for example in examples]
        standing = self._standing.rows([e for e, one in zip(examples, stays, strict=True) if one])
        learned = self._together([e for e, one in zip(examples, stays, strict=True) if not one], objective)
        apart = {True: iter(standing), False: iter(learned)}
        return [next(apart[one]) for one in stays]

    def logits(self, rows: Sequence[Row]) -> list[Tensor | None]:
        """Next-token logits [F, V] at the free positions of each row, after its prompt; None: it has none."""
        found: list[Tensor | None] = [None] * len(rows)
        for taking in _by_trie(rows):
            logits = self._passed([rows[n] for n in taking])
            each = torch.split(logits, [len(rows[n].free) for n in taking])
            for n, of_row in zip(taking, each, strict=True):
                found[n] = of_row
        return found

    def read(self, rows: Sequence[Row]) -> None:
        """Send the rows through the model, for who watches it: up to the output layer."""
        for taking in _by_trie(rows):
            self._passed([rows[n] for n in taking], asked=False)

    def _passed(self, rows: Sequence[Row], *, asked: bool = True) -> Tensor:
        """One pass over rows that lie together."""
        numbers = [row.number for row in rows]
        with blaming([row.example for row in rows]):
            return rows[0].laid.logits(self._adapter.forward, numbers, self._device, asked=asked)

    def _together(self, examples: Sequence[Example], objective: Objective) -> list[Row]:
        if not examples:
            return []
        choices = [self._masks.choices(example) for example in examples]
        frees = [each.free for each in choices]
        with blaming(examples):
            reading = self._prefix.reading(ids for e in examples if used(e) for ids in prompts(e))
            wanted = [(e, free, e.prompt_ids) for e, free in zip(examples, frees, strict=True)]
            laid = self._adapter.laid(*self._packed(wanted, reading))
        teachers = self._taught(examples, frees, reading, laid, objective)
        rows: list[Row] = []
        for number, (example, chosen) in enumerate(zip(examples, choices, strict=True)):
            logits, sharpness = teachers[number], objective.sharpness
            row = scored(example, laid, number, chosen.free, chosen.teacher, logits, sharpness)
            rows.append(replace(row, allowed=chosen.student))
        return rows

    def _taught(
        self,
        examples: Sequence[Example],
        frees: Sequence[tuple[int, ...]],
        reading: Reading,
        laid: Laid,
        objective: Objective,
    ) -> list[Tensor]:
        """The teacher's logits, a row each: [1, F, V]; where it is guided [2, F, V], the second neutral."""
        found: list[Tensor] = [torch.zeros(0)] * len(examples)
        taught = [n for n, free in enumerate(frees) if free and examples[n].part != "attempt"]
        stays = [n for n in taught if examples[n].part in STAYING]
        if stays:  # the base model after the same prompts
            with self._adapter.disabled(), blaming([examples[n] for n in stays]):
                together = laid.logits(self._adapter.forward, stays, self._device)
            for n, logits in zip(stays, torch.split(together, [len(frees[n]) for n in stays]), strict=True):
                found[n] = logits[None]
        learned = [n for n in taught if n not in stays]
        if learned:
            guided = [n for n in learned if examples[n].guidance != 1.0]
            wanted = [(examples[n], frees[n], examples[n].teacher_ids) for n in learned]
            wanted += [(examples[n], frees[n], examples[n].neutral_ids) for n in guided]
            each = self._by_teacher(wanted, reading, objective)
            for n, logits in zip(learned, each[: len(learned)], strict=True):
                found[n] = logits[None]
            for n, neutral in zip(guided, each[len(learned) :], strict=True):
                found[n] = torch.cat([found[n], neutral[None]])
        return found

    def _by_teacher(self, wanted: Sequence[Scored], reading: Reading, objective: Objective) -> list[Tensor]:
        """Logits [F, V] of each of `wanted`, in one pass of each of the weights that the teacher needs."""
        if objective.teacher == "completion":
            return [certain(e, free, self._adapter.vocabulary).to(self._device) for e, free, _ in wanted]
        packed, _, nodes = self._packed(wanted, reading)

        def scored() -> list[Tensor]:
            with blaming([example for example, _, _ in wanted]):
                logits = self._adapter.logits(packed, [node for each in nodes for node in each])
            return list(torch.split(logits, [len(free) for _, free, _ in wanted]))

        return self._teachers.logits(objective, scored)

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


def _by_trie(rows: Sequence[Row]) -> list[list[int]]:
    """The numbers of the rows that have something to score, those that lie in one trie together."""
    laid = {id(row.laid): list[int]() for row in rows if row.free}
    for number, row in enumerate(rows):
        if row.free:
            laid[id(row.laid)].append(number)
    return list(laid.values())
