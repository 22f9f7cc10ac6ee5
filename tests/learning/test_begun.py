"""A correction of a call that came after another one is learned there, on requests that are like its own."""

from collections.abc import Sequence
from pathlib import Path

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call, Example
from continualcode.core.events import UpdateStarted, event_registry
from continualcode.core.replay import plan_of
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.core.transcript import DENIED
from continualcode.eventlog import read
from continualcode.plugins.trainers.anchors import BEGUN, REQUESTS
from continualcode.plugins.trainers.siblings import about
from continualcode.plugins.trainers.situations import (
    KINDS,
    NEW,
    OTHERWISE,
    SITUATIONS,
    Kind,
    begun,
    file_of,
)

LOOK = Call(tool="read", arguments={"path": "a.log"})
WRITE = Call(tool="write", arguments={"path": "b.log", "content": "x"})
DONE = Call(tool="reply", arguments={"text": "It says started."})
RENAMES, TYPOS = (
    next(kind for kind in KINDS if kind.requests[0].text == text)
    for text in ("Use bash to rename the file a.log to b.log.", "Fix the spelling mistake in about.html.")
)


class OfAKind(ScriptedPolicy):
    """Finds alike what is of one kind, and writes down what it was asked to compare."""

    def __init__(self, turns: Sequence[Call], kind: Kind) -> None:
        super().__init__(turns)
        self.kind = kind
        self.compared: list[str] = []

    def nearness(self, wordings: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[float]:
        self.compared += [bytes(ids).decode() for ids in (*wordings, *others)]
        return [float(asked(other) in {one.text for one in self.kind.requests}) for other in others]


def asked(prompt: Sequence[int]) -> str:
    """The last thing that the user says in a scripted policy's prompt."""
    return bytes(prompt).decode().rsplit("user: ", 1)[1].partition("\n")[0]


def after_a_call(prompt: Sequence[int]) -> bool:
    """After one that was made: a denial is none."""
    said = bytes(prompt).decode()
    return "\ntool: " in said and DENIED not in said


def taught(folder: Path, *calls: Call, kind: Kind = RENAMES) -> tuple[tuple[Example, ...], OfAKind]:
    """The rows of a session whose last call was denied, and its policy."""
    folder.mkdir()
    (folder / "a.log").write_text("started\n")
    policy = OfAKind(calls, kind)
    allowed = [Answer(verdict="allow") for _ in calls[1:]]
    ui = ScriptedUI(["call a.log b.log"], [*allowed, Answer(verdict="deny", reason="Use bash.")])
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(folder, ui=ui, policy=policy, config=config)
    engine.run(session)
    (started,) = (r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted))
    return plan_of(started, session.transcript).examples, policy


def of(rows: Sequence[Example], part: str) -> list[Example]:
    return [row for row in rows if row.part == part]


def test_siblings_are_where_the_corrected_turn_is(tmp_path: Path) -> None:
    for number, calls in enumerate(((WRITE,), (LOOK, WRITE))):
        rows, _ = taught(tmp_path / str(number), *calls)
        siblings = [row.prompt_ids for row in of(rows, "sibling")]
        assert siblings and {asked(ids) for ids in siblings} <= {
            one.text for one in (*RENAMES.requests, *RENAMES.otherwise)
        }
        assert {after_a_call(ids) for ids in siblings} == {len(calls) > 1}


def test_what_was_done_about_a_request_does_not_make_it_like_another(tmp_path: Path) -> None:
    _, policy = taught(tmp_path / "w", LOOK, WRITE)
    assert policy.compared and not [text for text in policy.compared if "\ntool: " in text]


def test_every_second_anchor_is_held_there_and_none_on_what_is_learned(tmp_path: Path) -> None:
    rows, _ = taught(tmp_path / "w", LOOK, WRITE)
    read_before = sum(bool(one.path) or one in BEGUN for one in REQUESTS)
    anchors = of(rows, "anchor")
    assert sum(after_a_call(row.prompt_ids) for row in anchors) == read_before > len(REQUESTS) / 2
    held = {row.prompt_ids for row in anchors if row.weight}
    assert held and not held & about(rows, now=True)
    assert not {asked(ids) for ids in held} & {asked(row.prompt_ids) for row in of(rows, "sibling")}


def test_a_change_of_a_file_is_one_whether_it_was_read_or_not(tmp_path: Path) -> None:
    rows, _ = taught(tmp_path / "w", LOOK, WRITE, kind=TYPOS)
    changes = {one.text for kind in KINDS if kind.family == "change a file" for one in kind.requests}
    assert not {asked(row.prompt_ids) for row in of(rows, "anchor") if row.weight} & changes
    learned = {asked(row.prompt_ids) for row in of(rows, "sibling")}  # with what was read there
    assert learned and learned <= {one.text for one in (*SITUATIONS, *OTHERWISE) if one.path}


def test_what_was_asked_for_before_does_not_make_a_prompt_like_another_either(tmp_path: Path) -> None:
    """The second request of a session: its calls are not of the first one."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.log").write_text("started\n")
    policy = OfAKind([LOOK, DONE, WRITE], RENAMES)
    answers = [Answer(verdict="allow"), Answer(verdict="deny", reason="Use bash.")]
    ui = ScriptedUI(["show a.log", "call a.log b.log"], answers)
    config = Config(model={"name": "test:policy"}, trainer={"name": "sdpo"})
    session = open_scripted(tmp_path / "w", ui=ui, policy=policy, config=config)
    engine.run(session)
    (started,) = (r for r in read(session.log.path, event_registry()) if isinstance(r, UpdateStarted))
    siblings = of(plan_of(started, session.transcript).examples, "sibling")
    assert siblings and not [row for row in siblings if after_a_call(row.prompt_ids)]
    assert policy.compared[0].count("user: ") == 1 and "call a.log b.log" in policy.compared[0]


def test_right_after_a_request_all_are_as_they_are(tmp_path: Path) -> None:
    rows, _ = taught(tmp_path / "w", WRITE)
    assert sum(after_a_call(row.prompt_ids) for row in of(rows, "anchor")) == sum(
        bool(one.path) for one in REQUESTS
    )


def test_every_situation_can_come_after_a_file_was_read() -> None:
    for one in (*SITUATIONS, *OTHERWISE):
        after = begun(one)
        assert after.text == one.text and after.path and after.content
        if file_of(one):
            assert (after.path == file_of(one)) == (one not in NEW), one
