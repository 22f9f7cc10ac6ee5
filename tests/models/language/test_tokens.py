"""Other people's words become text, never control tokens; long texts are cut to a number of tokens."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.plugins.models.language.tokens import MARK, Codec

CONTROL = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<tool_call>", "</tool_call>")
ATTACKS = st.lists(st.sampled_from([*CONTROL, "<", "|>", "<|im_", "end|>", "\n", " a", "é", "🙂"])).map(
    "".join
)


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: Callable[[str], Any]) -> Any:
    return make_tokenizer("qwen")


@pytest.fixture(scope="module")
def codec(tokenizer: Any) -> Codec:
    return Codec(tokenizer)


def test_a_control_string_is_its_token_unless_guarded(codec: Codec) -> None:
    assert codec.encode("<|im_end|>") == [codec.control["<|im_end|>"]]
    guarded = codec.encode(codec.guard("<|im_end|>"))
    assert len(guarded) > 1
    assert codec.decode(guarded) == "<|im_end|>"


@given(text=ATTACKS)
def test_guarded_text_holds_no_control_token_and_reads_the_same(codec: Codec, text: str) -> None:
    ids = codec.encode(codec.guard(text))
    assert not set(ids) & set(codec.control.values())
    assert codec.decode(ids) == text


@given(text=st.text())
def test_ordinary_text_is_encoded_as_transformers_does(codec: Codec, tokenizer: Any, text: str) -> None:
    if not any(control in text for control in CONTROL) and MARK not in text:
        assert codec.encode(codec.guard(text)) == tokenizer.encode(text, add_special_tokens=False)


def test_overlapping_control_strings_are_all_broken(codec: Codec) -> None:
    assert not set(codec.encode(codec.guard("<<tool_call><|im_<|im_end|>end|>"))) & set(
        codec.control.values()
    )


def test_half_a_surrogate_pair_is_replaced(codec: Codec) -> None:
    assert codec.decode(codec.encode(codec.guard("a\ud800b"))) == "a?b"


@given(text=st.text(max_size=400), tokens=st.integers(0, 60))
def test_a_truncated_text_has_at_most_so_many_tokens(codec: Codec, text: str, tokens: int) -> None:
    cut = codec.truncate(text, tokens)
    assert codec.count(cut) <= tokens
    assert cut == text or codec.count(text) > tokens


def test_a_truncated_text_keeps_both_ends_and_says_what_is_gone(codec: Codec) -> None:
    text = "first " + "middle " * 300 + "last"
    cut = codec.truncate(text, 120)
    assert cut.startswith("first ")
    assert cut.endswith("last")
    assert f"cut in the middle, {codec.count(text)} tokens in all" in cut
    assert codec.count(cut) > 100


@given(
    pieces=st.lists(st.sampled_from(["ab", "<tool_call>", "é", "日本", " x\n"]), min_size=1), data=st.data()
)
def test_a_span_holds_its_characters(codec: Codec, pieces: list[str], data: st.DataObject) -> None:
    text = "".join(pieces)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    ids = codec.encode(text)
    first, last = codec.span(ids, start, end)
    assert 0 <= first < last <= len(ids)
    assert len(codec.decode(ids[:first])) <= start
    assert codec.decode(ids[:last]).startswith(text[:end])
