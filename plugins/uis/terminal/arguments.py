"""A call's arguments changed in place: field by field, each checked against the schema as it is typed.

Enter goes on through fields that stay as they are, so changing one of three takes few keys. An optional
field that is left empty is left out.
"""

import json
from collections.abc import Mapping

from prompt_toolkit.document import Document
from prompt_toolkit.validation import ValidationError, Validator

from continualcode.core.data import Arguments, Json, ToolSpec
from continualcode.core.schema import check_arguments
from continualcode.plugins.uis.terminal.lines import Lines


def edit_fields(arguments: Arguments, spec: ToolSpec, lines: Lines) -> Arguments:
    """The arguments as the person leaves them. Raises Back."""
    fields: Mapping[str, Json] = spec.parameters.get("properties", {})
    edited: Arguments = {}
    for name in (*fields, *(other for other in arguments if other not in fields)):
        field = Field(name, spec)
        text = as_text(arguments[name]) if name in arguments else ""
        edited |= field.read(lines.value(field.label, text, field))
    return edited


class Field(Validator):
    """One argument of a tool as a line to type: how its text is read, and what is wrong with it."""

    def __init__(self, name: str, spec: ToolSpec) -> None:
        self.name = name
        self._schema: Mapping[str, Json] = spec.parameters.get("properties", {}).get(name, {})
        self._required = name in spec.parameters.get("required", ())
        self._spec = ToolSpec(
            name=spec.name,
            description="",
            parameters={
                "properties": {name: self._schema},
                "required": [name] if self._required else [],
            },
        )

    @property
    def label(self) -> str:
        """What stands before the text: `  start_line (integer): `."""
        kind = self._schema.get("type", "any value")
        return f"  {self.name} ({kind}{'' if self._required else ', may be empty'}): "

    def read(self, text: str) -> Arguments:
        """The argument that `text` stands for, by its name; empty where it is left out. Raises ValueError."""
        if not text and not self._required:
            return {}
        if self._schema.get("type", "string") == "string":
            return {self.name: text}
        return {self.name: json.loads(text)}

    def validate(self, document: Document) -> None:
        """Raises ValidationError with what is wrong, in the schema's terms."""
        kind = self._schema.get("type", "any value")
        try:
            wrong = check_arguments(self._spec, self.read(document.text))
        except ValueError:
            raise ValidationError(len(document.text), f"{self.name} must be {kind}") from None
        if wrong is not None:
            what = wrong.removeprefix(f"{self._spec.name}: ").partition(". Call it as")[0]
            raise ValidationError(len(document.text), what)


def as_text(value: Json) -> str:
    """A value as a person edits it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
