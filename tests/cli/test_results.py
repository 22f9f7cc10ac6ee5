"""What `cc eval` says in words of what was to stay."""

import pytest

from continualcode.cli.results import Comparison, as_text
from continualcode.core.evaluation.cases import Cases
from continualcode.core.evaluation.measure import ControlFigures, Figures


def measured(begins: str, tool: str = "bash") -> Figures:
    """One control: the likeliest tool, and how its call begins."""
    control = ControlFigures(
        group="", prompt="Commit.", tools={tool: 1.0}, right=None, valid=1.0, begins=begins
    )
    return Figures(weights="0" * 64, rules={}, controls=(control,))


BEFORE = '<tool_call>\n{"name": "bash", "arguments": {"command": "git commit", "timeout": 0}}\n'


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (measured(BEFORE), "begins as it did in 1"),
        (
            measured(BEFORE.replace("git commit", "mv a trash/")),
            'Commit.: bash "command": "git commit", "timeout": 0 → "command": "mv a trash/", "timeout": 0',
        ),
        (measured('<tool_call>\n{"name": "write"', tool="write"), "Commit.: bash → write"),
    ],
)
def test_what_became_of_a_call_is_said(after: Figures, said: str) -> None:
    found = Comparison(cases=Cases(rule=()), labels=("base", "log"), before=measured(BEFORE), after=after)
    assert said in as_text(found)
