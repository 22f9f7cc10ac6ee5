"""Going on at an event, forks, and lists of sessions: the state is that recorded at the event."""

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest
from click.testing import CliRunner

from continualcode.cli.main import cli
from continualcode.cli.sessions import meant, sessions
from continualcode.cli.starting import Beginning, beginning
from continualcode.cli.tree import tree, turns_of
from continualcode.core import engine
from continualcode.core.data import Call
from continualcode.core.errors import ReplayError, UsageError
from continualcode.core.events import PromptSubmitted, SessionStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.replay import Replayer, trainers_of
from continualcode.core.review import Answer
from continualcode.core.session import Session, Successor
from continualcode.core.sessions import fork, sessions_in
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import LogError, merge, read, verify

Files: TypeAlias = dict[str, tuple[str, int, str]]
Listing: TypeAlias = Callable[[Path], Files]

NO = Answer(verdict="deny", reason="No.")


class State(NamedTuple):
    seq: int
    tokens: tuple[int, ...]
    weights: str
    files: Files


def state(session: Session, listing: Listing) -> State:
    messages, tools = session.transcript.messages, session.transcript.tools
    return State(
        session.log.next_seq - 1,
        session.policy.render(messages, tools),
        session.policy.weights(),
        listing(session.workspace.root),
    )


def recorded(project: Path, listing: Listing) -> tuple[Session, list[State]]:
    """A session of three turns, each with an update and changed files; its state before and after each."""
    turns: list[Call | str] = []
    for number in range(3):
        command = f"echo {number} > a.txt; rm -rf src; mkdir d{number}; echo {number} > d{number}/f"
        turns += [Call(tool="bash", arguments={"command": c}) for c in ("false", command)]
        turns.append("done")
    ui = ScriptedUI([], [answer for _ in range(3) for answer in (NO, Answer(verdict="allow"))])
    session = open_scripted(project, turns, ui=ui)
    states = [state(session, listing)]
    for number in range(3):
        engine.ask(session, f"turn {number}")
        states.append(state(session, listing))
    return session, states


def opened(begin: Beginning, policy: ScriptedPolicy | None = None) -> Session:
    workspace, log, resume, _ = begin
    return open_scripted(workspace, log=log, resume=resume, policy=policy)


def settings(text: str) -> None:
    """The user's own settings: a project does not say where sessions lie."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "continualcode" / "continualcode.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_going_on_at_an_event_gives_the_state_recorded_there(
    project: Path, listing: Listing, number: int
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    at = states[number]
    begin = beginning(None, resume=f"{session.log.path}@{at.seq}", fork=None, log=None)
    again = opened(begin)
    assert state(again, listing)[1:] == at[1:]
    engine.command(again, "/redo")
    assert state(again, listing)[1:] == states[-1][1:] if number < 3 else True


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_fork_in_a_new_folder_gives_the_state_recorded_there(
    project: Path, tmp_path: Path, listing: Listing, number: int
) -> None:
    session, states = recorded(project, listing)  # and it stays open
    before = sha256(session.log.path.read_bytes()).hexdigest(), listing(project)
    at, place = states[number], tmp_path / "fork"
    forked = opened(beginning(place, resume=None, fork=f"{session.log.path}@{at.seq}", log=None))
    assert forked.workspace.root == place
    assert state(forked, listing)[1:] == at[1:]
    engine.ask(forked, "another way")
    assert (sha256(session.log.path.read_bytes()).hexdigest(), listing(project)) == before
    forked.close("quit")
    started = next(iter(read(forked.log.path, event_registry())))
    assert isinstance(started, SessionStarted) and started.parent is not None
    assert (started.parent.log, started.parent.seq) == (session.log.log_id, at.seq)
    assert verify(forked.log.path).ok
    trainer_of = trainers_of(Plugins(installed=False))
    report = Replayer(ScriptedPolicy(), trainer_of).run(read(forked.log.path, event_registry()))
    assert report.ok and report.weights == at.weights


def test_a_fork_in_the_same_folder_needs_the_parent_to_be_closed(project: Path, listing: Listing) -> None:
    session, states = recorded(project, listing)
    with pytest.raises(UsageError, match="NEWFOLDER"):
        beginning(None, resume=None, fork=f"{session.log.path}@{states[1].seq}", log=None)
    session.close("quit")
    forked = opened(beginning(None, resume=None, fork=f"{session.log.path}@{states[1].seq}", log=None))
    assert state(forked, listing)[1:] == states[1][1:]
    assert forked.log.path != session.log.path


def test_a_session_of_a_project_that_was_moved_goes_on_at_an_event_in_its_new_place(
    project: Path, tmp_path: Path, listing: Listing
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    project.rename(tmp_path / "moved")
    again = opened(
        beginning(tmp_path / "moved", resume=f"{session.log.path}@{states[1].seq}", fork=None, log=None)
    )
    assert again.workspace.root == tmp_path / "moved"
    assert state(again, listing)[1:] == states[1][1:]


def test_a_project_that_is_gone_is_named_anew_for_going_on_and_not_for_a_fork_in_a_new_folder(
    project: Path, tmp_path: Path, listing: Listing
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    shutil.rmtree(project)
    at = f"{session.log.path}@{states[2].seq}"
    for asked in ({"resume": at, "fork": None}, {"resume": None, "fork": at}):
        with pytest.raises(UsageError, match="no folder any more: name one"):
            beginning(None, log=None, **asked)
    forked = opened(beginning(tmp_path / "new", resume=None, fork=at, log=None))
    assert state(forked, listing)[1:] == states[2][1:]


@pytest.mark.parametrize("wrong", [("--model", "nope:1"), ("--set", "trainer.foo=1"), ("--ui", "nope")])
def test_a_fork_whose_session_cannot_be_opened_leaves_no_log_and_a_session_that_goes_on_keeps_its_own(
    project: Path, tmp_path: Path, listing: Listing, wrong: tuple[str, str]
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    log, before = session.log.path, {p.name for p in session.log.path.parent.iterdir()}
    options = ("--ui", "plain", "--model", "scripted:/dev/null", *wrong)
    ran = CliRunner().invoke(cli, ["run", str(tmp_path / "f"), "--fork", f"{log}@{states[1].seq}", *options])
    assert ran.exit_code and ran.exception
    assert {p.name for p in log.parent.iterdir()} == before | {"f"}
    assert CliRunner().invoke(cli, ["run", str(project), "--resume", str(log), *options]).exit_code
    assert verify(log).ok


def test_a_fork_whose_log_cannot_be_written_names_the_folder_and_the_way_out(
    project: Path, listing: Listing
) -> None:
    session, states = recorded(project, listing)
    with pytest.raises(LogError, match=r"cannot be written in /proc: .*--log FILE"):
        fork(session.log.path, states[1].seq, Path("/proc/fork.jsonl"))


def test_a_fork_with_its_log_elsewhere_has_the_snapshots_it_needs(
    project: Path, tmp_path: Path, listing: Listing
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    log = tmp_path / "elsewhere" / "log.jsonl"
    log.parent.mkdir()
    begin = beginning(None, resume=None, fork=f"{session.log.path}@{states[1].seq}", log=log)
    shutil.rmtree(tmp_path / "snapshots")
    forked = opened(begin)
    assert state(forked, listing)[1:] == states[1][1:]


def test_an_event_that_is_not_there_is_refused_and_leaves_no_fork(project: Path, listing: Listing) -> None:
    session, _ = recorded(project, listing)
    session.close("quit")
    before = sorted(p.name for p in session.log.path.parent.iterdir())
    with pytest.raises(ReplayError, match="no event 9999"):
        beginning(None, resume=None, fork=f"{session.log.path}@9999", log=None)
    with pytest.raises(ReplayError, match="no event 9999"):
        beginning(None, resume=f"{session.log.path}@9999", fork=None, log=None)
    assert sorted(p.name for p in session.log.path.parent.iterdir()) == before


def test_events_that_a_fork_shares_are_merged_once(project: Path, tmp_path: Path, listing: Listing) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    begin = beginning(tmp_path / "f", resume=None, fork=f"{session.log.path}@{states[2].seq}", log=None)
    assert begin.log is not None
    merged = merge([session.log.path, begin.log], tmp_path / "merged.jsonl")
    assert merged.twins == states[2].seq  # all but session_started, which says whose child it is


def test_the_tree_shows_undone_turns_and_forks(project: Path, tmp_path: Path, listing: Listing) -> None:
    session, states = recorded(project, listing)
    for line in ("/undo", "/undo"):
        engine.command(session, line)
    engine.ask(session, "other way")
    session.close("quit")
    begin = beginning(tmp_path / "f", resume=None, fork=f"{session.log.path}@{states[2].seq}", log=None)
    forked = opened(begin)
    engine.ask(forked, "third way")
    forked.close("quit")
    assert begin.log is not None
    turns = turns_of([session.log.path, begin.log])
    by_text = {turn.text: turn for turn in turns.values()}
    texts = {key: turn.text for key, turn in turns.items()}
    parents = {text: texts.get(turn.parent) for text, turn in by_text.items() if turn.parent or text}  # type: ignore[arg-type]  # None is no key
    assert parents == {
        "turn 0": None,
        "turn 1": "turn 0",
        "turn 2": "turn 1",
        "other way": "turn 0",
        "third way": "turn 1",
    }
    assert {text for text, turn in by_text.items() if not turn.stands} == {"turn 1", "turn 2"}
    shown = CliRunner().invoke(tree, [str(session.log.path), str(begin.log)]).output
    assert "(1 update, undone)" in shown and f"fork {begin.log.stem}" in shown
    assert (
        json.loads(CliRunner().invoke(tree, ["--json", str(session.log.path)]).output)[0]["text"] == "turn 0"
    )


def test_the_tree_of_a_project_has_its_forks_in_other_folders(
    project: Path, tmp_path: Path, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    forked = opened(
        beginning(tmp_path / "f", resume=None, fork=f"{session.log.path}@{states[1].seq}", log=None)
    )
    engine.ask(forked, "elsewhere")
    forked.close("quit")
    settings(f'[paths]\nsessions = "{tmp_path}"\n')
    monkeypatch.chdir(project)
    assert "elsewhere" in CliRunner().invoke(tree, []).output


def test_sessions_of_the_project_are_listed_newest_first(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for folder, name in ((project, "1"), (project, "2"), (other, "3")):
        session = open_scripted(folder, log=tmp_path / f"{name}.jsonl")
        engine.ask(session, f"prompt {name}")
        session.close("quit")
    assert [one.prompt for one in sessions_in(tmp_path, project)] == ["prompt 2", "prompt 1"]
    assert len(sessions_in(tmp_path)) == 3
    assert meant("", tmp_path, project)[0].name == "2.jsonl"
    assert meant("1", tmp_path, project)[0].name == "1.jsonl"
    assert meant("1@4", tmp_path, project) == (tmp_path / "1.jsonl", 4)
    with pytest.raises(UsageError, match="allowed: 1, 2"):
        meant("9", tmp_path, project)
    with pytest.raises(UsageError, match="SEQ is the number of an event, such as 1@12, and not 'abc'"):
        meant("1@abc", tmp_path, project)
    with pytest.raises(UsageError, match="there is none yet"):
        meant("9", tmp_path / "empty", project)
    with pytest.raises(UsageError, match="no session of"):
        meant("", tmp_path, tmp_path)


def test_an_open_session_is_marked_and_a_damaged_one_said(project: Path, tmp_path: Path) -> None:
    session = open_scripted(project, log=tmp_path / "1.jsonl")
    (one,) = sessions_in(tmp_path)
    assert one.held
    session.close("quit")
    data = (tmp_path / "1.jsonl").read_bytes()
    (tmp_path / "1.jsonl").write_bytes(data.replace(b"tools_offered", b"tools_0ffered"))
    (one,) = sessions_in(tmp_path)
    assert "line" in one.problem and not one.held


def test_cc_sessions_lists_them(project: Path, tmp_path: Path) -> None:
    session = open_scripted(project, log=tmp_path / "logs.jsonl")
    engine.ask(session, "make it so")
    session.close("quit")
    settings(f'[paths]\nsessions = "{tmp_path}"\n')
    shown = CliRunner().invoke(sessions, [str(project)]).output
    assert "make it so" in shown and "logs" in shown
    (row,) = json.loads(CliRunner().invoke(sessions, [str(project), "--json"]).output)
    assert (row["prompt"], row["prompts"], row["updates"]) == ("make it so", 1, 0)


def test_slash_resume_hands_over_to_another_session(project: Path, tmp_path: Path) -> None:
    first = open_scripted(project, log=tmp_path / "first.jsonl")
    engine.ask(first, "the first")
    first.close("quit")
    ui = ScriptedUI(["/resume", "/resume nothing", "/resume first", "never typed"])
    second = open_scripted(project, log=tmp_path / "second.jsonl", ui=ui)
    engine.run(second)
    assert "the first" in ui.messages[0] and "allowed: first" in ui.messages[1]
    assert (second.ended, second.successor) == (True, Successor(log=str(tmp_path / "first.jsonl")))
    assert ui.inputs == ["never typed"]


def test_a_prompt_after_going_back_is_the_next_one(project: Path, listing: Listing) -> None:
    session, states = recorded(project, listing)
    session.close("quit")
    again = opened(beginning(None, resume=f"{session.log.path}@{states[1].seq}", fork=None, log=None))
    engine.ask(again, "and now")
    said = [m.text for m in again.transcript.messages if m.role == "user"]
    assert said == ["turn 0", "and now"]
    assert any(isinstance(e, PromptSubmitted) for e in again.ui.events)  # type: ignore[attr-defined]  # a ScriptedUI
