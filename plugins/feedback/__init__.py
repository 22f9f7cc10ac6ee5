"""The built-in kinds of correction: what people and tests say of a call, as something to learn from.

| kind | in | noticed when | by default |
|---|---|---|---|
| deny | `deny` | a call is denied, with words | on |
| edit | `edit` | the user changed a call's arguments | on |
| tool_failure | `tool_failure`, `wrong` | the user or a rule calls wrong what ran | on |
| approved_retry | `approved_retry` | the call that answers a correction was approved and ran | off |
| failing_test | `failing_test`, `runs` | tests show that a change broke one, or did not mend one | off |

docs/feedback.md says what each trains on and what the teacher is told; `linter` is a plugin of its own, as it
runs something. Notes are no kind: they join the
feedback of the next correction (`note.with_notes`). A command that exits non-zero is not a mistake by itself:
a failing test is information.
"""

from collections.abc import Mapping
from typing import Any

from continualcode import hookimpl
from continualcode.core.protocols import Command, FeedbackType
from continualcode.plugins.feedback.approved_retry import ApprovedRetry
from continualcode.plugins.feedback.deny import Deny
from continualcode.plugins.feedback.edit import Edit
from continualcode.plugins.feedback.failing_test import FailingTest
from continualcode.plugins.feedback.tool_failure import ToolFailure
from continualcode.plugins.feedback.wrong import Wrong


@hookimpl
def register_feedback(options: Mapping[str, Any]) -> list[FeedbackType]:
    """The kinds of the table above; those that are off notice nothing."""
    return [
        Deny(),
        Edit(),
        ToolFailure(),
        ApprovedRetry(on=bool(options.get("approved_retry"))),
        FailingTest(on=bool(options.get("failing_test"))),
    ]


@hookimpl
def register_commands() -> list[Command]:
    """/wrong."""
    return [Wrong()]
