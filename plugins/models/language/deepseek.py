"""DeepSeek's forms: frames of control tokens around a name and a JSON object.

V3.1, https://huggingface.co/deepseek-ai/DeepSeek-V3.1 ("ToolCall"):

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>read<｜tool▁sep｜>{"path": "a.py"}
    <｜tool▁call▁end｜><｜tool▁calls▁end｜>                                           (without a line end)

V3 and R1 put `function` before the separator, and the name and fenced JSON after it. Their templates list no
tools; the model card says how to.
"""

from collections.abc import Sequence

from continualcode.core.data import Json
from continualcode.plugins.models.language.forms import Framed, dumps

BEGIN = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"
SEPARATOR, END = "<｜tool▁sep｜>", "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
_HEADER = (
    r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>\s*(?:function\s*<｜tool▁sep｜>)?"
    r"(?P<name>[^<｜{}\n]*)\s*(?:<｜tool▁sep｜>)?\s*(?:```(?:json)?\s*)?"
)
RULES = """IMPORTANT: ALWAYS adhere to this exact format for tool use:
{example}

Where:
- `tool_call_name` must be an exact match to one of the available tools
- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema
- For multiple tool calls, chain them directly without separators or spaces"""


class DeepSeek(Framed):
    """One of the two frames."""

    def listing(self, functions: Sequence[Json]) -> str:
        """The model card's."""
        tools = "\n".join(
            f"### {tool['name']}\nDescription: {tool['description']}\n\n"
            f"Parameters: {dumps(tool['parameters'])}\n"
            for tool in functions
        )
        example = self._before.format(name="tool_call_name") + "tool_call_arguments" + self._after
        rules = RULES.format(example=example)
        return f"## Tools\nYou have access to the following tools:\n\n{tools}\n{rules}"


V31 = DeepSeek("deepseek", _HEADER, BEGIN + "{name}" + SEPARATOR, END)
R1 = DeepSeek("deepseek-r1", _HEADER, BEGIN + "function" + SEPARATOR + "{name}\n```json\n", "\n```" + END)
