"""`reply`: the answer to the user. A call like any other, so that a grammar of calls covers every turn."""

from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.protocols import ToolContext
from continualcode.core.schema import flat_schema

REPLY = ToolSpec(
    name="reply",
    description="Answer the user in words, when the work is done or you have a question.",
    parameters=flat_schema({"text": ("string", "what to say")}),
    reads_only=True,
    ends_turn=True,
)


class Reply:
    """Says its text, and ends the turn."""

    spec = REPLY

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """The text."""
        return ToolResult(output=arguments["text"])

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        """The text."""
        return str(arguments["text"])
