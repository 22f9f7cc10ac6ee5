"""Loading plugins: order, names, and what happens to one that does not fit."""

import pytest

from continualcode import hookimpl
from continualcode.core.config import PluginsConfig
from continualcode.core.data import Arguments, ToolResult, ToolSpec
from continualcode.core.errors import PluginError
from continualcode.core.events import PluginFailed
from continualcode.core.plugins import BUILTINS, Plugins, hook_names


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


def test_a_name_that_no_plugin_answers_to_says_who_was_asked() -> None:
    with pytest.raises(PluginError, match="no plugin answers to the trainer 'grpo'; asked: sdpo"):
        Plugins(installed=False).choose("make_trainer", "grpo", {})


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


def test_a_plugin_that_cannot_be_imported_is_recorded_not_fatal() -> None:
    plugins = Plugins(PluginsConfig(modules=("no_such_module",)), installed=False)
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
