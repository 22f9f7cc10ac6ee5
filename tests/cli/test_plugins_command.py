"""`--plugin` and `cc plugins` on the command line, the first example of docs/plugins.md among them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def cc(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The console script, in a folder: it has no `.` on its path."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "continualcode"), *arguments],
        cwd=folder,
        env=os.environ | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A folder with the first example of the page, under the name that the page gives it."""
    name, _, code = PAGE.read_text().partition("```python\n# ")[2].partition("```")[0].partition("\n")
    (tmp_path / name).write_text(code)
    return tmp_path


def test_the_first_example_of_the_page_works_as_the_page_says(example: Path) -> None:
    shown = "PYTHONPATH=. cc plugins check ask_before_push"
    assert shown in PAGE.read_text()
    assert cc(example, "plugins", "check", "ask_before_push", PYTHONPATH=".").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--model", "scripted:calls", "--prompt", "go"),
        ("run", "--model", "scripted:calls", "--prompt", "go", "--set", 'plugins.modules=["nomodule"]'),
        ("replay", "log", "--dry-run"),
    ],
)
def test_a_mistyped_plugin_is_asked_for_wrongly_and_nothing_goes_on_without_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "log").write_text("")
    given = () if "--set" in arguments else ("--plugin", "nomodule")
    done = cc(tmp_path, *arguments, *given)
    assert done.returncode == 2
    assert "the plugin 'nomodule', named with --plugin or in plugins.modules, cannot be loaded" in done.stderr
    assert "a module in the current folder is found with PYTHONPATH=." in done.stderr
    assert not list(tmp_path.rglob("*.jsonl"))


def test_checking_a_module_that_cannot_be_loaded_reports_it(tmp_path: Path) -> None:
    done = cc(tmp_path, "plugins", "check", "nomodule", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["ok"], [f["plugin"] for f in report["failures"]]) == (False, ["nomodule"])
    listed = cc(tmp_path, "plugins", "list", "--plugin", "nomodule")
    assert listed.returncode == 0 and "nomodule" in listed.stdout and "FAILED" in listed.stdout


@pytest.mark.parametrize("setting", ["sandbox.name=docker", "sandbox.writable=['/no/such']"])
def test_a_sandbox_that_was_asked_for_wrongly_ends_with_2(tmp_path: Path, setting: str) -> None:
    (tmp_path / "calls").write_text("")
    done = cc(tmp_path, "run", "--model", "scripted:calls", "--prompt", "go", "--set", setting)
    assert done.returncode == 2 and done.stderr.startswith(f"Error: {setting.partition('=')[0]}")
