"""continualcode: a coding agent that learns from your corrections.

Everything a plugin author imports from the top level is here: the marker for hook implementations
(`hookimpl`) and the version. The rest of the public surface is `continualcode.core` (the contract)
and `continualcode.eventlog` (the log).

Both are made when they are first asked for: `cc` in a build imports this package once for every C file
and needs neither (pluggy and importlib.metadata take about 40 ms).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pluggy

    __version__: str
    hookimpl: pluggy.HookimplMarker
    """Marks a function or method as the implementation of a hook in `continualcode.core.hookspecs`."""

__all__ = ["__version__", "hookimpl"]


def __getattr__(name: str) -> object:
    if name == "hookimpl":
        import pluggy

        value: object = pluggy.HookimplMarker("continualcode")
    elif name == "__version__":
        from importlib.metadata import version

        value = version("continualcode")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value
