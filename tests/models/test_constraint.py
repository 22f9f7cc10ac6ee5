"""What a grammar allows along a completion is the same for who samples, who learns, and a later process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continualcode.core.data import Call, ToolSpec
from continualcode.core.errors import UpdateError, UsageError
from continualcode.plugins.models.local.constraint import Constraint, holds, scores, single, unpacked, words
from continualcode.plugins.models.local.policy import LocalPolicy

CALL = Call(tool="edit_lines", arguments={"path": "é.py", "start_line": 14, "end_line": 17, "content": "x\n"})


@pytest.fixture
def constraint(policy: LocalPolicy) -> Constraint:
    return policy._constraint  # pyright: ignore[reportPrivateUsage]  # the part that is tested


@pytest.fixture
def grammar(policy: LocalPolicy, tools: tuple[ToolSpec, ...]) -> str:
    grammar = policy.grammar(tools)
    assert grammar is not None
    return grammar


@pytest.fixture
def completion(policy: LocalPolicy, constraint: Constraint) -> list[int]:
    """A whole turn: a call, and the token that ends it."""
    return [*policy._codec.encode(policy.format_call(CALL)), constraint.ends[0]]  # pyright: ignore[reportPrivateUsage]  # to spell it


def test_the_masks_along_a_completion_are_those_of_the_walk(
    constraint: Constraint, grammar: str, completion: list[int]
) -> None:
    masks = constraint.masks(grammar, completion)
    walk = constraint.walk(grammar)
    for mask, token in zip(masks, completion, strict=True):
        forced, allowed = walk.step()
        if allowed is None:
            assert mask.equal(single(forced[0], constraint.vocabulary))
            assert forced[0] == token
        else:
            assert mask.equal(allowed)
        walk.take(token)
    assert walk.ended


def test_most_of_a_call_is_forced(constraint: Constraint, grammar: str, completion: list[int]) -> None:
    allowed = unpacked(constraint.masks(grammar, completion), constraint.vocabulary).sum(-1)
    assert allowed.min() == 1
    assert (allowed == 1).sum() > len(completion) / 3
    assert allowed[0] == allowed[-1] == 1


def test_a_token_that_does_not_belong_is_named_with_its_place(
    constraint: Constraint, grammar: str, completion: list[int]
) -> None:
    for place in (0, len(completion) - 2):
        wrong = [*completion[:place], 0, *completion[place + 1 :]]
        with pytest.raises(UpdateError, match=f"token 0 at position {place}"):
            constraint.masks(grammar, wrong)


def test_nothing_comes_after_the_end(constraint: Constraint, grammar: str, completion: list[int]) -> None:
    with pytest.raises(UpdateError, match="after the token that ends it"):
        constraint.masks(grammar, [*completion, 0])


def test_a_completion_that_was_cut_off_has_masks_too(
    constraint: Constraint, grammar: str, completion: list[int]
) -> None:
    whole = constraint.masks(grammar, completion)
    for length in range(len(completion)):
        assert constraint.masks(grammar, completion[:length]).equal(whole[:length])


def test_control_tokens_are_never_part_of_an_argument(
    constraint: Constraint, grammar: str, completion: list[int], policy: LocalPolicy
) -> None:
    masks = unpacked(constraint.masks(grammar, completion), constraint.vocabulary)
    free = masks[masks.sum(-1) > 1]
    control = list(policy._codec.control.values())  # pyright: ignore[reportPrivateUsage]  # to tell them apart
    assert not free[:, control].any()
    assert not free[:, 607:].any()  # rows of the model that are no tokens


def test_the_same_string_gives_the_same_masks_in_another_process(
    constraint: Constraint, grammar: str, completion: list[int], tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "in.json").write_text(
        json.dumps([grammar, completion, constraint.vocabulary, constraint.ends])
    )
    program = """
import json, sys
from transformers import AutoTokenizer
from continualcode.plugins.models.local.constraint import Constraint
grammar, ids, vocabulary, ends = json.load(open(sys.argv[2]))
constraint = Constraint(AutoTokenizer.from_pretrained(sys.argv[1]), vocabulary, ends)
print(json.dumps(constraint.masks(grammar, ids).tolist()))
"""
    command = [sys.executable, "-c", program, str(tiny_model_folder), str(tmp_path / "in.json")]
    other = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert torch.tensor(json.loads(other), dtype=torch.int32).equal(constraint.masks(grammar, completion))


def test_without_a_grammar_anything_goes_until_the_end(constraint: Constraint) -> None:
    walk = constraint.walk(None)
    assert walk.step() == ((), None)
    walk.take(5)
    assert not walk.ended
    walk.take(constraint.ends[0])
    assert walk.ended


def test_a_grammar_that_cannot_be_used_is_refused(constraint: Constraint) -> None:
    with pytest.raises(UsageError, match="cannot use the grammar 'start: nothing'"):
        constraint.walk("start: nothing")
    with pytest.raises(UpdateError, match="cannot use the grammar"):
        constraint.masks("start: nothing", [1])


def test_a_schema_that_cannot_be_enforced_is_refused_by_the_tools_name(
    policy: LocalPolicy, tools: tuple[ToolSpec, ...]
) -> None:
    odd = ToolSpec(
        name="odd", description="", parameters={"type": "object", "properties": {"x": {"type": "blob"}}}
    )
    with pytest.raises(UsageError, match="schema of tool 'odd'"):
        policy.grammar((*tools, odd))


@given(token=st.integers(0, 99))
def test_a_packed_mask_of_one_token_holds_that_token(token: int) -> None:
    bits = single(token, 100)
    assert bits.shape == (words(100),)
    assert unpacked(bits, 100).nonzero().numpy().tolist() == [[token]]
    assert [t for t in range(100) if holds(bits, t)] == [token]


def test_scores_are_renormalised_over_what_is_allowed() -> None:
    bits = single(2, 40) | single(31, 40) | single(32, 40)
    logits = torch.arange(40.0)
    found = scores(logits, bits, 0.5)
    assert found.exp().sum().item() == pytest.approx(1.0)
    assert found[[2, 31, 32]].allclose(torch.log_softmax(logits[[2, 31, 32]] / 0.5, -1))
    assert found[33] == float("-inf")
