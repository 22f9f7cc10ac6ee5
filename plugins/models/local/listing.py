"""What a small model is told of its tools: one line a tool in signature form, and one call as an example."""

from collections.abc import Callable, Sequence

from continualcode.core.data import Call, Json, ToolSpec

VALUES = {
    "path": "hello.py",
    "content": 'print("hello")\n',
    "command": "ls",
    "pattern": "def main",
    "text": "Done.",
}
"""What an example call says for arguments of these names; for others, something of their type."""


def listing(
    tools: Sequence[ToolSpec], guard: Callable[[str], str], format_call: Callable[[Call], str]
) -> str:
    """The part of the system message that is about tools; `guard` is for words that plugins wrote."""
    lines = "\n".join(guard(signature(tool)) for tool in tools)
    return f"Tools:\n{lines}\nA call looks like this:\n{format_call(example(tools))}"


def signature(tool: ToolSpec) -> str:
    """`- read(path, start_line=): show a file`: optional arguments end with an equals sign."""
    required = tool.parameters.get("required", ())
    names = ((name if name in required else f"{name}=") for name in tool.parameters.get("properties", {}))
    return f"- {tool.name}({', '.join(names)}): {tool.description}"


def example(tools: Sequence[ToolSpec]) -> Call:
    """A call of the first tool that changes something, or of the first tool if none does."""
    tool = next((t for t in tools if not (t.reads_only or t.ends_turn)), tools[0])
    properties: dict[str, Json] = tool.parameters.get("properties", {})
    required = tool.parameters.get("required", ())
    arguments = {name: _value(name, schema) for name, schema in properties.items() if name in required}
    return Call(tool=tool.name, arguments=arguments)


def _value(name: str, schema: Json) -> Json:
    if "enum" in schema:
        return schema["enum"][0]
    kinds: dict[str, Json] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    return kinds.get(schema.get("type"), VALUES.get(name, name))
