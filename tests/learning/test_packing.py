"""Several sequences in one forward pass: what each would have got alone."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core.data import AdapterSpec
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.packing import Packed

sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=5)


@given(sequences)
def test_a_path_spells_its_sequence_and_a_common_start_is_kept_once(rows: list[list[int]]) -> None:
    packed = Packed()
    paths = [packed.add(row) for row in rows]
    for row, path in zip(rows, paths, strict=True):
        assert [packed.tokens[node] for node in path] == row
        assert [packed.depths[node] for node in path] == list(range(len(row)))
    starts = {tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)}
    assert len(packed.tokens) == len(starts)


@given(sequences)
def test_a_node_sees_its_own_sequence_and_nothing_else(rows: list[list[int]]) -> None:
    packed = Packed()
    for path in [packed.add(row) for row in rows]:
        seen = packed.sees()
        for depth, node in enumerate(path):
            assert {other for other, one in enumerate(seen[node].flatten()) if one} == set(path[: depth + 1])


def test_every_node_scores_as_in_a_sequence_of_its_own(new_adapter: Callable[..., Adapter]) -> None:
    adapter = new_adapter()
    model = adapter.model

    @settings(max_examples=25)
    @given(sequences)
    def law(rows: list[list[int]]) -> None:
        packed = Packed()
        paths = [packed.add(row) for row in rows]
        with torch.no_grad():
            together = adapter.logits(packed, range(len(packed.tokens)))
            for row, path in zip(rows, paths, strict=True):
                alone = model(input_ids=torch.tensor([row])).logits[0]
                assert torch.allclose(together[path].log_softmax(-1), alone.log_softmax(-1), atol=1e-4)

    law()


def upper_half(new_model: Callable[[], Any]) -> Adapter:
    """An adapter on the second of two layers, which has learned something."""
    adapter = Adapter(new_model(), AdapterSpec(rank=4, alpha=4.0, upper=0.5), header=(4,))
    generator = torch.Generator().manual_seed(1)
    moved = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in adapter.snapshot().items()}
    adapter.restore(moved)
    return adapter


def test_rows_score_the_same_with_others_or_without_and_however_often(new_model: Callable[[], Any]) -> None:
    adapter = upper_half(new_model)
    below = 0

    def counted(*given: Any) -> Any:
        nonlocal below
        below += 1
        return adapter.below(*given)

    @settings(max_examples=25)
    @given(sequences, st.data())
    def law(rows: list[list[int]], data: st.DataObject) -> None:
        nonlocal below
        below, packed = 0, Packed()
        paths = [packed.add(row) for row in rows]
        laid = packed.laid(counted, paths, [path[-1:] for path in paths], torch.device("cpu"))
        assert laid.below is not None
        chosen = data.draw(st.lists(st.sampled_from(range(len(rows))), min_size=1, unique=True))
        with torch.no_grad():
            some = laid.logits(adapter.forward, chosen, torch.device("cpu"))
            for number, scores in zip(chosen, some, strict=True):
                alone = adapter.model(input_ids=torch.tensor([rows[number]])).logits[0, -1]
                assert torch.allclose(scores.log_softmax(-1), alone.log_softmax(-1), atol=1e-4)
        assert below == 1

    law()


def test_the_gradient_is_that_of_the_whole_model(new_model: Callable[[], Any]) -> None:
    adapter, row = upper_half(new_model), [1, 2, 3, 1]
    packed = Packed()
    laid = packed.laid(adapter.below, [packed.add(row)], [[3]], torch.device("cpu"))
    ours = laid.logits(adapter.forward, [0], torch.device("cpu"))[0].log_softmax(-1)[7]
    theirs = adapter.model(input_ids=torch.tensor([row])).logits[0, -1].log_softmax(-1)[7]
    for mine, own in zip(
        *(torch.autograd.grad(loss, adapter.parameters()) for loss in (ours, theirs)), strict=True
    ):
        assert torch.allclose(mine, own, atol=1e-5, rtol=1e-4)
