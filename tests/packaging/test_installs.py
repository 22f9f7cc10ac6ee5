"""What an installation can do: the base install without torch, the editable one, the types."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Environment

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, json, pkgutil, continualcode
failed, packages = {}, ["continualcode"]
for module in pkgutil.walk_packages(continualcode.__path__, "continualcode.", onerror=lambda name: None):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        failed[module.name] = error.name
    if module.ispkg:
        packages.append(module.name)
print(json.dumps([failed, packages]))
"""
WRITE_A_LOG = """
import sys
from continualcode.core.events import NoteGiven
from continualcode.eventlog import LogWriter, Registry
registry = Registry()
registry.register(NoteGiven)
with LogWriter.create(sys.argv[1], registry) as log:
    log.append(NoteGiven(text="use tabs"))
"""


# -- The base install ---------------------------------------------------------------------------------


def test_the_base_install_is_a_handful_of_packages(base: "Environment") -> None:
    code = "from importlib.metadata import distributions; print(*{d.name for d in distributions()})"
    names = {name.lower() for name in base.python(code).split()}
    assert names == {
        "continualcode",
        "click",
        "msgspec",
        "pathspec",
        "platformdirs",
        "pluggy",
        "structlog",
        "tree-sitter",
        "tree-sitter-bash",
    } | (
        names & {"typing_extensions"}  # structlog's, on Python before 3.13
    )


def test_every_package_is_importable_without_torch(base: "Environment") -> None:
    """And what is not is part of a model or the terminal, and lacks what its extra installs."""
    failed, packages = json.loads(base.python(IMPORT_ALL))
    models = [f"continualcode.plugins.models.{name}." for name in ("language", "local", "tinker")]
    needing = (*models, "continualcode.plugins.uis.terminal")
    assert len(packages) > 8
    assert not set(packages) & set(failed)
    assert {name for name in failed if not name.startswith(needing)} == set()
    extra = {
        "prompt_toolkit",
        "rich",
        "tinker",
        "jinja2",
        "numpy",
        "llguidance",
        "peft",
        "safetensors",
        "tokenizers",
        "torch",
        "transformers",
    }
    assert set(failed.values()) <= extra


@pytest.mark.parametrize("name", ["continualcode", "cc"])
def test_the_base_install_shows_its_help(base: "Environment", name: str) -> None:
    assert f"Usage: {name}" in base.run(name, "--help").stdout


def test_the_base_install_lists_its_plugins_and_models(base: "Environment") -> None:
    assert json.loads(base.run("continualcode", "plugins", "list", "--json").stdout)
    assert json.loads(base.run("continualcode", "models", "list", "--json").stdout)


def test_the_base_install_says_which_extra_a_model_needs(base: "Environment", tmp_path: Path) -> None:
    ran = base.run("continualcode", "run", tmp_path, "--log", tmp_path / "log.jsonl", check=False)
    assert ran.returncode in (1, 2)
    assert "continualcode[local]" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_base_install_verifies_and_shows_a_log(base: "Environment", tmp_path: Path) -> None:
    log = tmp_path / "session.jsonl"
    base.run("python", "-I", "-c", WRITE_A_LOG, log)
    assert base.run("continualcode", "log", "verify", log).returncode == 0
    assert "use tabs" in base.run("continualcode", "log", "show", log).stdout


def test_the_base_install_finds_a_changed_byte(base: "Environment", tmp_path: Path) -> None:
    log = tmp_path / "session.jsonl"
    base.run("python", "-I", "-c", WRITE_A_LOG, log)
    log.write_bytes(log.read_bytes().replace(b"use tabs", b"use taps"))
    ran = base.run("continualcode", "log", "verify", log, check=False)
    assert ran.returncode == 1
    assert "Unexpected" not in ran.stderr


# -- Types --------------------------------------------------------------------------------------------


def test_a_plugin_is_type_checked_against_the_installed_package(base: "Environment", tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "from continualcode import hookimpl\n"
        "from continualcode.core.data import Call\n\n\n"
        "@hookimpl\n"
        "def review_tool_call(call: Call) -> None:\n"
        "    reveal_type(call)\n"
    )
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable"]
    ran = subprocess.run(
        [*mypy, base.script("python"), plugin], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert 'Revealed type is "continualcode.core.data.Call"' in ran.stdout
    assert ran.returncode == 0, ran.stdout


# -- The editable install -----------------------------------------------------------------------------


def test_an_editable_install_runs_the_working_tree(
    new_environment: Callable[[Sequence[str | Path]], "Environment"],
) -> None:
    editable = new_environment(["--editable", ROOT])
    code = (
        "import continualcode.core.errors as e, continualcode as c; print(e.__file__); print(c.__version__)"
    )
    file, version = editable.python(code).splitlines()
    assert Path(file).resolve() == ROOT / "core" / "errors.py"
    assert version in editable.run("continualcode", "--version").stdout
    assert not editable.python("import importlib.util as u; print(u.find_spec('core') or '')")
