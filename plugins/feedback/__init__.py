"""The built-in kinds of correction: what a person does at the prompt, as something to learn from.

| kind | noticed in | trains on | told to the teacher |
|---|---|---|---|
| deny | a denied call | the denied sample | the user's words |
| edit | arguments that the user changed | the proposed sample | what was changed, and the edited call |
| tool_failure | a call denied after it ran | its sample | the user's words, the call's output |

Notes are no kind of their own: they join the feedback of the next correction (`note.with_notes`). A command
that exits non-zero is not a mistake by itself, a failing test is information: only a person, or a rule,
can say that a call was wrong.
"""

from continualcode import hookimpl
from continualcode.core.protocols import FeedbackType
from continualcode.plugins.feedback.deny import Deny
from continualcode.plugins.feedback.edit import Edit
from continualcode.plugins.feedback.tool_failure import ToolFailure


@hookimpl
def register_feedback() -> list[FeedbackType]:
    """The three kinds of the table above."""
    return [Deny(), Edit(), ToolFailure()]
