"""The model `scripted:FILE`: says what a file tells it to, for trying a plugin or a UI without a model.

One turn a line: a JSON object `{"name": "read", "arguments": {…}}` is a tool call, anything else is
said as it stands. It is `continualcode.core.testing.ScriptedPolicy`, and learns nothing.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from continualcode import hookimpl
from continualcode.core.data import Call
from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Policy, Progress
from continualcode.core.testing import ScriptedPolicy

SCHEME = "scripted:"


@hookimpl
def make_policy(model: str, options: Mapping[str, Any]) -> Callable[[Progress], Policy] | None:
    """Answers to `scripted:FILE`."""
    if not model.startswith(SCHEME):
        return None
    return lambda progress: ScriptedPolicy(_turns(Path(model.removeprefix(SCHEME))))


def _turns(file: Path) -> list[Call | str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ModelUnavailable(f"scripted:{file}: cannot be read: {error.strerror}") from None
    return [_turn(line, f"{file}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def _turn(line: str, where: str) -> Call | str:
    if not line.startswith("{"):
        return line
    try:
        given = json.loads(line)
        return Call(tool=given["name"], arguments=given["arguments"])
    except (ValueError, KeyError) as error:
        raise ModelUnavailable(
            f'{where}: not a call: {error!r}; expected {{"name": "read", "arguments": {{"path": "a.py"}}}}'
        ) from None
