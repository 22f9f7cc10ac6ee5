"""An example plugin: the tool `outline`, and corrections for calls that leave a `TODO` behind.

Install it (`pip install ./examples/plugin`) and it takes part in every session; `cc plugins list` shows it.
"""

import re

from continualcode import hookimpl
from continualcode.core.data import Arguments, Slots, ToolResult, ToolSpec
from continualcode.core.events import CorrectionGiven, ToolRan
from continualcode.core.protocols import ToolContext
from continualcode.core.transcript import Transcript
from continualcode.eventlog import Record


class Outline:
    """A tool: the functions and classes of a Python file, with their line numbers."""

    spec = ToolSpec(
        name="outline",
        description="list the functions and classes of a Python file",
        parameters={
            "type": "object",
            "properties": {"path": {"type": "string"}},
            "required": ["path"],
            "additionalProperties": False,
        },
        reads_only=True,
    )

    def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        lines = context.workspace.resolve(arguments["path"]).read_text().splitlines()
        found = [f"{n:4}| {line}" for n, line in enumerate(lines, 1) if re.match(r"\s*(def|class)\s", line)]
        return ToolResult(output="\n".join(found) or "no functions or classes")

    def preview(self, arguments: Arguments, context: ToolContext) -> str:
        return f"outline {arguments['path']}"


class LeftTodo:
    """A kind of correction: a call that succeeded, but whose new text still says TODO."""

    kind = "left_todo"

    def notice(self, record: Record, transcript: Transcript) -> CorrectionGiven | None:
        if not isinstance(record, ToolRan) or not record.success or not record.changes:
            return None
        proposed = transcript.call(record.call_id)
        written = str(proposed.call.arguments.get("content") or proposed.call.arguments.get("new") or "")
        if "TODO" not in written:
            return None
        return CorrectionGiven(
            kind=self.kind,
            sample=proposed.sample,
            call_id=record.call_id,
            feedback="Finish the work; don't leave a TODO in its place.",
            by="plugin:example",
        )

    def slots(self, correction: CorrectionGiven, transcript: Transcript) -> Slots:
        return Slots(feedback=correction.feedback)


@hookimpl
def register_tools() -> list[Outline]:
    return [Outline()]


@hookimpl
def register_feedback() -> list[LeftTodo]:
    return [LeftTodo()]
