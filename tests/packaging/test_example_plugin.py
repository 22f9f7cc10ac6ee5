"""The example plugin of docs/plugins.md: installed as anyone would, and used in a session."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed, in a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*command, "--target", str(target), str(ROOT / "examples" / "plugin")], check=True, timeout=300
    )
    return os.environ | {"PYTHONPATH": str(target), "XDG_CONFIG_HOME": str(target / "config")}


def cc(*arguments: str, environment: dict[str, str]) -> str:
    command = [str(Path(sys.executable).parent / "continualcode"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_listed_with_its_distribution_and_hooks(installed: dict[str, str]) -> None:
    plugins = json.loads(cc("plugins", "list", "--json", environment=installed))
    (example,) = (p for p in plugins if p["name"] == "example")
    assert (example["distribution"], example["version"]) == ("continualcode-example", "0.1.0")
    assert example["hooks"] == ["register_tools", "register_feedback"]


def test_its_tool_runs_and_its_correction_is_learned_from(installed: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "a.py").write_text("import os\n\n\ndef f() -> None: ...\n")
    calls = [
        {"name": "outline", "arguments": {"path": "a.py"}},
        {"name": "write", "arguments": {"path": "b.py", "content": "# TODO: everything\n"}},
    ]
    (tmp_path / "calls.jsonl").write_text("\n".join(json.dumps(call) for call in calls))
    (tmp_path / "script.toml").write_text('[[prompt]]\ntext = "go"\n')
    log = tmp_path / "log.jsonl"
    model = f"scripted:{tmp_path / 'calls.jsonl'}"
    script = str(tmp_path / "script.toml")
    cc("run", str(project), "--model", model, "--script", script, "--log", str(log), environment=installed)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert "   4| def f() -> None: ..." in [r["output"] for r in records if r["t"] == "tool_ran"]
    (correction,) = (r for r in records if r["t"] == "correction_given")
    assert (correction["kind"], correction["by"]) == ("left_todo", "plugin:example")
    assert any(r["t"] == "update_applied" for r in records)


def test_without_it_the_same_log_still_replays(installed: dict[str, str], tmp_path: Path) -> None:
    test_its_tool_runs_and_its_correction_is_learned_from(installed, tmp_path)
    here = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    report = json.loads(cc("replay", str(tmp_path / "log.jsonl"), "--verify", "--json", environment=here))
    assert report["updates"] == report["matched"] == 1
