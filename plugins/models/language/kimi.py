"""Kimi K2's form: a frame of control tokens, the tool named as `functions.NAME:INDEX`.

    <|tool_calls_section_begin|><|tool_call_begin|>functions.read:0<|tool_call_argument_begin|>
    {"path": "a.py"}<|tool_call_end|><|tool_calls_section_end|>                        (without a line end)

https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md. The index counts the
calls of a conversation; what a model writes for it is not looked at.
"""

import re

from continualcode.plugins.models.language.forms import Framed


class Kimi(Framed):
    """The frame with an index behind the name."""

    def spelled(self, found: re.Match[str], name: str) -> str:
        """With the index that was written: any will do."""
        return self.before(name).replace(":0<", f"{found['index'] or ':0'}<")


KIMI = Kimi(
    "kimi",
    r"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>\s*(?:functions\.)?"
    r"(?P<name>[^<{}\n]*?)(?P<index>:\d+)?\s*<\|tool_call_argument_begin\|>\s*",
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>",
    "<|tool_call_end|><|tool_calls_section_end|>",
)
