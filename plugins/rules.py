"""Calls that need no question: those covered by a rule of the log, and reads where the mode says so."""

from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.review import Ruling, matches
from continualcode.core.transcript import Transcript


@hookimpl
def review_tool_call(call: Call, transcript: Transcript) -> Ruling | None:
    """Allow what the user has allowed for good, and say by which rule; no opinion on the rest."""
    for rule_id, rule in transcript.rules.items():
        if matches(rule, call):
            return Ruling(verdict="allow", by=f"rule:{rule_id}")
    config = transcript.started.config if transcript.started else {}
    if config.get("session", {}).get("approvals") == "reads":
        spec = next((tool for tool in transcript.tools if tool.name == call.tool), None)
        if spec is not None and spec.reads_only:
            return Ruling(verdict="allow", by="mode:reads")
    return None
