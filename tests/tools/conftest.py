"""A workspace on a real folder and a way to call the built-in tools in it, as the engine would."""

from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.core.data import ToolResult
from continualcode.core.protocols import Tool
from continualcode.core.workspace import RunContext, Workspace
from continualcode.plugins.tools import register_tools


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The workspace's folder; `tmp_path` around it is outside."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def streamed() -> list[str]:
    """What tools showed to the person, piece by piece."""
    return []


@pytest.fixture
def context(root: Path, streamed: list[str]) -> RunContext:
    """What the tools run in."""
    return RunContext(Workspace(root), show_text=streamed.append)


@pytest.fixture
def tools() -> dict[str, Tool]:
    """The built-in tools by name."""
    return {tool.spec.name: tool for tool in register_tools()}


@pytest.fixture
def do(tools: dict[str, Tool], context: RunContext) -> Callable[..., ToolResult]:
    """Runs a tool by name and keeps what it made known, as a session does."""

    def run(tool: str, /, **arguments: object) -> ToolResult:
        result = tools[tool].run(arguments, context)
        context.workspace.note_seen(result.seen)
        return result

    return run


@pytest.fixture
def preview(tools: dict[str, Tool], context: RunContext) -> Callable[..., str]:
    """What a person is shown before a call is run."""

    def show(tool: str, /, **arguments: object) -> str:
        return tools[tool].preview(arguments, context)

    return show
