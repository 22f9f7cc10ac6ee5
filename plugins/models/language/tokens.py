"""Text to token ids and back, such that nobody's words become a control token.

A prompt is a chat template's text with other people's words in it: files, tool output, what the user
pasted. A tokenizer turns `<|im_end|>` into the token that ends a turn wherever it stands. So those words
are *guarded* first: a mark is put behind the first character of every control string in them, and `encode`
encodes the text between marks separately, so that no piece holds a whole control string. Text without one
has no mark and is encoded in one go, exactly as transformers does it.

The limit: a tokenizer that matches its added tokens after normalising the text (`normalized: true`) could
be given a control string that only appears by normalising. None of the families here has such tokens.
"""

import bisect
import itertools
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MARK = "\ufdd0"
"""Where `encode` cuts. Unicode keeps this code point for such internal use; in guarded text it is dropped."""


class Codec:
    """Encodes and decodes with one tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend: Tokenizer = tokenizer.backend_tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        # Runs of spaces that some tokenizers add are text like any other, and one character has no inside.
        self.control = {t.content: i for i, t in added.items() if len(t.content) > 1 and t.content.strip()}
        either = "|".join(re.escape(text) for text in sorted(self.control, key=len, reverse=True))
        self._starts = re.compile(f"(?=(?:{either}))(.)", re.DOTALL) if either else None
        self._controls = re.compile(f"({either})") if either else None

    @property
    def size(self) -> int:
        """How many tokens there are, added ones included."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def guard(self, text: str) -> str:
        """`text` for use inside a prompt: it will be encoded as ordinary text, whatever it spells."""
        clean = text.encode("utf-8", "replace").decode("utf-8").replace(MARK, "")  # no lone surrogates either
        return self._starts.sub(rf"\1{MARK}", clean) if self._starts else clean

    def encode(self, text: str) -> list[int]:
        """Token ids of text that may be guarded in part; a control string that is not is its token."""
        ids: list[int] = []
        for piece in text.split(MARK):
            ids += self._backend.encode(piece, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens included."""
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def literally(self, text: str) -> str:
        """A Lark expression for `text` (llguidance's dialect): control strings in it as their tokens."""
        if not text:
            return ""
        parts: list[str] = []
        for piece in self._controls.split(text) if self._controls else [text]:
            if piece in self.control:
                parts.append(piece if piece.isascii() else f"<[{self.control[piece]}]>")
            elif piece:
                parts.append(json.dumps(piece))
        return " ".join(parts)

    def count(self, text: str) -> int:
        """How many tokens somebody's words are, alone."""
        return len(self.encode(self.guard(text)))

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's text; a character that several make stands at the last of them."""
        starts = [len(self.decode(ids[:count]).rstrip("\ufffd")) for count in range(len(ids))]
        text = self.decode(ids)
        return tuple(text[a:b] for a, b in itertools.pairwise([*starts, len(text)]))

    def truncate(self, text: str, tokens: int) -> str:
        """`text`, or of its beginning and its end as much as fits in `tokens`, with a note of the cut."""
        total = self.count(text)
        if total <= tokens:
            return text
        low, high = 0, len(text) // 2  # characters kept on each side
        best = next((t for t in (_cut(text, 0, total), "…", "") if self.count(t) <= tokens), "")
        while low < high:
            middle = (low + high + 1) // 2
            shorter = _cut(text, middle, total)
            if self.count(shorter) <= tokens:
                best, low = shorter, middle
            else:
                high = middle - 1
        return best

    def span(self, ids: Sequence[int], start: int, end: int) -> tuple[int, int]:
        """The tokens, half open, that the characters `start` to `end` of `decode(ids)` are made of."""

        def whole(count: int) -> int:
            """How many whole characters the first `count` tokens are."""
            return len(self.decode(ids[:count]).rstrip("\ufffd"))

        counts = range(len(ids) + 1)
        first = min(len(ids), bisect.bisect_left(counts, start, key=whole))
        last = min(len(ids), bisect.bisect_left(counts, end, key=whole))
        # One token may hold the end of the character before `start` and the beginning of that at it.
        return (first if len(self.decode(ids[:first])) <= start else first - 1), last


def _cut(text: str, keep: int, tokens: int) -> str:
    """`keep` characters of each end of `text`, which has `tokens` tokens."""
    return f"{text[:keep]}\n[… cut in the middle, {tokens} tokens in all …]\n{text[len(text) - keep :]}"
