"""A correction that gives a command's form, and a model that writes the holes with the rest left off."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Example, Message, Sample, SamplingParams, ToolSpec
from continualcode.core.engine import run
from continualcode.core.events import CorrectionGiven, event_registry
from continualcode.core.forgetting import forget_contents
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.forms import Form, filled, form
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

APPEND = 'Don\'t rewrite the file. Append it in bash with `echo "..." >> file`.'
WRITE = Call(tool="write", arguments={"path": "todo.txt", "content": "milk"})
SPECS = tuple(
    ToolSpec(
        name=name, description="", parameters={"type": "object", "properties": {one: {"type": "string"}}}
    )
    for name, one in (("write", "path"), ("bash", "command"))
)


def asked(words: str, call: Call = WRITE, **said: Any) -> Form | None:
    """The form that `words` give after a call."""
    messages = (Message(role="user", text="Add milk to todo.txt."),)
    turn = SampledTurn((), (), (), SamplingParams(), None, messages, SPECS, "", "", call)
    return form(turn, CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words, **said))


@pytest.mark.parametrize(
    ("words", "has", "has_not"),
    [
        (APPEND, 'echo "buy 2 kg of rice (brown)" >> .gitignore', 'echo "..." >> todo.txt'),
        (APPEND, 'echo "x" >> a/b.txt', "echo x >> b.txt"),
        ("Use bash: `head -n 5 FILE`.", "head -n 5 data/a.csv", "head -n 50 data/a.csv"),
        ("In bash: `git commit -m <message>`", "git commit -m Round", "git commit -am Round"),
        ("bash, with `cat > file <<E`", "cat > a.txt <<E\nmilk\nE", "cat > a.txt"),
    ],
)
def test_a_command_with_holes_is_a_form(words: str, has: str, has_not: str) -> None:
    found = asked(words)
    assert found is not None
    assert re.match(found.pattern, has) and not re.match(found.pattern, has_not)


@pytest.mark.parametrize(
    "words",
    [
        "Use bash with `git diff`.",  # nothing to be filled in
        "Use bash, not `cat file`.",
        "Use bash with echo ... and so on.",  # no command
        "Write `echo ...` at its end.",  # of no tool in question
        "bash: no `print(...)` there.",
        "In bash, and then `print(...)`.",
    ],
)
def test_other_words_give_none(words: str) -> None:
    assert asked(words) is None


def test_nor_do_words_beside_a_solution() -> None:
    assert asked(APPEND, solution=Call(tool="bash", arguments={"command": "ls"})) is None


def test_only_what_was_spoken_of_as_the_one_thing_of_its_sort_is_put_in() -> None:
    words = 'Use `echo "..." >> file`, and no file but that.'
    assert filled(words, "Add 'milk' to a.txt") == 'Use `echo "milk" >> a.txt`, and no file but that.'
    assert filled(words, "Add 'milk' or 'tea' to it, it's fine") == words


def test_the_grammar_lets_nothing_else_through() -> None:
    """ "A text without quotes" was said as `[^"]` first, which an escaped quote got through."""
    pytest.importorskip("llguidance")
    import llguidance

    found = asked(APPEND)
    assert found is not None
    write, tool = found.only(SPECS)
    assert write is SPECS[0]
    matcher = llguidance.LLMatcher(
        llguidance.LLTokenizer("byte"), llguidance.LLMatcher.grammar_from_json_schema(tool.parameters)
    )
    for command in ('echo "milk" >> a.txt', 'echo "print("hello") >> a.txt'):
        text = json.dumps({"command": command}, separators=(",", ":"))
        matcher.reset()
        taken = matcher.try_consume_tokens(list(text.encode()))
        assert (taken == len(text)) is (re.match(found.pattern, command) is not None), command


class Copying(ScriptedPolicy):
    """Told to append, it runs the example as it stands, where it may; else with what `says` in its holes."""

    says = "hello"

    def grammar(self, tools: Sequence[ToolSpec]) -> str:  # type: ignore[override]  # others have none
        return json.dumps([tool.parameters["properties"].get("command", {}) for tool in tools])

    def demonstrate(
        self, teacher_ids: Sequence[int], neutral_ids: Sequence[int], grammar: str | None, **how: Any
    ) -> Sample:
        told = bytes(teacher_ids).decode()
        own = re.search(r'`echo "(.*)" >> (.*)`', told)
        said, file = own.groups() if own else ("...", "file")
        if "pattern" not in (grammar or ""):
            command = f"echo '{said}"
        else:
            command = f'echo "{self.says if said == "..." else said}" >> {file}'
        ids = tuple(self.format_call(Call(tool="bash", arguments={"command": command})).encode())
        return Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text="", stop="end")

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """1 for lines to add, else 0."""
        kinds = b"todo.txt", b"kumquat", b"hosts.txt"
        return [float(any(one in bytes(other) for one in kinds)) for other in others]


def corrected(folder: Path) -> Session:
    """A session in which a write was denied."""
    ui = ScriptedUI(inputs=["Add 'milk' to todo.txt."], answers=[Answer(verdict="deny", reason=APPEND)])
    opened = open_scripted(folder, ui=ui, policy=Copying([WRITE, "done"]))
    run(opened)
    return opened


def rows(session: Session) -> list[Example]:
    """The rows of its correction."""
    corrections = tuple(session.transcript.corrections.values())
    plan = Sdpo(SdpoSettings(demonstration_tokens=99)).plan(corrections, session.transcript, session.policy)
    return [row for row in plan.examples if row.correction]


def command_of(row: Example) -> str:
    return json.loads(bytes(row.completion_ids).decode())["arguments"]["command"]


def test_the_model_is_shown_the_form_with_what_was_asked_for(tmp_path: Path) -> None:
    (shown,) = [row for row in rows(corrected(tmp_path / "w")) if row.part == "demonstration"]
    assert (command_of(shown), shown.forced, shown.weight) == ('echo "milk" >> todo.txt', True, 0.5)
    assert "pattern" not in (shown.student_grammar or ""), "there it has the choice"


def test_so_are_its_siblings_up_to_the_tool_where_the_holes_have_what_nobody_spoke_of(tmp_path: Path) -> None:
    found = [row for row in rows(corrected(tmp_path / "w")) if row.part == "sibling"]
    shown = [bytes(row.completion_ids) for row in found]
    whole = [one for one in shown if b"command" in one]
    assert any(b"renew the TLS certificate" in one for one in whole)
    assert not any(b"hello" in one for one in shown)
    assert {one for one in shown if one not in whole} == {b'{"name": "'}, "so many tokens name a tool"


def test_a_form_is_forgotten_with_the_words_that_gave_it(tmp_path: Path) -> None:
    opened = corrected(tmp_path / "w")
    opened.close("quit")
    assert b"#$%@" in opened.log.path.read_bytes(), "the pattern, in a grammar"
    forget_contents(opened.log.path, event_registry(), texts=[APPEND])
    left = opened.log.path.read_bytes()
    assert b">> file" not in left and b"#$%@" not in left
