"""Loads plugins in a fixed order, asks them one by one, and lets none of them take the session down.

pluggy finds and checks the hooks; what it does not give is added here: an order that is the same on
every machine (the built-ins, then installed ones by distribution and name, then those given by
module), isolation (each implementation is called by itself, and its failure is an answer), and
names that belong to one plugin. One manager a session; there is no global one.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, distributions, version
from typing import Any, NamedTuple, TypeVar

import pluggy

from continualcode.core import hookspecs
from continualcode.core.config import PluginsConfig
from continualcode.core.errors import ConfigError, PluginError, UsageError, nearest
from continualcode.core.events import PluginFailed, PluginInfo
from continualcode.core.protocols import Command, FeedbackType, Tool
from continualcode.eventlog import Record

GROUP = "continualcode"
"""The entry-point group and the pluggy project name."""

BUILTINS = {
    "context": "continualcode.plugins.context",
    "sandbox": "continualcode.plugins.sandbox",
    "tools": "continualcode.plugins.tools",
    "feedback": "continualcode.plugins.feedback",
    "linter": "continualcode.plugins.feedback.linter",
    "contradictions": "continualcode.plugins.feedback.contradictions",
    "approvals": "continualcode.plugins.approvals",
    "commands": "continualcode.plugins.commands",
    "rewind": "continualcode.plugins.rewind",
    "sdpo": "continualcode.plugins.trainers.sdpo",
    "local": "continualcode.plugins.models.local",
    "tinker": "continualcode.plugins.models.tinker",
    "scripted": "continualcode.plugins.models.scripted",
    "terminal": "continualcode.plugins.uis.terminal",
    "plain": "continualcode.plugins.uis.plain",
    "script": "continualcode.plugins.uis.script",
    "json": "continualcode.plugins.uis.json_lines",
}
"""The built-in plugins, by name, in the order in which they load; named here only as strings."""

NAMES = {
    "make_policy": ("an alias (cc models list)", "org/name", "scripted:FILE", "tinker:NAME"),
    "make_trainer": ("sdpo",),
    "make_ui": ("terminal", "plain", "json", "script"),
    "make_sandbox": ("bwrap", "none"),
}
"""What the built-ins answer to, by the hook that is asked: said where nobody answers to a name."""

T = TypeVar("T")


class Reply(NamedTuple):
    """What one plugin said to one hook: its answer, or the exception that it raised."""

    plugin: str
    answer: Any
    error: Exception | None


class Plugins:
    """The plugins of one session. `failures` are those to be recorded once there is a log.

    A module that the user named and that cannot be loaded is a UsageError; with `tolerant`, a failure.
    """

    def __init__(
        self, config: PluginsConfig | None = None, *, installed: bool = True, tolerant: bool = False
    ) -> None:
        config = config or PluginsConfig()
        self.failures: list[PluginFailed] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._origin: dict[str, tuple[str, str]] = {}
        self._refuse_unknown(config.disable, installed)
        for name, module in BUILTINS.items():
            if name not in config.disable:
                self._load(
                    name,
                    "continualcode",
                    version("continualcode"),
                    partial(importlib.import_module, module),
                )
        for point, distribution, release in _installed() if installed else ():
            if point.name not in config.disable:
                self._load(point.name, distribution, release, point.load)
        for module in config.modules:
            if module not in config.disable:
                load = partial(importlib.import_module, module)
                self._load(module, "given by module", "", load, named=not tolerant)

    def add(
        self, plugin: object, name: str, distribution: str = "given by object", release: str = ""
    ) -> None:
        """Add a plugin that is at hand: a module or an object with hook implementations.

        Raises PluginError where its hooks do not fit the contract or `name` is taken.
        """
        if name in self._origin:
            raise PluginError(
                f"two plugins are called {name!r}: one from {self._origin[name][0]}, "
                f"one from {distribution}; disable one of them with --no-plugin {name}"
            )
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise PluginError(
                f"plugin {name!r} of {distribution} does not fit the contract: {error}"
            ) from error
        self._origin[name] = (distribution, release)

    def loaded(self) -> tuple[PluginInfo, ...]:
        """Every plugin, in the order in which it loaded."""
        return tuple(
            PluginInfo(name=name, distribution=distribution, version=release, hooks=self._hooks(name))
            for name, (distribution, release) in self._origin.items()
        )

    def ask(self, hook: str, /, **arguments: Any) -> Iterator[Reply]:
        """Call each implementation of `hook` by itself, in load order; None answers are left out."""
        for implementation in self._implementations(hook):
            try:
                answer = implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                yield Reply(implementation.plugin_name, None, error)
            else:
                if answer is not None:
                    yield Reply(implementation.plugin_name, answer, None)

    def first(self, hook: str, /, failed: Callable[[PluginFailed], None], **arguments: Any) -> Any:
        """The first answer to `hook`, later plugins first so that they can stand in for built-ins."""
        for implementation in reversed(self._implementations(hook)):
            try:
                answer = implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                failed(failure(Reply(implementation.plugin_name, None, error), hook))
            else:
                if answer is not None:
                    return answer
        return None

    def tools(self) -> dict[str, Tool]:
        """Every tool by name."""
        return self._collect("register_tools", lambda tool: tool.spec.name)

    def feedback(self, options: Mapping[str, Any] | None = None) -> dict[str, FeedbackType]:
        """Every kind of correction by its `kind`. ConfigError where `options` is about one there is not."""
        options = options or {}
        kinds: dict[str, FeedbackType] = self._collect(
            "register_feedback", lambda feedback: feedback.kind, options=options
        )
        for kind, value in options.items():
            if kind not in kinds:
                raise ConfigError(f"feedback: no kind of correction {kind!r}; {nearest(kind, kinds)}")
            if not isinstance(value, bool | Mapping):
                raise ConfigError(f"feedback.{kind}: {value!r} is neither true, nor false, nor a table")
        return kinds

    def commands(self) -> dict[str, Command]:
        """Every slash command by name."""
        return self._collect("register_commands", lambda command: command.name)

    def _collect(self, hook: str, name_of: Callable[[T], str], **arguments: Any) -> dict[str, T]:
        """All that `hook` registers, by name. A name that two plugins claim is an error naming both."""
        found: dict[str, T] = {}
        owner: dict[str, str] = {}
        for reply in self.ask(hook, **arguments):
            if isinstance(reply.error, ConfigError):
                raise reply.error
            if reply.error is not None:
                self.failures.append(failure(reply, hook))
                continue
            for item in reply.answer:
                name = name_of(item)
                if name in owner:
                    raise PluginError(
                        f"{hook}: the plugins {owner[name]!r} and {reply.plugin!r} both claim "
                        f"the name {name!r}; disable one of them with --no-plugin NAME"
                    )
                owner[name] = reply.plugin
                found[name] = item
        return found

    def event_types(self) -> tuple[type[Record], ...]:
        """The record types that plugins bring along."""
        found: list[type[Record]] = []
        for reply in self.ask("register_events"):
            if reply.error is not None:
                self.failures.append(failure(reply, "register_events"))
            else:
                found += reply.answer
        return tuple(found)

    def choose(self, hook: str, name: str, options: Mapping[str, Any], *build: Any) -> Any:
        """Build what the one plugin that answers to `name` makes; none or several are errors."""
        key = "model" if hook == "make_policy" else "name"
        makers: list[Reply] = []
        for reply in self.ask(hook, **{key: name, "options": options}):
            if reply.error is not None:
                raise reply.error
            makers.append(reply)
        if not makers:
            asked = ", ".join(i.plugin_name for i in self._implementations(hook)) or "no plugin"
            table = "model" if hook == "make_policy" else hook.removeprefix("make_")
            known = [n for n in NAMES[hook] if any(self.ask(hook, **{key: n, "options": {}}))]
            raise ConfigError(
                f"{table}.name is {name!r}, and no plugin answers to that (asked: {asked}); "
                f"{nearest(name, known)}"
            )
        if len(makers) > 1:
            raise PluginError(
                f"{hook}: the plugins {' and '.join(repr(m.plugin) for m in makers)} both claim "
                f"the name {name!r}; disable one of them with --no-plugin NAME"
            )
        return makers[0].answer(*build)

    # -- Loading --------------------------------------------------------------------------------------

    def _load(
        self, name: str, distribution: str, release: str, load: Callable[[], object], named: bool = False
    ) -> None:
        """One that cannot be imported is a recorded failure; one that breaks the contract is an error.

        So is one that the user `named`: their session would go on without what it decides.
        """
        try:
            plugin = load()
        except Exception as error:
            if named:
                missing = isinstance(error, ModuleNotFoundError)
                hint = "; a module in the current folder is found with PYTHONPATH=." if missing else ""
                raise UsageError(
                    f"the plugin {name!r}, named with --plugin or in plugins.modules, cannot be loaded: "
                    f"{type(error).__name__}: {error}{hint}"
                ) from error
            self.failures.append(failure(Reply(name, None, error), "load"))
            return
        self.add(plugin, name, distribution, release)

    def _refuse_unknown(self, disable: Sequence[str], installed: bool) -> None:
        known = {*BUILTINS, *(point.name for point, _, _ in (_installed() if installed else ()))}
        for name in disable:
            if name not in known:
                raise PluginError(f"--no-plugin {name}: there is no such plugin; {nearest(name, known)}")

    def _implementations(self, hook: str) -> list[Any]:
        caller = getattr(self._manager.hook, hook)
        order = {name: place for place, name in enumerate(self._origin)}
        return sorted(caller.get_hookimpls(), key=lambda i: order.get(i.plugin_name, len(order)))

    def _hooks(self, name: str) -> tuple[str, ...]:
        plugin = self._manager.get_plugin(name)
        callers = self._manager.get_hookcallers(plugin) or []
        names = {caller.name for caller in callers}
        return tuple(hook for hook in hook_names() if hook in names)


def failure(reply: Reply, hook: str) -> PluginFailed:
    """A reply that was an exception, as the record of it."""
    error = reply.error
    return PluginFailed(plugin=reply.plugin, hook=hook, error=f"{type(error).__name__}: {error}")


def hook_names() -> tuple[str, ...]:
    """Every hook of the contract, in lifecycle order."""
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    hooks = [(f.__code__.co_firstlineno, name) for name, f in functions if hasattr(f, f"{GROUP}_spec")]
    return tuple(name for _, name in sorted(hooks))


def _installed() -> list[tuple[EntryPoint, str, str]]:
    """Entry points of other distributions, by (distribution, name): the order of no file system."""
    found = {
        (d.metadata["Name"], point.name): (point, d.metadata["Name"], d.version)
        for d in distributions()
        for point in d.entry_points
        if point.group == GROUP
    }
    return [found[key] for key in sorted(found)]
