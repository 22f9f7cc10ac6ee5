"""A correction's example of a command, and a teacher that would copy it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Example, Message, Sample, SamplingParams
from continualcode.core.engine import run
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.examples import copied, retold
from continualcode.plugins.trainers.sdpo import Sdpo

WORDS = "Put `timeout 60` in front, for example timeout 60 python3 sim.py."


def turn(command: str, said: str = "Run app.py.") -> SampledTurn:
    call = Call(tool="bash", arguments={"command": command})
    messages = (Message(role="user", text=said),)
    return SampledTurn((), (), (), SamplingParams(), None, messages, (), "", "", call)


@pytest.mark.parametrize(
    ("command", "said", "is_one"),
    [
        ("python3 app.py", "Run app.py.", True),
        ("cd src && node lib/app.js --port 1", "Start lib/app.js.", True),
        ("python3 main.py", "Run app.py.", False),
        ("app.py", "Run app.py.", False),
    ],
)
def test_only_beside_a_command_about_a_file_that_was_spoken_of(command: str, said: str, is_one: bool) -> None:
    assert copied(WORDS, said, turn(command, said)) == (["sim.py"] if is_one else [])


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (WORDS, ["sim.py"]),
        ("Use python3 -X dev, e.g. python3 -X dev sim.py or run.py.", ["sim.py", "run.py"]),
        ("Like this: python3 -m app.", list[str]()),
        ("Never touch schema.sql.", list[str]()),
        ("Use python3, such as in python3 app.py.", list[str]()),
    ],
)
def test_the_files_of_an_example_are_those_that_nobody_spoke_of(words: str, files: list[str]) -> None:
    assert copied(words, "Run app.py.", turn("python3 app.py")) == files


def test_an_example_is_of_the_file_that_is_asked_about_if_there_is_one_such() -> None:
    told = {
        said: retold(WORDS, said, turn("python3 app.py"))
        for said in ("tools/app.py", "watch.js", "a.py b.py")
    }
    assert told["tools/app.py"].endswith("timeout 60 python3 tools/app.py.")
    assert told["watch.js"] == told["a.py b.py"] == WORDS


class Copying(ScriptedPolicy):
    """Runs the last file that it was told of."""

    def demonstrate(
        self, teacher_ids: Sequence[int], neutral_ids: Sequence[int], grammar: str | None, **how: Any
    ) -> Sample:
        told = bytes(teacher_ids).decode().rsplit("timeout 60 ", 1)[-1].split("\n")[0]
        call = self.format_call(Call(tool="bash", arguments={"command": f"timeout 60 {told}"}))
        ids = tuple(call.encode())
        return Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text="", stop="end")

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """1 for what is to be run, else 0."""
        near = (b"Execute the script report.py", b"Start watch.js", b"Run etl/load.py", b"development server")
        return [float(any(text in bytes(other) for text in near)) for other in others]


def rows(folder: Path, command: str = "python3 app.py") -> list[Example]:
    """The rows of a command that was denied with `WORDS`."""
    ui = ScriptedUI(inputs=["Run app.py."], answers=[Answer(verdict="deny", reason=WORDS)])
    call = Call(tool="bash", arguments={"command": command})
    opened = open_scripted(folder, ui=ui, policy=Copying([call, "done"]))
    run(opened)
    plan = Sdpo().plan(tuple(opened.transcript.corrections.values()), opened.transcript, opened.policy)
    return [row for row in plan.examples if row.part in ("demonstration", "sibling")]


def test_the_teacher_is_told_of_the_file_that_is_asked_about(tmp_path: Path) -> None:
    shown, *siblings = rows(tmp_path / "w")
    assert b"python3 app.py" in bytes(shown.completion_ids) and b"sim.py" not in bytes(shown.teacher_ids)
    assert siblings and not any(b"sim.py" in bytes(row.completion_ids) for row in siblings)
    said = b"".join(bytes(row.completion_ids) for row in siblings)
    assert b"python3 report.py" in said and b"python3 etl/load.py" in said
    assert not any(b"watch.js" in bytes(row.prompt_ids) for row in siblings), "there it copies the example"


def test_where_no_command_about_it_was_rejected_the_words_stay_as_they_are(tmp_path: Path) -> None:
    shown, *siblings = rows(tmp_path / "w", "ls")
    assert b"sim.py" in bytes(shown.completion_ids)
    assert siblings and all(b"sim.py" in bytes(row.completion_ids) for row in siblings)
