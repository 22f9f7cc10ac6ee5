"""Replay on the default model: a session killed in an update, verified, unlearned from, handed out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from continualcode.plugins.models.local import store

pytestmark = pytest.mark.slow

RUN = Path(__file__).parents[2] / "benchmarks" / "replay" / "run.py"
MODEL = "qwen2.5-coder-0.5b"


def test_four_prompts_of_the_benchmark(tmp_path: Path) -> None:
    if store.installed(MODEL) is None:
        pytest.skip(f"{MODEL} is not installed: cc models pull {MODEL}")
    out, steps = tmp_path / "out", ("record", "verify", "without", "export")
    line = [sys.executable, str(RUN), str(out), *steps, "--prompts", "4", "--kill", "2"]
    ran = subprocess.run(line, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((out / "results.json").read_text())
    assert found.keys() == set(steps) and all(step["ok"] for step in found.values())
    assert found["record"]["killed"]["updates"] == 1 and found["record"]["moved"] >= 3
    assert found["verify"]["matched"] == found["record"]["updates"]
