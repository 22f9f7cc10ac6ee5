"""What a small model is told of its tools: one line a tool in signature form, and one call as an example.

Lists of JSON schemas, as chat templates make them, took 3.7 times the tokens and led to fewer good choices.

The example weighs more than anything else here, as a 0.5B model copies it. Qwen2.5-Coder-0.5B, three small
tasks (fix a test, change a greeting, add a docstring), P(tool) before it has read the file, and P(it reads
the same file again) after:

    example              before reading               reads again
    write("hello.py")    write .75 .44 .96            .64 .21 .57
    read("README.md")    read .61 .10 .56             .95 .69 .99
    reply("Done.")       reply .99 .98 .22            .56 .24 .66
    grep("def main")     spread                       .49 .21 .49
    glob("**/*.py")      glob .70 .15 .62             .46 .19 .49

At temperature 0 the models that are shown a search or a read go on searching or reading (six calls of glob in
a row on a task of one line), and those that are shown `reply` give up. So the example is a call that changes
something: it also shows how a line end is written. Its price is a leaning towards `write`, which is proposed,
shown as a diff, and unlearned by one denial (docs/learning.md).
"""

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
