"""Tool arguments against their schema: flat, forgiving about names, exact about what is wrong.

Small models call a field by another tool's name for it (`file_path`, `cmd`) or quote a number. What
is meant beyond doubt is put right and noted (`normalise_arguments`); the rest is refused in words
that a model can act on (`check_arguments`): which field, what was given, what is expected.
"""

from collections.abc import Mapping
from typing import TypeAlias

from continualcode.core.data import Arguments, Json, ToolSpec
from continualcode.core.errors import nearest

Field: TypeAlias = tuple[str, str]
"""A field's JSON type (string, integer, number, boolean) and what it is for, in a few words."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "path": ("file_path", "filepath", "file", "filename", "file_name"),
    "command": ("cmd", "shell_command", "script"),
    "pattern": ("pat", "regex", "query", "glob"),
    "old": ("old_string", "old_str", "old_text"),
    "new": ("new_string", "new_str", "new_text"),
    "content": ("contents", "text", "new_content", "file_text", "code"),
    "text": ("message", "answer", "content", "response"),
    "start_line": ("start", "line_start", "from_line", "first_line"),
    "end_line": ("end", "line_end", "to_line", "last_line"),
}
"""What models write for a field, by the field's name; taken only where the tool has no such field itself."""

_PYTHON: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}
_NAMES: Mapping[type[object], str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
    type(None): "null",
}
_SHOWN = 60


def flat_schema(
    required: Mapping[str, Field], optional: Mapping[str, Field] | None = None
) -> dict[str, Json]:
    """The JSON schema of an object with these fields, in this order, and no others.

    >>> flat_schema({"path": ("string", "the file")})["required"]
    ['path']
    """
    fields = {**required, **(optional or {})}
    return {
        "type": "object",
        "properties": {name: {"type": kind, "description": text} for name, (kind, text) in fields.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def normalise_arguments(spec: ToolSpec, arguments: Arguments) -> tuple[Arguments, tuple[str, ...]]:
    """`arguments` with aliases renamed and plain values turned into the type asked for, and a note on each.

    What stays doubtful is left as it is, for `check_arguments` to refuse. The input is not changed.
    """
    fields: Mapping[str, Json] = spec.parameters.get("properties", {})
    notes: list[str] = []
    result: Arguments = {}
    for name, value in arguments.items():
        field = name if name in fields else _meant(name, fields, arguments)
        if field != name:
            notes.append(f"{name} taken as {field}")
        if value is None and field in fields and field not in spec.parameters.get("required", ()):
            notes.append(f"{field}: null left out")
            continue
        if field in result:
            field = name  # two aliases of one field: keep both names, so that the check says so
        converted = _convert(value, fields.get(field, {}).get("type"))
        if type(converted) is not type(value):
            notes.append(f"{field}: {_show(value)} taken as {_show(converted)}")
        result[field] = converted
    return result, tuple(notes)


def check_arguments(spec: ToolSpec, arguments: Arguments) -> str | None:
    """What is wrong with `arguments`, all of it, and how the tool is called; None: nothing."""
    fields: Mapping[str, Json] = spec.parameters.get("properties", {})
    problems = [
        f"{name} ({_kind(fields.get(name, {}))}) is missing"
        for name in spec.parameters.get("required", ())
        if name not in arguments
    ]
    for name, value in arguments.items():
        if name in fields:
            problem = _check_value(name, value, fields[name])
        elif spec.parameters.get("additionalProperties", True) is False:
            problem = f"there is no argument {_show(name)}; {nearest(name, fields)}"
        else:
            problem = None
        if problem is not None:
            problems.append(problem)
    return f"{spec.name}: {'; '.join(problems)}. Call it as {signature(spec)}" if problems else None


def signature(spec: ToolSpec) -> str:
    """How a tool is called, on one line; what may be left out is marked with a question mark.

    >>> spec = ToolSpec(name="read", description="", parameters=flat_schema({"path": ("string", "the file")}))
    >>> signature(spec)
    'read(path: string)'
    """
    required = spec.parameters.get("required", ())
    fields: Mapping[str, Json] = spec.parameters.get("properties", {})
    parts = (f"{name}{'' if name in required else '?'}: {_kind(field)}" for name, field in fields.items())
    return f"{spec.name}({', '.join(parts)})"


def _meant(name: str, fields: Mapping[str, Json], given: Arguments) -> str:
    """The field that `name` is an alias of, if it is free; else `name`."""
    lowered = name.lower().replace("-", "_")
    for field in fields:
        if field not in given and (lowered == field or lowered in ALIASES.get(field, ())):
            return field
    return name


def _convert(value: Json, kind: Json) -> Json:
    """`value` as the JSON type `kind` where there is one reading of it."""
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        stripped = value.strip()
        if kind == "integer" and stripped.removeprefix("-").isdecimal() and stripped.isascii():
            return int(stripped)
        if kind == "boolean" and stripped.lower() in ("true", "false"):
            return stripped.lower() == "true"
    return value


def _check_value(name: str, value: Json, field: Mapping[str, Json]) -> str | None:
    kind = field.get("type")
    kinds: list[str] = [kind] if isinstance(kind, str) else list(kind or ())
    if kinds and not any(_is(value, one) for one in kinds):
        return f"{name} must be {_kind(field)}, not {_name(value)}: {_show(value)}"
    if "enum" in field and value not in field["enum"]:
        return f"{name} must be one of {', '.join(map(_show, field['enum']))}, not {_show(value)}"
    if "minimum" in field and value < field["minimum"]:
        return f"{name} must be at least {field['minimum']}, not {_show(value)}"
    if "maximum" in field and value > field["maximum"]:
        return f"{name} must be at most {field['maximum']}, not {_show(value)}"
    if isinstance(value, str) and (half := next((c for c in value if "\ud800" <= c <= "\udfff"), None)):
        # Half of a pair cannot be written to a file or to the log.
        return f"{name} holds half a character ({half!a}): write the whole character"
    return None


def _is(value: Json, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON.get(kind, (object,)))


def _name(value: object) -> str:
    kind = type(value)
    return _NAMES.get(kind, kind.__name__)


def _kind(field: Mapping[str, Json]) -> str:
    kind = field.get("type", "any value")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _show(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
