"""A tokenizer's chat template, asked what it can do by giving it a few turns and reading what comes out."""

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from continualcode.core.data import Json
from continualcode.plugins.models.language.calls import THINK, THOUGHT
from continualcode.plugins.models.language.forms import Turn

CLOSED = f"\n\n{THOUGHT}\n\n"
"""What comes after the beginning of a block of reasoning without any, as Qwen3's template writes it."""


class Template:
    """The chat template of one tokenizer of transformers.

    thinking: whether models that can reason before they answer are asked to. Templates have no common name
    for it; each takes what it knows of these and ignores the rest. One that opens a block of reasoning all
    the same (DeepSeek R1's) has it closed.
    """

    def __init__(self, tokenizer: Any, thinking: bool) -> None:
        self._tokenizer = tokenizer
        self._thinking = thinking
        self.options: dict[str, Any] = {
            "enable_thinking": thinking,  # Qwen
            "thinking": thinking,  # DeepSeek, Kimi
            "reasoning_effort": "medium" if thinking else "low",  # gpt-oss, which cannot do without
        }

    def text(self, turns: Sequence[Turn], tools: Sequence[Json] | None = None, *, asked: bool = True) -> str:
        """The prompt's text; asked: with the beginning of the assistant's turn at its end."""
        text: str = self._tokenizer.apply_chat_template(
            list(turns),
            tools=list(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=asked,
            **self.options,
        )
        if asked and not self._thinking and text.rstrip().endswith(THINK):
            return f"{text.rstrip()}{CLOSED}"
        return text

    def attempt(self, turns: Sequence[Turn], tools: Sequence[Json] | None = None) -> str | None:
        """What the template makes of `turns`; None where it refuses them, as some do by raising."""
        try:
            return self.text(turns, tools)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
            return None

    def header(self) -> str:
        """What the template puts before the assistant's words."""
        turns: list[Turn] = [{"role": "user", "content": "?"}]
        bare, whole = self.text(turns, asked=False), self.text(turns)
        return whole.removeprefix(bare) if whole.startswith(bare) else ""
