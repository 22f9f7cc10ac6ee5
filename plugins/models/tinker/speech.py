"""The model's language, as a server knows nothing of it: tokens from text, and completions from tokens."""

from collections.abc import Sequence
from typing import Any

from continualcode.core.data import Sample, StopReason, ToolSpec
from continualcode.core.errors import UpdateError
from continualcode.plugins.models.language import opening
from continualcode.plugins.models.language.families import Language, ToolList


class Speech:
    """One tokenizer's language, and how turns are begun (`opening`). opens: whether they are."""

    def __init__(
        self, tokenizer: Any, *, opens: bool, tool_list: ToolList = "auto", thinking: bool = False
    ) -> None:
        self.language = Language(tokenizer, tool_list=tool_list, thinking=thinking)
        self.codec = self.language.codec
        self.ends = self.language.ends
        self._opens = opens and not thinking

    def grammar(self, tools: Sequence[ToolSpec]) -> str | None:
        """How a turn begins, as a grammar that can be logged; None: as the model likes."""
        return opening.grammar(self.language, tools) if self._opens else None

    def begun(self, prompt_ids: Sequence[int], grammar: str | None) -> tuple[list[int], int]:
        """The prompt and what the completion begins with; how many tokens that is."""
        head = self._head(grammar)
        return [*prompt_ids, *head], len(head)

    def forced(self, grammar: str | None, completion_ids: Sequence[int]) -> int:
        """How many tokens of a completion were given to it.

        Raises UpdateError where it does not begin so, or was drawn among what a grammar allowed.
        """
        head = self._head(grammar)
        if grammar is not None and not head:
            raise UpdateError(
                "it was drawn under a grammar, and a Tinker server masks no tokens: its scores would be of "
                "other choices. A local model that begins its turns as a server does draws under none "
                "(--set model.opening=true); or give what was said again: cc replay LOG --model NAME"
            )
        given = list(completion_ids[: len(head)])
        if given != head[: len(given)]:
            raise UpdateError("the completion does not begin as its grammar says")
        return len(given)

    def sample(self, head: int, ids: Sequence[int], logprobs: Sequence[float], seconds: float) -> Sample:
        """A completion: its first `head` tokens were given to it, `logprobs` are of those after them."""
        ended = bool(ids) and ids[-1] in self.ends
        stop: StopReason = "end" if ended else "length"
        return Sample(
            token_ids=tuple(ids),
            logprobs=(*(0.0,) * head, *logprobs),
            text=self.codec.decode(ids[:-1] if ended else ids),
            stop=stop,
            decode_seconds=seconds,
        )

    def _head(self, grammar: str | None) -> list[int]:
        text = opening.head(grammar)
        return [] if text is None else self.codec.encode(text)
