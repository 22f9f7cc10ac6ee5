"""continualcode: a coding agent that learns from your corrections.

Everything a plugin author imports from the top level is here: the marker for hook implementations
(`hookimpl`) and the version. The rest of the public surface is `continualcode.core` (the contract)
and `continualcode.eventlog` (the log).
"""

from importlib.metadata import version

import pluggy

__all__ = ["__version__", "hookimpl"]

__version__ = version("continualcode")

hookimpl = pluggy.HookimplMarker("continualcode")
"""Marks a function or method as the implementation of a hook in `continualcode.core.hookspecs`."""
