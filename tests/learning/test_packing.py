"""Several sequences in one forward pass: what each would have got alone."""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
