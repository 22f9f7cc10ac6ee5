"""What the model is told of its tools: short, in order, with a call that its tools take."""

import pytest

from continualcode.core.data import Call, ToolSpec
from continualcode.core.schema import check_arguments, flat_schema
from continualcode.plugins import tools as built_in
from continualcode.plugins.models.language.listing import example, listing, signature

PATTERN = ("string", "what to look for")


def test_optional_arguments_are_marked() -> None:
    tool = ToolSpec(
        name="grep",
        description="Find lines.",
        parameters=flat_schema({"pattern": PATTERN}, {"path": PATTERN}),
    )
    assert signature(tool) == "- grep(pattern, path=): Find lines."


def test_the_example_is_a_call_that_changes_something() -> None:
    specs = [tool.spec for tool in built_in.register_tools()]
    shown = example(specs)
    assert shown == Call(tool="write", arguments={"path": "hello.py", "content": 'print("hello")\n'})


def test_where_no_tool_changes_anything_the_first_is_shown() -> None:
    glob = ToolSpec(
        name="glob", description="", parameters=flat_schema({"pattern": PATTERN}), reads_only=True
    )
    assert example([glob]) == Call(tool="glob", arguments={"pattern": "def main"})


def test_the_example_is_one_that_its_tool_takes() -> None:
    fields = {
        "kind": {"enum": ["a", "b"]},
        "count": {"type": "integer"},
        "share": {"type": "number"},
        "deep": {"type": "boolean"},
        "name": {"type": "string"},
    }
    tool = ToolSpec(name="odd", description="", parameters={"properties": fields, "required": list(fields)})
    assert check_arguments(tool, example((tool,)).arguments) is None


@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_tool_has_its_line_in_order(count: int) -> None:
    specs = [tool.spec for tool in built_in.register_tools()][:count]
    text = listing(specs, str, lambda call: f"CALL {call.tool}")
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert [line[2 : line.index("(")] for line in lines] == [spec.name for spec in specs]
    assert text.count("CALL ") == 1
