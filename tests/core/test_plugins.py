"""Loading plugins: order, names, and what happens to one that does not fit."""

from pathlib import Path

import pytest

from continualcode import hookimpl
from continualcode.core.config import PluginsConfig
from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.errors import ConfigError, PluginError, UsageError
from continualcode.core.events import PluginFailed
from continualcode.core.plugins import BUILTINS, NAMES, Plugins, hook_names


class Shout:
    """A tool called `read`, as the built-in is."""

    spec = ToolSpec(name="read", description="shout", parameters={"type": "object", "properties": {}})

    def run(self, arguments: Arguments, context: object) -> ToolResult:
        return ToolResult(output="!")

    def preview(self, arguments: Arguments, context: object) -> str:
        return "!"

    @hookimpl
    def register_tools(self) -> list["Shout"]:
        return [self]

    @hookimpl
    def make_trainer(self, name: str, options: object) -> object:
        return (lambda: None) if name == "sdpo" else None


def test_the_builtins_load_in_their_order_and_come_from_this_distribution() -> None:
    loaded = Plugins(installed=False).loaded()
    assert [p.name for p in loaded] == list(BUILTINS)
    assert {p.distribution for p in loaded} == {"continualcode"}


def test_every_builtin_implements_a_hook() -> None:
    assert all(p.hooks for p in Plugins(installed=False).loaded())


def test_every_hook_has_a_builtin_or_is_for_observers() -> None:
    used = {hook for p in Plugins(installed=False).loaded() for hook in p.hooks}
    assert set(hook_names()) - used == {"run_tool"}


def test_two_plugins_that_claim_one_tool_are_an_error_naming_both() -> None:
    plugins = Plugins(installed=False)
    plugins.add(Shout(), "shout")
    with pytest.raises(PluginError, match=r"'tools' and 'shout' both claim the name 'read'"):
        plugins.tools()


def test_two_plugins_that_answer_to_one_trainer_are_an_error_naming_both() -> None:
    plugins = Plugins(installed=False)
    plugins.add(Shout(), "shout")
    with pytest.raises(PluginError, match=r"'sdpo' and 'shout' both claim the name 'sdpo'"):
        plugins.choose("make_trainer", "sdpo", {})


@pytest.mark.parametrize(
    ("hook", "name", "said"),
    [
        ("make_trainer", "grpo", r"trainer.name is 'grpo', .*\(asked: sdpo\); allowed: sdpo"),
        ("make_sandbox", "docker", r"sandbox.name is 'docker', .*\(asked: sandbox\); allowed: bwrap, none"),
        (
            "make_ui",
            "plian",
            r"ui.name is 'plian', .*did you mean 'plain'\? Allowed: json, plain, script, term",
        ),
        (
            "make_policy",
            "gguf:x",
            r"model.name is 'gguf:x', .*allowed: an alias .*, org/name, scripted:FILE,",
        ),
    ],
)
def test_a_name_that_no_plugin_answers_to_says_who_was_asked_and_what_is_allowed(
    hook: str, name: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Plugins(installed=False).choose(hook, name, {})


def test_a_name_of_a_plugin_that_was_left_out_is_not_said_to_be_allowed() -> None:
    plugins = Plugins(PluginsConfig(disable=("plain",)), installed=False)
    with pytest.raises(ConfigError, match="ui.name is 'plain', .*; allowed: json, script, terminal$"):
        plugins.choose("make_ui", "plain", {})


@pytest.mark.parametrize("hook", NAMES)
def test_each_name_that_is_said_to_be_allowed_is_answered_to_by_one_plugin(hook: str) -> None:
    key = "model" if hook == "make_policy" else "name"
    for name in NAMES[hook]:
        assert len(list(Plugins(installed=False).ask(hook, **{key: name, "options": {}}))) == 1


def test_two_plugins_of_one_name_are_an_error_naming_both_distributions() -> None:
    plugins = Plugins(installed=False)
    plugins.add(object(), "one", "dist-a")
    with pytest.raises(PluginError, match="one from dist-a, one from dist-b"):
        plugins.add(object(), "one", "dist-b")


def test_a_hook_with_an_argument_that_the_contract_lacks_names_plugin_and_hook() -> None:
    class Wrong:
        @hookimpl
        def build_prompt(self, conversation: object) -> None: ...

    with pytest.raises(PluginError, match=r"(?s)plugin 'wrong'.*build_prompt.*conversation"):
        Plugins(installed=False).add(Wrong(), "wrong")


def test_a_hook_that_the_contract_lacks_is_refused() -> None:
    class Typo:
        @hookimpl
        def register_tool(self) -> None: ...

    with pytest.raises(PluginError, match=r"(?s)plugin 'typo'.*register_tool"):
        Plugins(installed=False).add(Typo(), "typo")


def test_a_module_that_was_named_and_cannot_be_loaded_is_an_error() -> None:
    with pytest.raises(
        UsageError, match=r"'no_such_module', named with --plugin or in plugins.modules, cannot"
    ):
        Plugins(PluginsConfig(modules=("no_such_module",)), installed=False)


def test_an_installed_plugin_that_cannot_be_imported_is_recorded_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[continualcode]\nbroken = no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]  # pytest's own gap
    failures = {f.plugin: f for f in Plugins().failures}
    assert (failures["broken"].hook, failures["broken"].error) == (
        "load",
        "ModuleNotFoundError: No module named 'no_such_module'",
    )


def test_a_tolerant_look_at_the_plugins_records_a_named_module_too() -> None:
    plugins = Plugins(PluginsConfig(modules=("no_such_module",)), installed=False, tolerant=True)
    assert plugins.failures == [
        PluginFailed(
            plugin="no_such_module",
            hook="load",
            error="ModuleNotFoundError: No module named 'no_such_module'",
        )
    ]


def test_disabling_a_plugin_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(PluginError, match="did you mean 'tools'"):
        Plugins(PluginsConfig(disable=("tool",)), installed=False)


def test_a_registration_that_raises_is_recorded_and_the_others_count() -> None:
    class Broken:
        @hookimpl
        def register_tools(self) -> None:
            raise ValueError("boom")

    plugins = Plugins(installed=False)
    plugins.add(Broken(), "broken")
    assert "read" in plugins.tools()
    assert [(f.plugin, f.hook) for f in plugins.failures] == [("broken", "register_tools")]
