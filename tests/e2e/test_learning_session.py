"""The whole product on a real model, by its command line: deny, train, retry, replay, resume."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = "smollm2-135m"
"""Small enough for the default run; the default model's own session is `cc demo`, in the slow run."""

SCRIPT = """
[[prompt]]
text = "Show me notes.txt."

[[rule]]
name = "read-it"
correction = "Call read on notes.txt."
violates = {{ any_of = [{predicates}] }}
times = 1
"""


def cc(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command, with its data (not its model cache) under `home`."""
    command = [str(Path(sys.executable).parent / "continualcode"), *arguments]
    environment = os.environ | {"XDG_DATA_HOME": str(home / "data"), "XDG_CONFIG_HOME": str(home / "config")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A log of one scripted session in which the first call was denied, and the folder it ran in."""
    home = tmp_path_factory.mktemp("session")
    workspace = home / "project"
    workspace.mkdir()
    (workspace / "notes.txt").write_text("remember the milk\n")
    tools = ("read", "write", "edit", "edit_lines", "glob", "grep", "bash")
    predicates = ", ".join(f'{{ tool = "{tool}" }}' for tool in tools)
    (home / "script.toml").write_text(SCRIPT.format(predicates=predicates))
    log = home / "log.jsonl"
    limits = [
        "--set",
        "budget.turns=2",
        "--set",
        "sampling.max_tokens=64",
        "--set",
        "trainer.max_steps=3",
        "--set",
        "trainer.siblings=2",
        "--set",
        "trainer.gate=false",  # a model that is too small to learn as much as the gate asks for
    ]
    options = ["--script", str(home / "script.toml"), "--log", str(log), "--model", MODEL, *limits]
    ran = cc("run", str(workspace), *options, home=home)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "✗ denied (script:read-it)" in ran.stdout and "learned in" in ran.stdout, ran.stdout
    return log, home


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_denied_call_is_learned_from_and_the_retry_uses_the_new_weights(
    recorded: tuple[Path, Path],
) -> None:
    log, _ = recorded
    samples = [e for e in events(log) if e["t"] == "sample_taken"]
    (applied,) = (e for e in events(log) if e["t"] == "update_applied")
    assert samples[0]["weights"] != applied["weights"] == samples[1]["weights"]
    first, last = applied["divergence"]  # type: ignore[misc]  # two numbers
    assert last < first


def test_another_process_makes_the_same_weights_from_the_log(recorded: tuple[Path, Path]) -> None:
    log, home = recorded
    ran = cc("replay", str(log), "--verify", "--json", home=home)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["updates"] == report["matched"] == 1
    assert report["first_divergence"] is None
    assert report["weights"] == next(e for e in events(log) if e["t"] == "update_applied")["weights"]


def test_one_changed_bit_of_a_logged_token_is_named(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    log, home = recorded
    copy = tmp_path / "log.jsonl"
    for part in log.parent.glob(f"{log.name}*"):
        if part.is_file():
            shutil.copy(part, tmp_path / part.name)
    lines = copy.read_bytes().split(b"\n")
    number = next(i for i, line in enumerate(lines) if b'"t":"sample_taken"' in line)
    at = lines[number].index(b'"token_ids":"') + len(b'"token_ids":"')
    changed = bytearray(lines[number])
    changed[at] = ord("B") if changed[at] == ord("A") else ord("A")
    copy.write_bytes(b"\n".join([*lines[:number], bytes(changed), *lines[number + 1 :]]))
    ran = cc("replay", str(copy), "--verify", "--json", home=home)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["corrupt"]["line"] == number + 1


def test_a_resumed_session_starts_from_the_learned_weights(
    recorded: tuple[Path, Path], tmp_path: Path
) -> None:
    log, home = recorded
    for part in log.parent.glob(f"{log.name}*"):
        if part.is_file():
            shutil.copy(part, tmp_path / part.name)
    copy = tmp_path / log.name
    script = tmp_path / "again.toml"
    script.write_text('[[prompt]]\ntext = "/metrics"\n')
    workspace = str(home / "project")
    ran = cc("run", workspace, "--resume", str(copy), "--script", str(script), "--model", MODEL, home=home)
    assert ran.returncode == 0, ran.stderr
    applied = next(e for e in events(copy) if e["t"] == "update_applied")
    resumed = next(e for e in events(copy) if e["t"] == "session_resumed")
    assert resumed["weights"] == applied["weights"]
    assert "1 applied" in ran.stdout


@pytest.mark.slow
def test_the_demo_on_the_default_model_learns_and_replays(tmp_path: Path) -> None:
    ran = cc("demo", "--json", home=tmp_path)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["updates"] >= 1
    assert result["replay"]["ok"]
    assert result["after"] > result["before"]
    assert Path(result["log"]).exists()
