"""Which tools a correction is about: the one that was rejected, and those that its words or solution name.

A user who wants another tool says which. So a correction that names none is about how the rejected tool was
called, and the choice of tool is left as it is. The teacher and the student are compared among these tools
only, by the grammar of a turn that can call no other. On thirteen rules for a 0.5B model that made the
teacher's demonstration obey all of them; among all tools it obeyed the rules about commands in half
of the cases, as any contradiction made the model reach for another tool (docs/learning.md).
"""

import re

import msgspec

from continualcode.core.data import ToolSpec
from continualcode.core.events import CorrectionGiven
from continualcode.core.protocols import Policy
from continualcode.core.transcript import SampledTurn


def tools_in_question(turn: SampledTurn, correction: CorrectionGiven) -> tuple[ToolSpec, ...]:
    """Those of the tools offered that `correction` is about; all of them where no call could be read."""
    if turn.call is None:
        return turn.tools
    about = {turn.call.tool} | ({correction.solution.tool} if correction.solution else set[str]())
    return tuple(tool for tool in turn.tools if tool.name in about or _names(correction.feedback, tool.name))


def grammar_of(tools: tuple[ToolSpec, ...], turn: SampledTurn, policy: Policy) -> str | None:
    """The grammar of a call of one of `tools`; the turn's own where that is all of them, or there is none."""
    if turn.grammar is None or len(tools) == len(turn.tools):
        return turn.grammar
    # As tools that end the turn: with no such tool a grammar lets plain text through as well.
    return policy.grammar([msgspec.structs.replace(tool, ends_turn=True) for tool in tools])


def _names(words: str, tool: str) -> bool:
    """Whether `words` name the tool: as a word of its own, not as a part of a path or of another name.

    >>> _names("Use edit_lines.", "edit"), _names("Read it first", "read")
    (False, True)
    """
    return re.search(rf"(?<![\w./-]){re.escape(tool)}(?![\w/-]|\.\w)", words, re.IGNORECASE) is not None
