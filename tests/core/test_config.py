"""Configuration: layers, and errors that name the source and the nearest key."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from continualcode.core.config import Config, SessionConfig, load, options
from continualcode.core.errors import ConfigError


def test_later_layers_win(tmp_path: Path) -> None:
    user, project = tmp_path / "user", tmp_path / "project"
    for folder, steps in ((user, 1), (project, 2)):
        folder.mkdir()
        (folder / "continualcode.toml").write_text(
            f"[sampling]\nmax_tokens = {steps}\n[session]\ninstructions = '{folder.name}'\n"
        )
    config = load(project=project, user=user, sets=["sampling.max_tokens=3"])
    assert (config.sampling.max_tokens, config.session.instructions) == (3, "project")


@pytest.mark.parametrize("text", ["sesion.train=false", "session.trian=false", "sampling.temprature=1.0"])
def test_an_unknown_key_names_the_nearest(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="did you mean '(session|train|temperature)'"):
        load(project=tmp_path, sets=[text])


def test_a_wrong_value_names_where_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "continualcode.toml").write_text("[sampling]\nseed = 'many'\n")
    with pytest.raises(ConfigError, match=r"continualcode.toml: sampling: seed is .*`int`"):
        load(project=tmp_path)


def test_a_file_that_is_not_toml_says_the_line(tmp_path: Path) -> None:
    (tmp_path / "continualcode.toml").write_text("[session\n")
    with pytest.raises(ConfigError, match="not TOML.*line 1"):
        load(project=tmp_path)


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_a_temperature_is_a_number_of_0_or_more(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"--set sampling.*: sampling.temperature is {value}"):
        load(project=tmp_path, sets=[f"sampling.temperature={value}"])


def test_a_completion_has_at_least_one_token(tmp_path: Path) -> None:
    (tmp_path / "continualcode.toml").write_text("[sampling]\nmax_tokens = 0\n")
    with pytest.raises(
        ConfigError, match=r"continualcode.toml: sampling.max_tokens is 0: expected 1 or more"
    ):
        load(project=tmp_path)


def test_a_file_that_cannot_be_looked_at_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="continualcode.toml: cannot be read: File name too long"):
        load(project=tmp_path, user=tmp_path / ("x" * 300))


def test_the_name_of_a_plugin_is_a_key_of_its_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="trainer is a table, such as trainer.name=sdpo"):
        load(project=tmp_path, sets=["trainer=sdpo"])


@pytest.mark.parametrize("text", ["train", "=1", "session..train=1", ".x=1"])
def test_a_set_that_is_no_assignment_shows_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="expected key=value"):
        load(project=tmp_path, sets=[text])


def test_values_are_toml_and_else_strings(tmp_path: Path) -> None:
    config = load(project=tmp_path, sets=["trainer.lr=1e-4", "model.device=cpu", "session.train=false"])
    assert (config.trainer["lr"], config.model["device"], config.session.train) == (1e-4, "cpu", False)


def test_another_name_drops_the_options_of_the_one_before(tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    (user / "continualcode.toml").write_text("[ui]\nname = 'script'\nfile = 'x.toml'\n")
    assert load(project=tmp_path, user=user, over={"ui": {"name": "plain"}}).ui == {"name": "plain"}


@pytest.mark.parametrize(
    "text",
    [
        "ui.name = 'script'",
        "sandbox.name = 'none'",
        "plugins.modules = ['evil']",
        "paths.sessions = '.'",
        "budget.turns = 0",
        "session.approvals = 'sandbox'",
    ],
)
def test_a_project_does_not_decide_what_may_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "continualcode.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be set by a project.*or with --set"):
        load(project=tmp_path)


def test_the_defaults_are_a_configuration(tmp_path: Path) -> None:
    assert load(project=tmp_path) == Config()


class Chosen(msgspec.Struct):
    weights: Literal["full", "int8"] = "full"
    sizes: dict[str, int] = {}


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (SessionConfig, {"checkpoints": -1}, "checkpoints is -1: Expected `int` >= 0"),
        (
            Chosen,
            {"weights": "int4"},
            "weights is 'int4': Invalid enum value 'int4'; allowed: full, int8",
        ),
        (Chosen, {"sizes": {"a": "b"}}, "sizes is {'a': 'b'}: Expected `int`, got `str` (at sizes[...])"),
    ],
)
def test_a_value_that_will_not_do_is_told_back_with_what_would(kind: Any, given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        options(kind, given, "session")
    assert str(error.value) == f"session: {said}"
