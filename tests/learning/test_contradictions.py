"""200 corrections in a row that contradict each other: the gate keeps what they are not about.

On a tiny random model, with the trainer, the learner and the gate as they are. How much stays depends on how
many prompts the gate looks at: of 40 unrelated choices .85 with 12 probes, all with 40, .20 without it.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import torch

from continualcode.core.data import Example, Objective, Optimiser, Part, UpdatePlan
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.packing import Packed
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

Build = Callable[..., Example]
TIMES = 200
WANTED = ((7, 8, 9), (12, 2, 33))
"""After one and the same prompt, in turn."""


def prompts(seed: int, count: int) -> list[tuple[int, ...]]:
    drawn = random.Random(seed)
    return [(*(drawn.randrange(5, 50) for _ in range(4)), 4) for _ in range(count)]


def likeliest(adapter: Adapter, asked: Sequence[tuple[int, ...]]) -> list[int]:
    """The most probable next token after each prompt."""
    with torch.no_grad():
        return [int(adapter.logits(Packed.of(ids), [len(ids) - 1]).argmax()) for ids in asked]


def plan(number: int, stay: Sequence[Example], *, gate: bool) -> UpdatePlan:
    """One correction, and rows that shall stay: anchors that weigh as good as nothing, and probes."""
    settings = SdpoSettings(gate=gate, gate_learned=1.0, gate_kept=0.95, max_steps=3, divergence_floor=0.01)
    correction = Example(
        correction=f"c{number}",
        sample="s",
        part="demonstration",
        prompt_ids=(1, 2, 3, 4),
        teacher_ids=(1, 2, 3, 4),
        completion_ids=WANTED[number % 2],
        sampled_logprobs=(),
        temperature=1.0,
        grammar=None,
    )
    return UpdatePlan(
        trainer="sdpo",
        settings=msgspec.to_builtins(settings),
        objective=Objective(teacher="completion", aggregation="example_sum"),
        optimiser=Optimiser(lr=3e-3),
        examples=(correction, *stay),
    )


@pytest.mark.slow
@pytest.mark.parametrize("gate", [True, False], ids=["with the gate", "without it"])
def test_after_200_contradictions_unrelated_choices_are_as_good_as_the_gate(
    adapter: Adapter, tiny_policy: Any, gate: bool
) -> None:
    probed, unrelated = prompts(1, 40), prompts(2, 40)
    said, before = likeliest(adapter, probed), likeliest(adapter, unrelated)

    def row(ids: tuple[int, ...], token: int, part: Part) -> Example:
        return Example(
            correction="",
            sample="s",
            part=part,
            prompt_ids=ids,
            teacher_ids=ids,
            completion_ids=(token,),
            sampled_logprobs=(),
            temperature=1.0,
            grammar=None,
            weight=1e-6,
        )

    stay = [row(ids, token, "probe") for ids, token in zip(probed, said, strict=True)]
    stay.append(row(probed[0], said[0], "anchor"))
    rejected = 0
    for number in range(TIMES):
        start = tiny_policy.snapshot()
        outcome = Sdpo().update(plan(number, stay, gate=gate), tiny_policy)
        if outcome.rejected is not None:  # as the engine does
            rejected += 1
            tiny_policy.restore(start)
    after = likeliest(adapter, unrelated)
    kept = sum(a == b for a, b in zip(before, after, strict=True)) / len(before)
    if gate:
        assert kept >= 0.95
        assert 0 < rejected < TIMES, "some went through"
    else:
        assert kept < 0.5
