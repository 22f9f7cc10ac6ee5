"""A policy with a habit that one update breaks, and a case set about it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Sample, SamplingParams, StopReason, ToolSpec
from continualcode.core.evaluation.cases import Cases, load_cases
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, open_scripted

CASES = """
[[rule]]
name = "edit-not-write"
correction = "Use edit_lines; don't overwrite the whole file."
group = "tools"
violates = { tool = "write", path_exists = true }
obeys = { tool = "edit_lines" }
[[rule.train]]
prompt = "test_calc.py fails. Fix the wrong assertion."
files = { "test_calc.py" = "assert 1 == 2\\n" }
history = [ { name = "read", arguments = { path = "test_calc.py" } } ]
[[rule.held_out]]
prompt = "In notes.md, the year is wrong. Correct it."
files = { "notes.md" = "2019\\n" }

[[rule]]
name = "quiet"
correction = "Pass -q."
group = "commands"
violates = { tool = "bash", arguments = { command = "^pytest(?!.* -q)" } }
[[rule.train]]
prompt = "Run the tests."
[[rule.held_out]]
prompt = "Do the tests pass?"

[[control]]
prompt = "Show me the README."
files = { "README.md" = "Hello.\\n" }
expects = { tool = "read" }
group = "unrelated"
"""


class Habit(ScriptedPolicy):
    """Overwrites half of the time, edits lines else; after an update it always edits. Deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.untaught = self.weights()
        self.drawn: list[int] = []

    def tool_probabilities(
        self, prompt_ids: Sequence[int], grammar: str | None, tools: Sequence[ToolSpec]
    ) -> dict[str, float]:
        shares = {tool.name: 0.0 for tool in tools}
        if b"Show me" in bytes(prompt_ids):
            return shares | {"read": 1.0}
        if b"tests" in bytes(prompt_ids):
            return shares | {"bash": 0.99, "read": 0.01}
        taught = self.weights() != self.untaught
        return shares | ({"edit_lines": 1.0} if taught else {"write": 0.5, "edit_lines": 0.4, "read": 0.1})

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: Any = None,
    ) -> Sample:
        self.drawn.append(params.seed or 0)
        text = self.format_call(self._call(bytes(prompt_ids).decode(), params.seed or 0))
        ids = tuple(text.encode())[: params.max_tokens]
        stop: StopReason = "end" if bytes(ids).decode() == text else "length"
        text = bytes(ids).decode()
        if on_text:
            on_text(text)
        return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=text, stop=stop)

    def _call(self, prompt: str, seed: int) -> Call:
        if "Show me" in prompt:
            return Call(tool="read", arguments={"path": "README.md"})
        if "tests" in prompt:
            return Call(tool="bash", arguments={"command": "pytest" if seed % 2 else "pytest -q"})
        path = "notes.md" if "notes" in prompt else "test_calc.py"
        if self.weights() != self.untaught:
            lines = {"start_line": 1, "end_line": 1, "content": "x\n"}
            return Call(tool="edit_lines", arguments={"path": path, **lines})
        return Call(tool="write", arguments={"path": path, "content": "x\n"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The case set as a file."""
    path = tmp_path / "cases.toml"
    path.write_text(CASES)
    return path


@pytest.fixture
def cases(file: Path) -> Cases:
    return load_cases(file)


@pytest.fixture
def policy() -> Habit:
    return Habit()


@pytest.fixture
def untaught() -> Callable[[], ScriptedPolicy]:
    """Makes another policy with the same habit."""
    return Habit


@pytest.fixture
def session(tmp_path: Path, policy: Habit) -> Session:
    """A session on the policy, in an empty folder."""
    return open_scripted(tmp_path / "w", policy=policy)
