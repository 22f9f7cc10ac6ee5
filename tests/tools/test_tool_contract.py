"""What all built-in tools promise: their names and order, flat arguments, previews that change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import ToolResult
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Tool
from continualcode.core.schema import check_arguments
from continualcode.core.workspace import RunContext

NAMES = ["read", "write", "edit", "edit_lines", "glob", "grep", "bash", "reply"]
CALLS: dict[str, dict[str, Any]] = {
    "read": {"path": "a.txt"},
    "write": {"path": "a.txt", "content": "new\n"},
    "edit": {"path": "a.txt", "old": "one", "new": "1"},
    "edit_lines": {"path": "a.txt", "start_line": 1, "end_line": 1, "content": "1"},
    "glob": {"pattern": "*"},
    "grep": {"pattern": "one"},
    "bash": {"command": "touch b.txt"},
    "reply": {"text": "done"},
}


def test_the_tools_come_through_the_hook_in_their_order() -> None:
    assert list(Plugins(installed=False).tools()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_flat_and_few(tools: dict[str, Tool], name: str) -> None:
    schema = tools[name].spec.parameters
    assert len(schema["required"]) <= 4
    assert len(schema["properties"]) - len(schema["required"]) <= 2
    assert {field["type"] for field in schema["properties"].values()} <= {"string", "integer", "boolean"}
    assert schema["additionalProperties"] is False
    assert all(field["description"] for field in schema["properties"].values())


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_one_short_sentence(tools: dict[str, Tool], name: str) -> None:
    description = tools[name].spec.description
    assert description.endswith(".")
    assert "\n" not in description
    assert len(description) <= 80


def test_only_what_cannot_change_anything_says_that_it_reads(tools: dict[str, Tool]) -> None:
    assert {n for n, tool in tools.items() if tool.spec.reads_only} == {"read", "glob", "grep", "reply"}
    assert {n for n, tool in tools.items() if tool.spec.ends_turn} == {"reply"}


@pytest.mark.parametrize("name", NAMES)
def test_a_preview_changes_nothing(
    tools: dict[str, Tool], context: RunContext, root: Path, do: Callable[..., ToolResult], name: str
) -> None:
    (root / "a.txt").write_text("one\n")
    do("read", path="a.txt")
    seen = dict(context.workspace.seen)
    assert check_arguments(tools[name].spec, CALLS[name]) is None
    assert tools[name].preview(CALLS[name], context)
    assert {file.name: file.read_text() for file in root.iterdir()} == {"a.txt": "one\n"}
    assert context.workspace.seen == seen


@pytest.mark.parametrize("name", NAMES)
def test_each_tool_works_on_a_simple_call(root: Path, do: Callable[..., ToolResult], name: str) -> None:
    (root / "a.txt").write_text("one\n")
    do("read", path="a.txt")
    result = do(name, **CALLS[name])
    assert result.success, result.output


@pytest.mark.parametrize("name", ["read", "write", "edit", "edit_lines", "grep", "glob"])
@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "out/secret"])
def test_no_tool_leaves_the_workspace(
    root: Path,
    tmp_path: Path,
    do: Callable[..., ToolResult],
    preview: Callable[..., str],
    name: str,
    path: str,
) -> None:
    (tmp_path / "secret").write_text("one\n")
    (root / "out").symlink_to(tmp_path)
    arguments = {**CALLS[name], ("pattern" if name == "glob" else "path"): path}
    result = do(name, **arguments)
    assert not result.success
    assert "out" in result.output
    assert result.feedback
    assert result.changes == ()
    assert (tmp_path / "secret").read_text() == "one\n"
    assert "one" not in preview(name, **arguments).splitlines()


@pytest.mark.parametrize("path", ["x" * 300, "/".join(["x" * 200] * 40), "a/" * 3000])
@pytest.mark.parametrize("name", ["read", "write", "edit", "edit_lines", "grep", "glob"])
def test_no_tool_stumbles_over_a_path_that_cannot_be(
    do: Callable[..., ToolResult], name: str, path: str
) -> None:
    result = do(name, **{**CALLS[name], ("pattern" if name == "glob" else "path"): path})
    assert result.changes == ()
    assert result.success or result.feedback


def test_reply_says_its_text_and_ends_the_turn(do: Callable[..., ToolResult]) -> None:
    assert do("reply", text="It is done.").output == "It is done."
