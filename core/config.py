"""Configuration: one typed struct, read from the project's file, the user's file and `--set`.

Later layers win: defaults < the user's `continualcode.toml` (in the platform's config folder) < the
project's `continualcode.toml` < `--set key=value`. An unknown key is an error that names its source
and the nearest key. The tables `model`, `trainer`, `ui` and `sandbox` hold a `name` and options that
belong to the plugin that answers to that name; it checks them with `options`. In `feedback`, a key is a
kind of correction, and its value true, false, or a table of that kind's options.

A project's file may come from anyone, or from the model: what decides what may run, and where, is not
for it to say (`NOT_FOR_PROJECTS`).
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Meta

from continualcode.core.data import SamplingParams
from continualcode.core.errors import ConfigError, nearest

NOT_FOR_PROJECTS = {
    "ui": (),
    "sandbox": (),
    "plugins": (),
    "paths": (),
    "budget": (),
    "session": ("approvals",),
}
"""Tables that a project's file cannot have; where keys are named, only those of the table."""

PLUGINS_TABLES = frozenset({"model", "trainer", "ui", "sandbox"})
"""Tables of a plugin's options and of its name."""

DEFAULT_MODEL = "qwen2.5-coder-0.5b"
FILE_NAME = "continualcode.toml"

T = TypeVar("T", bound=msgspec.Struct)


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How a session runs. `approvals`: what runs unasked (plugins/approvals): ask, reads, sandbox, or plan.

    `snapshots`: record the workspace before and after each tool that can change it, so that /undo can put
    files back. `checkpoints`: of how many sessions the last weights are kept on disk, those used last (0.1
    GB each with the default model); 0: none, and a session that goes on trains its updates again.
    """

    train: bool = True
    approvals: Literal["ask", "reads", "sandbox", "plan"] = "ask"
    instructions: str = ""
    snapshots: bool = True
    checkpoints: Annotated[int, Meta(ge=0)] = 8


class BudgetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What one prompt may use before the turn ends by itself (`core.limits`); 0: without limit.

    turns: times that the model speaks. seconds: of the model and of tools. output: bytes that tools say.
    tokens: that the model says. repeats: how often the same may happen in a row.
    """

    turns: Annotated[int, Meta(ge=0)] = 20
    seconds: Annotated[float, Meta(ge=0.0)] = 3600.0
    output: Annotated[int, Meta(ge=0)] = 1_000_000
    tokens: Annotated[int, Meta(ge=0)] = 50_000
    repeats: Annotated[int, Meta(ge=0)] = 3

    def __post_init__(self) -> None:
        if self.repeats == 1:
            raise ValueError("repeats is 1: once is no repetition; give 0 (off), or 2 or more")


class PluginsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which plugins take part: `modules` are loaded besides those installed, `disable` are left out."""

    modules: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


class PathsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where things lie; None is the platform's usual place (platformdirs)."""

    sessions: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of a session, as it is recorded in `session_started`."""

    model: dict[str, Any] = msgspec.field(default_factory=lambda: {"name": DEFAULT_MODEL})
    trainer: dict[str, Any] = msgspec.field(default_factory=lambda: {"name": "sdpo"})
    ui: dict[str, Any] = msgspec.field(default_factory=lambda: {"name": "terminal"})
    sandbox: dict[str, Any] = msgspec.field(default_factory=lambda: {"name": "bwrap"})
    feedback: dict[str, Any] = msgspec.field(default_factory=dict)
    sampling: SamplingParams = SamplingParams()
    session: SessionConfig = SessionConfig()
    budget: BudgetConfig = BudgetConfig()
    plugins: PluginsConfig = PluginsConfig()
    paths: PathsConfig = PathsConfig()

    def __post_init__(self) -> None:
        # Not for `SamplingParams` to say: those of an older log stay readable, whatever they are.
        drawn = self.sampling
        if not 0.0 <= drawn.temperature < math.inf:
            raise ValueError(f"sampling.temperature is {drawn.temperature}: expected a number of 0 or more")
        if drawn.max_tokens < 1:
            raise ValueError(f"sampling.max_tokens is {drawn.max_tokens}: expected 1 or more")


def options(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """`given` as a `cls` (a msgspec struct), or a ConfigError that names `where`, the key, what is allowed.

    The key `name` is ignored where `cls` has no such field: it chose the plugin.
    """
    fields = {f.encode_name: f for f in msgspec.structs.fields(cls)}
    table = {k: v for k, v in given.items() if k in fields or k != "name"}
    for key, value in table.items():
        if key not in fields:
            raise ConfigError(f"{where}: unknown key {key!r}; {nearest(key, fields)}")
        inner = fields[key].type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, Mapping):
            options(inner, cast(Mapping[str, Any], value), f"{where}: {key}")
    try:
        return msgspec.convert(table, cls)
    except msgspec.ValidationError as error:
        found = re.fullmatch(r"(.*) - at `\$\.(\w+)(.*)`", str(error))
        if found is None or found[2] not in table:
            raise ConfigError(f"{where}: {error}") from None
        why, key, inside = found.groups()
        kind = fields[key].type
        allowed = f"; allowed: {', '.join(map(str, get_args(kind)))}" if get_origin(kind) is Literal else ""
        at = f" (at {key}{inside})" if inside else ""
        raise ConfigError(f"{where}: {key} is {table[key]!r}: {why}{at}{allowed}") from None


def load(
    *,
    project: Path,
    user: Path | None = None,
    sets: Sequence[str] = (),
    over: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration for `project`: files, then `over` (flags), then `sets` (`key.sub=value`)."""
    merged: dict[str, Any] = msgspec.to_builtins(Config())
    own = user / FILE_NAME if user else None
    for path in (own, project / FILE_NAME):
        if path is not None:
            layer = _read(path)
            if path != own:
                _refuse(layer, path, own)
            _merge(merged, layer, str(path))
    _merge(merged, over or {}, "the command line")
    for item in sets:
        _merge(merged, parse_set(item), f"--set {item}")
    return options(Config, merged, "configuration")


def _refuse(layer: Mapping[str, Any], path: Path, own: Path | None) -> None:
    for table, keys in NOT_FOR_PROJECTS.items():
        given = layer.get(table)
        if given is None:
            continue
        inner: Mapping[str, Any] = cast(Mapping[str, Any], given) if isinstance(given, Mapping) else {}
        named = [f"{table}.{key}" for key in keys if key in inner] if keys else [table]
        if named:
            raise ConfigError(
                f"{path}: {named[0]} cannot be set by a project, as its files may come from others; "
                f"set it in {own or 'your own ' + FILE_NAME}, or with --set {named[0]}…"
            )


def _read(path: Path) -> dict[str, Any]:
    """What the file says; nothing, where there is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def parse_set(item: str) -> dict[str, Any]:
    """`--set trainer.lr=1e-4` as a nested table. The value is TOML; what is not TOML is a string."""
    key, equals, text = item.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {item!r}: expected key=value, for example --set trainer.max_steps=2")
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    first, *rest = key.split(".")
    for part in reversed(rest):
        value = {part: value}
    return {first: value}


def _merge(base: dict[str, Any], layer: Mapping[str, Any], source: str) -> None:
    """Lay `layer` over `base`, in place, and check that the result is still a configuration."""
    for key in PLUGINS_TABLES & layer.keys():
        if not isinstance(layer[key], Mapping):
            raise ConfigError(f"{source}: {key} is a table, such as {key}.name={layer[key]}")
    _overlay(base, layer)
    options(Config, base, source)


def _overlay(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Tables merge; anything else replaces. Another `name` drops the options of the one before."""
    for key, value in layer.items():
        below = base.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            table, over = cast(dict[str, Any], below), cast(Mapping[str, Any], value)
            if "name" in over and table.get("name") != over["name"]:
                table.clear()
            _overlay(table, over)
        else:
            base[key] = value
