"""Passes of fixed shapes: what the others compute, to the bit a function of the tokens alone.

Here without a GPU: the same passes, not captured. On one: test_cuda.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.packing import Laid, Packed
from continualcode.plugins.models.local.pieces import BASE, Pieces
from continualcode.plugins.models.local.policy import LocalPolicy
from continualcode.plugins.models.local.prefix import Prefix, Split

CPU = torch.device("cpu")
LONG = [n * 7 % 300 for n in range(700)]
PROMPT = [n * 11 % 300 for n in range(150)]


@pytest.fixture
def new_adapter(make_policy: Callable[..., LocalPolicy]) -> Callable[[bool], Adapter]:
    """An adapter that has learned something, with passes of fixed shapes or without."""

    def new(fixed: bool) -> Adapter:
        inside: Any = make_policy()
        adapter: Adapter = inside._adapter
        made = torch.Generator().manual_seed(3)
        noise = {n: t + 0.1 * torch.randn(t.shape, generator=made) for n, t in adapter.snapshot().items()}
        adapter.restore(noise)
        assert not fixed or adapter.capture(2000, captured=False)
        return adapter

    return new


def prefix(adapter: Adapter) -> Prefix:
    return Prefix(adapter, Pieces(2**30), CPU)


def said(by: Prefix, prompt: Sequence[int], *cuts: int) -> Tensor:
    """Logits after the last tokens of `prompt`, spoken in several passes after what is read of it."""
    by.start(prompt, Split(cuts[0], BASE, "w"))
    rows = [by.logits(prompt[:end], last=end - start) for start, end in zip(cuts, cuts[1:], strict=False)]
    return torch.cat(rows)


@pytest.mark.parametrize("cuts", [(0, 1, 2, 150), (140, 141, 145, 150), (20, 150)])
def test_they_compute_what_the_others_do(
    new_adapter: Callable[[bool], Adapter], cuts: tuple[int, ...]
) -> None:
    fixed, free = (said(prefix(new_adapter(one)), PROMPT, *cuts) for one in (True, False))
    assert torch.allclose(fixed.log_softmax(-1), free.log_softmax(-1), atol=1e-4)


def test_a_pass_after_more_tokens_than_the_smallest_has_room_for(
    new_adapter: Callable[[bool], Adapter],
) -> None:
    prompt = [*LONG, *PROMPT, *PROMPT, *LONG, *PROMPT, *PROMPT]  # to the end of its context
    cuts = (1100, 1101, 1990, 1999, 2000)
    fixed, free = (said(prefix(new_adapter(one)), prompt, *cuts) for one in (True, False))
    assert torch.allclose(fixed.log_softmax(-1), free.log_softmax(-1), atol=1e-4)


def test_the_bits_do_not_depend_on_what_was_read_before(new_adapter: Callable[[bool], Adapter]) -> None:
    adapter = new_adapter(True)
    first = said(prefix(adapter), PROMPT, 140, 141, 145, 150)
    later = prefix(adapter)
    said(later, LONG, 600, 690)
    assert torch.equal(said(later, PROMPT, 140, 141, 145, 150), first)
    said(later, [*PROMPT[:100], *LONG], 300, 310)  # what both begin with is kept
    assert torch.equal(said(later, PROMPT, 140, 141, 145, 150), first)


def test_an_update_has_the_same_gradient(new_adapter: Callable[[bool], Adapter]) -> None:
    found: list[tuple[Tensor, list[Tensor]]] = []
    for one in (True, False):
        adapter = new_adapter(one)
        reading = prefix(adapter).reading([PROMPT])
        packed: Packed = reading.packed.onward()
        end = reading.ends[tuple(PROMPT)]
        paths = [packed.add(ids, end) for ids in ([5, 6, 7], [5, 8, 9, 10], [11] * 70)]
        laid = adapter.laid(packed, paths, [path[1:] for path in paths])
        for rows in ([0, 1, 2], [0, 2]):
            logits = laid.logits(adapter.forward, rows, CPU)
            loss = logits.log_softmax(-1)[:, 7].sum()
            found.append((logits, list(torch.autograd.grad(loss, adapter.parameters()))))
    for (fixed, steep), (free, slope) in zip(found[:2], found[2:], strict=True):
        assert torch.allclose(fixed.log_softmax(-1), free.log_softmax(-1), atol=1e-4)
        assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(steep, slope, strict=True))


def played(made: torch.nn.Module, samples: tuple[Tensor, ...], **_how: Any) -> Callable[..., Tensor]:
    """As `torch.cuda.make_graphed_callables` does: with one set of buffers, which each call fills anew."""
    given = [sample.clone().requires_grad_(sample.is_floating_point()) for sample in samples]
    learned = [*made.parameters()]
    made_of: list[Tensor] = []

    class Played(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *all_of: Tensor) -> Tensor:
            with torch.no_grad():
                for buffer, value in zip(given, all_of, strict=False):
                    buffer.copy_(value)
            with torch.enable_grad():
                made_of[:] = [made(*given)]
            return made_of[0].detach()

        @staticmethod
        def backward(ctx: Any, *by: Tensor) -> Any:
            wanted = [one for one in (*given, *learned) if one.requires_grad]
            found = iter(torch.autograd.grad(made_of[0], wanted, by[0], allow_unused=True, retain_graph=True))
            return tuple(next(found) if one.requires_grad else None for one in (*given, *learned))

    how: Any = Played  # its own types are unknown
    apply = how.apply
    return lambda *values: apply(*values, *learned)


def test_two_passes_of_one_shape_in_a_step_keep_their_own_gradients(
    new_adapter: Callable[[bool], Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is learned and what must stay are two tries: on a GPU the first had the other's gradient."""
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", played)
    found: list[list[Tensor]] = []
    for one in (True, False):
        adapter = new_adapter(one)
        inside: Any = adapter
        tries: list[Laid] = []
        for said in ([5, 6, 7], [80, 90, 100, 110]):
            reading = prefix(adapter).reading([PROMPT])
            packed: Packed = reading.packed.onward()
            path = packed.add(said, reading.ends[tuple(PROMPT)])
            tries.append(adapter.laid(packed, [path], [path[1:]]))
        if one:
            inside._graphs._captured = True
        for _ in range(2):  # a step, and the next one
            logits = [laid.logits(adapter.forward, [0], CPU) for laid in tries]
            loss = torch.cat(logits).log_softmax(-1)[:, 7].sum()
            found.append([*torch.autograd.grad(loss, adapter.parameters())])
            adapter.stepped()
        if one:
            assert len(inside._graphs._steps) == 2, "no more of them than a step needs"
    for fixed, free in zip(found[:2], found[2:], strict=True):
        assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(fixed, free, strict=True))
