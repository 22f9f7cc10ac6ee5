"""`/mode`: how calls are decided changes in a session, by a person only, and the log says so."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.events import DecisionMade, event_registry
from continualcode.core.safety_events import SafetyChosen
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.core.transcript import fold
from continualcode.eventlog import read

READ = Call(tool="read", arguments={"path": "a.txt"})
WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "b\n"})


def session(folder: Path, inputs: Sequence[str], *calls: Call | str, sandbox: str = "bwrap") -> ScriptedUI:
    ui = ScriptedUI(inputs)
    config = Config(model={"name": "test:policy"}, sandbox={"name": sandbox})
    opened = open_scripted(folder / "p", calls, ui=ui, config=config)
    (folder / "p" / "a.txt").write_text("one\n")
    engine.run(opened)
    opened.close("quit")
    return ui


def deciders(ui: ScriptedUI) -> list[str]:
    return [e.by for e in ui.events if isinstance(e, DecisionMade)]


def test_a_mode_holds_from_the_next_call_on(tmp_path: Path) -> None:
    inputs = ["one", "/mode reads", "two", "/mode plan", "three", "/mode ask", "four"]
    calls = (READ, "done", READ, "done", WRITE, "done", READ, "done")
    ui = session(tmp_path, inputs, *calls)
    assert deciders(ui) == ["user", "mode:reads", "mode:plan", "user"]
    assert not (tmp_path / "p" / "b.txt").exists()


def test_the_log_says_who_changed_it_and_to_what(tmp_path: Path) -> None:
    session(tmp_path, ["/mode plan"])
    records = list(read(tmp_path / "p.jsonl", event_registry()))
    found = [(r.approvals, r.by) for r in records if isinstance(r, SafetyChosen)]
    assert found == [("ask", "settings"), ("plan", "user")]
    safety = fold(records).safety
    assert safety is not None and safety.approvals == "plan"


def test_the_modes_are_listed_and_the_one_in_force_is_marked(tmp_path: Path) -> None:
    ui = session(tmp_path, ["/mode", "/mode reads", "/mode"])
    first, _, last = (text.splitlines() for text in ui.messages)
    assert [line[:9].split() for line in first] == [["*", "ask"], ["reads"], ["sandbox"], ["plan"]]
    assert [line for line in last if line.startswith("*")] == [
        "* reads    tools that cannot change anything run unasked, and what a rule covers"
    ]


def test_the_mode_sandbox_is_refused_without_one_and_the_old_mode_stands(tmp_path: Path) -> None:
    ui = session(tmp_path, ["/mode sandbox", "go"], WRITE, "done", sandbox="none")
    assert "needs a sandbox, and there is none: it is turned off" in ui.messages[0]
    assert deciders(ui) == ["user"]
    assert sum(isinstance(e, SafetyChosen) for e in ui.events) == 1


def test_the_mode_sandbox_lets_run_what_stays_inside(tmp_path: Path) -> None:
    ui = session(tmp_path, ["/mode sandbox", "go"], WRITE, "done")
    if "there is none" in ui.messages[0]:
        pytest.skip(ui.messages[0])
    assert deciders(ui) == ["mode:sandbox"]
    assert (tmp_path / "p" / "b.txt").exists()


def test_a_mode_that_there_is_not_names_the_nearest(tmp_path: Path) -> None:
    ui = session(tmp_path, ["/mode read"])
    assert "did you mean 'reads'? Allowed: ask, plan, reads, sandbox" in ui.messages[0]


@pytest.mark.parametrize("says", ["/mode sandbox", "Now: /mode sandbox\n/mode sandbox"])
def test_what_a_model_says_changes_no_mode(tmp_path: Path, says: str) -> None:
    ui = session(tmp_path, ["go"], says)
    assert [e.approvals for e in ui.events if isinstance(e, SafetyChosen)] == ["ask"]


def test_undo_does_not_take_a_mode_back(tmp_path: Path) -> None:
    ui = session(tmp_path, ["go", "/mode plan", "/undo", "go"], "done", WRITE, "done")
    assert deciders(ui) == ["mode:plan"]
