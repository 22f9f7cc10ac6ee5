"""The sandbox of commands: `bwrap` (bubblewrap, on Linux) and `none`.

    [sandbox]                 # in the user's own settings, or --set sandbox.network=true
    name = "bwrap"            # or "none": commands run with your rights, and are always asked about
    network = false           # true: commands reach the network
    git = false               # true: commands may change .git, but not its hooks and config
    readable = []             # folders of the home folder that commands may read, such as "~/data"
    writable = []             # folders beside the workspace that commands may change

What is in it is in `places`, how it is entered in `bubblewrap`; docs/safety.md says what it holds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from continualcode import hookimpl
from continualcode.core.config import options as checked
from continualcode.core.protocols import Sandbox
from continualcode.core.sandbox import NoSandbox
from continualcode.plugins.sandbox.bubblewrap import Bubblewrap
from continualcode.plugins.sandbox.places import SandboxOptions


@hookimpl
def make_sandbox(name: str, options: Mapping[str, Any]) -> Callable[[Path, Path], Sandbox] | None:
    """Answers to `bwrap` and `none`."""
    if name == "none":
        return lambda workspace, log: NoSandbox("it is turned off (sandbox.name = none)")
    if name != "bwrap":
        return None
    given = checked(SandboxOptions, options, "sandbox")
    return lambda workspace, log: Bubblewrap(workspace, log, given)
