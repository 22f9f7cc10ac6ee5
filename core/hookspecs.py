"""The contract: every hook that continualcode calls, in the order of a session's life.

Implement what you need as functions of a module or methods of an object, marked with
`continualcode.hookimpl`, and name the module in your package's `continualcode` entry-point group.
Take only the arguments that you use. The objects that hooks return are described in
`continualcode.core.protocols`; the built-in plugins use these same hooks.

Plugins load by (distribution, name), so the order is the same on every machine, and it is recorded.
A hook that raises is recorded as `plugin_failed` and the session goes on, with one exception: a
review that raises is a deny.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from continualcode.core.data import Call, Message, ToolResult
from continualcode.core.protocols import (
    UI,
    Command,
    FeedbackType,
    Policy,
    Progress,
    Sandbox,
    Tool,
    ToolContext,
    Trainer,
)
from continualcode.eventlog import Record

if TYPE_CHECKING:
    from continualcode.core.review import Ruling
    from continualcode.core.session import Session
    from continualcode.core.transcript import Transcript

hookspec = pluggy.HookspecMarker("continualcode")


# -- The session starts: what there is ---------------------------------------------------------------


@hookspec
def register_events() -> Sequence[type[Record]] | None:
    """Your own record types, tagged `yourprefix.name`. Called before the log is opened; None: no types."""


@hookspec
def register_tools() -> Sequence[Tool] | None:
    """Tools for the model. Called once a session; a name claimed twice is an error; None: no tools."""


@hookspec
def register_feedback(options: Mapping[str, Any]) -> Sequence[FeedbackType] | None:
    """Kinds of correction. Called once a session; a kind that two claim is an error; None: no kinds.

    `options` is `[feedback]` of the configuration: by kind, true, false or a table. Return every kind, also
    one that is to notice nothing because it was not turned on: a log may hold corrections of it.
    """


@hookspec
def register_commands() -> Sequence[Command] | None:
    """Slash commands for every UI. Called once a session; None: no commands."""


# -- One of each is chosen by name -------------------------------------------------------------------
# Answer with a callable that builds it, or None if the name is not yours. Do nothing heavy before that
# callable is called. Two plugins that answer to one name are an error that names both.


@hookspec
def make_policy(model: str, options: Mapping[str, Any]) -> Callable[[Progress], Policy] | None:
    """The policy for `model` (`[model]` in the configuration); None: not a model of yours.

    What you return is called with a `Progress`, to tell how far a download or a load has come.
    """


@hookspec
def make_trainer(name: str, options: Mapping[str, Any]) -> Callable[[], Trainer] | None:
    """The trainer called `name` (`[trainer]` in the configuration); None: not yours."""


@hookspec
def make_ui(name: str, options: Mapping[str, Any]) -> Callable[[], UI] | None:
    """The user interface called `name` (`[ui]` in the configuration, `--ui`); None: not yours."""


@hookspec
def make_sandbox(name: str, options: Mapping[str, Any]) -> Callable[[Path, Path], Sandbox] | None:
    """What encloses commands, called `name` (`[sandbox]` in the configuration); None: not yours.

    What you return is called with the workspace's folder and the path of the log.
    """


# -- A turn ------------------------------------------------------------------------------------------


@hookspec(firstresult=True)
def build_prompt(transcript: "Transcript") -> Sequence[Message] | None:
    """What the model sees, if not `transcript.messages`. Asked before each sample; the first answer counts.

    An answer that differs is recorded (`context_built`) and becomes the conversation from there on: this
    is where a system message, project context and compaction come from. The policy adds the tools in
    its family's way. None: leave the conversation as it is, or to the next plugin.
    """


@hookspec
def review_tool_call(call: Call, transcript: "Transcript") -> "Ruling | None":
    """May this call run? Every plugin is asked: deny beats ask beats allow; None: no opinion.

    With no opinion at all the user is asked. An exception counts as a deny, with its message as the
    reason. Never first-result: no plugin can approve on behalf of the others.
    """


@hookspec(firstresult=True)
def run_tool(call: Call, context: ToolContext) -> ToolResult | None:
    """Run an approved call somewhere else (a container, another machine). None: run it here, as usual."""


# -- After every fact --------------------------------------------------------------------------------


@hookspec
def event_appended(record: Record, transcript: "Transcript", session: "Session") -> Sequence[Record] | None:
    """A record is durable. What you return is appended with this record as its cause; None: nothing.

    Each observer is isolated from the others. `session` is for looking (where the workspace and the log are);
    facts go through what you return. Not called in replay: what it returned is in the log.
    """
