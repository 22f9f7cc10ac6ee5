"""A correction that sends a call to another place, and a model that stays where it was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Example, Message, Sample, SamplingParams, ToolSpec
from continualcode.core.engine import run
from continualcode.core.events import CorrectionGiven, event_registry
from continualcode.core.forgetting import forget_contents
from continualcode.core.replay import example_of, reference
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import SampledTurn
from continualcode.plugins.trainers.places import Move, move
from continualcode.plugins.trainers.sdpo import Sdpo
from continualcode.plugins.trainers.settings import SdpoSettings

BEFORE = Call(tool="write", arguments={"path": "legacy/a.py", "content": "x"})
TO_TODO = "legacy/ stays as it is. Write down in TODO.md what should be done there."


def asked(words: str, path: str = "legacy/a.py", said: str = "") -> Move | None:
    """What `words` ask for after a write to `path`, of a user who spoke of it."""
    call = Call(tool="write", arguments={"path": path, "content": "x"})
    messages = (Message(role="user", text=said or f"Fix {path}."),)
    turn = SampledTurn((), (), (), SamplingParams(), None, messages, (), "", "", call)
    correction = CorrectionGiven(sample="s", call_id="c", kind="deny", feedback=words)
    return move((), turn, correction, ScriptedPolicy())


@pytest.mark.parametrize(
    ("words", "to"),
    [
        (TO_TODO, "TODO.md"),
        ("Leave legacy/ alone. New code goes to src/, for example src/a.py.", "src/"),
        ("Not in legacy/, please. It belongs into lib/core/.", "lib/core/"),
        ("Never change a.py: put it into a_local.py.", "a_local.py"),
        ("legacy/ and vendor/ are not ours; write to patches/.", "patches/"),
        ("legacy/ is done: write to patches/ or to notes.md.", None),
        ("Never touch legacy/ or vendor/.", None),
        ("Put it into legacy/sub/ instead.", "legacy/sub/"),
        ("See out/ for how.", None),
        ("legacy/ is version 2.5, e.g. os.getenv('X') is missing.", None),
        ("Use edit_lines.", None),
        ("legacy/ is not for csv/tsv files and/or notes.", None),
    ],
)
def test_the_place_that_the_words_send_a_call_to(words: str, to: str | None) -> None:
    found = asked(words)
    assert (found and found.to) == to


@pytest.mark.parametrize(
    ("words", "to"),
    [
        ("Throwaway scripts don't belong here. Put those in scratch/.", "scratch/"),
        ("New code goes into the folder `src/`, for example src/app.py.", "src/"),
        ("The format is described at docs/.", None),
        ("Put it in a/ or in b/.", None),
    ],
)
def test_the_folder_that_the_words_put_a_file_into(words: str, to: str | None) -> None:
    found = asked(words, path="new.py", said="Write a script.")
    assert (found and found.to) == to and not (found and found.away)
    assert asked(words, path=f"{to}new.py", said="Write a script.") is None or to is None


def test_only_a_call_that_was_where_it_is_not_to_be_is_sent_away() -> None:
    assert asked(TO_TODO, path="new.py", said="Fix legacy/a.py.") is None
    found = asked("Hands off .env. Put it into .env.example.", path="./app/.env")
    assert found and found[:3] == ("path", ".env", ".env.example")
    assert asked("Hands off .env. Put it into .env.example.", path="my.env") is None


class Homing(ScriptedPolicy):
    """Calls the first tool that it may, with the path legacy/a.py wherever it may."""

    def grammar(self, tools: Sequence[ToolSpec]) -> str:  # type: ignore[override]  # others have none
        return json.dumps([(tool.name, tool.parameters["properties"].get("path", {})) for tool in tools])

    def demonstrate(
        self, teacher_ids: Sequence[int], neutral_ids: Sequence[int], grammar: str | None, **how: Any
    ) -> Sample:
        tool, path = next((name, path) for name, path in json.loads(grammar or "[]") if path)
        where = path.get("const") or {None: "legacy/a.py"}.get(path.get("pattern"), "patches/b.py")
        ids = tuple(self.format_call(Call(tool=tool, arguments={"path": where, "content": "y"})).encode())
        return Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text="", stop="end")

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        """1 for what is to change a file, else 0."""
        return [float(b"colour in theme.css" in bytes(other)) for other in others]


def rows(folder: Path, words: str, call: Call = BEFORE, **settings: Any) -> list[Example]:
    """The rows of a write that was denied with these words."""
    path = call.arguments["path"]
    ui = ScriptedUI(inputs=[f"Fix {path}."], answers=[Answer(verdict="deny", reason=words)])
    opened = open_scripted(folder, ui=ui, policy=Homing([call, "done"]))
    run(opened)
    trainer = Sdpo(SdpoSettings(**settings))
    plan = trainer.plan(tuple(opened.transcript.corrections.values()), opened.transcript, opened.policy)
    return [row for row in plan.examples if row.correction]


def path_of(row: Example) -> str:
    return json.loads(bytes(row.completion_ids).decode())["arguments"]["path"]


def test_where_the_model_would_stay_it_is_shown_the_other_place(tmp_path: Path) -> None:
    found = rows(tmp_path / "w", TO_TODO)
    (shown,) = [row for row in found if row.part == "demonstration"]
    assert (path_of(shown), shown.forced, shown.weight) == ("TODO.md", True, 0.5)
    assert dict(json.loads(shown.grammar or ""))["write"]["const"] == "TODO.md"
    assert "const" not in dict(json.loads(shown.student_grammar or ""))["write"], "there it has the choice"


def test_so_are_its_siblings_and_what_is_held_elsewhere_is_free(tmp_path: Path) -> None:
    found = rows(tmp_path / "w", TO_TODO)
    siblings = [row for row in found if row.part == "sibling"]
    assert siblings and all(path_of(row) == "TODO.md" for row in siblings)
    assert all(b"legacy/" in bytes(row.prompt_ids) for row in siblings)
    held = [row for row in found if row.part == "held"]
    assert held and not any(b"TODO.md" in bytes(row.completion_ids) for row in held)
    assert all("const" not in (row.grammar or "") and not row.forced for row in held)


def test_a_replay_learns_the_same(tmp_path: Path) -> None:
    """The student's grammar, neither the teacher's nor the sample's, came back from the log as the latter."""
    ui = ScriptedUI(["Fix legacy/a.py."], [Answer(verdict="deny", reason=TO_TODO)])
    opened = open_scripted(tmp_path / "w", ui=ui, policy=Homing([BEFORE, "done"]))
    run(opened)
    corrections = tuple(opened.transcript.corrections.values())
    plan = Sdpo(SdpoSettings()).plan(corrections, opened.transcript, opened.policy).examples
    forced = [row for row in plan if row.forced]
    assert forced and all(row.student_grammar not in (None, row.grammar) for row in forced)
    again = [example_of(reference(row, opened.transcript), opened.transcript) for row in plan]
    assert again == list(plan)


def test_a_place_is_forgotten_with_the_words_that_named_it(tmp_path: Path) -> None:
    ui = ScriptedUI(["Fix legacy/a.py."], [Answer(verdict="deny", reason=TO_TODO)])
    opened = open_scripted(tmp_path / "w", ui=ui, policy=Homing([BEFORE, "done"]))
    run(opened)
    opened.close("quit")
    assert b"TODO.md" in opened.log.path.read_bytes()
    forget_contents(opened.log.path, event_registry(), texts=[TO_TODO])
    assert b"TODO.md" not in opened.log.path.read_bytes()


def test_what_is_said_of_one_file_is_learned_on_no_other(tmp_path: Path) -> None:
    call = Call(tool="write", arguments={"path": "legacy/a.py", "content": "x"})
    found = rows(tmp_path / "w", "Never change legacy/a.py. Put it into patch.py.", call)
    siblings = [bytes(row.prompt_ids) for row in found if row.part == "sibling"]
    assert siblings and all(b"legacy/a.py" in prompt for prompt in siblings)


def test_a_folder_that_the_model_misses_it_is_shown(tmp_path: Path) -> None:
    """Told "put those in scratch/" this one wrote into .scratch/, and that was learned."""
    call = Call(tool="write", arguments={"path": "a.py", "content": "x"})
    (shown, *_) = [r for r in rows(tmp_path / "w", "Put it in patches/.", call) if r.part == "demonstration"]
    assert (path_of(shown), shown.forced, shown.weight) == ("patches/b.py", True, 0.5)


def test_where_it_cannot_be_forced_nothing_is_learned(tmp_path: Path) -> None:
    (shown,) = [r for r in rows(tmp_path / "w", TO_TODO, divergence="jsd") if r.part == "demonstration"]
    assert (shown.forced, shown.weight) == (False, 0.0)


def test_a_model_that_goes_there_by_itself_is_left_to_it(tmp_path: Path) -> None:
    (shown,) = [r for r in rows(tmp_path / "w", "Not src/. Use lib/.") if r.part == "demonstration"]
    assert (
        not shown.forced and "const" not in (shown.grammar or "") and "pattern" not in (shown.grammar or "")
    )


# -- A place that is named, and no other -----------------------------------------------------------------


class Following(Homing):
    """Follows what it is told on the corrected prompt, and elsewhere only where it must."""

    goes = "patches/b.py"

    def demonstrate(
        self, teacher_ids: Sequence[int], neutral_ids: Sequence[int], grammar: str | None, **how: Any
    ) -> Sample:
        if b"Fix it" not in bytes(teacher_ids) or "pattern" in (grammar or ""):
            return super().demonstrate(teacher_ids, neutral_ids, grammar, **how)
        call = Call(tool="write", arguments={"path": self.goes, "content": "y"})
        ids = tuple(self.format_call(call).encode())
        return Sample(token_ids=ids, logprobs=(0.0,) * len(ids), text="", stop="end")


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        ("New code goes into patches/, for example patches/x.py.", r"^patches/\w(?:[\w./-]*\w)?$"),
        ("Code is Python here and ends in .py.", r"^[\w./-]+\.py$"),
    ],
)
def test_where_it_goes_on_the_prompt_its_siblings_are_made_to_go(
    tmp_path: Path, words: str, pattern: str
) -> None:
    call = Call(tool="write", arguments={"path": "a.js", "content": "x"})
    ui = ScriptedUI(inputs=["Fix it."], answers=[Answer(verdict="deny", reason=words)])
    opened = open_scripted(tmp_path / "w", ui=ui, policy=Following([call, "done"]))
    run(opened)
    corrections = tuple(opened.transcript.corrections.values())
    found = Sdpo(SdpoSettings()).plan(corrections, opened.transcript, opened.policy).examples
    (shown,) = [row for row in found if row.part == "demonstration"]
    assert not shown.forced
    siblings = [row for row in found if row.part == "sibling"]
    assert siblings and all(path_of(row).startswith("patches/") and row.forced for row in siblings)
    assert all(dict(json.loads(row.grammar or ""))["write"]["pattern"] == pattern for row in siblings)
    assert all("pattern" not in (row.student_grammar or "") for row in siblings)
    turn = opened.transcript.sampled(shown.sample)
    moved = move(shown.completion_ids, turn, corrections[0], opened.policy)
    assert moved and moved.schema == {"type": "string", "pattern": pattern}


def test_a_mere_folder_is_nowhere_to_go(tmp_path: Path) -> None:
    policy = Following([Call(tool="write", arguments={"path": "a.js", "content": "x"}), "done"])
    policy.goes = "patches/"
    ui = ScriptedUI(inputs=["Fix it."], answers=[Answer(verdict="deny", reason="Code goes into patches/.")])
    opened = open_scripted(tmp_path / "w", ui=ui, policy=policy)
    run(opened)
    corrections = tuple(opened.transcript.corrections.values())
    found = Sdpo(SdpoSettings(siblings=0)).plan(corrections, opened.transcript, opened.policy).examples
    (shown,) = [row for row in found if row.part == "demonstration"]
    assert (path_of(shown), shown.forced, shown.weight) == ("patches/b.py", True, 0.5)
