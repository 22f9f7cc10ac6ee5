"""The built-in tools, each small enough for a model of half a billion parameters to use.

| tool | does | in |
|---|---|---|
| read, write | a file as numbered lines; a file as a whole | `files` |
| edit, edit_lines | one exact piece of text; a range of lines | `edits`, on `changing` |
| glob, grep | paths by pattern; lines by regular expression | `search` |
| bash | a shell command | `shell`, on `process` |
| reply | the answer that ends the turn | `reply` |

Arguments are flat; a failure says what was wrong, what is really there, and which call to make next
(`refusal`). Files are reached through `continualcode.core.workspace` only.
"""

from continualcode import hookimpl
from continualcode.core.protocols import Tool
from continualcode.plugins.tools.edits import edit, edit_lines
from continualcode.plugins.tools.files import Read, write
from continualcode.plugins.tools.reply import Reply
from continualcode.plugins.tools.search import Glob, Grep
from continualcode.plugins.tools.shell import Bash


@hookimpl
def register_tools() -> list[Tool]:
    """The eight tools of the table above, in the order in which the model is told of them."""
    return [Read(), write, edit, edit_lines, Glob(), Grep(), Bash(), Reply()]
