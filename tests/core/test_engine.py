"""The engine: what is in the log after which action, and in which order."""

import os
from pathlib import Path

import pytest

from continualcode import hookimpl
from continualcode.core import engine
from continualcode.core.config import Config, SessionConfig
from continualcode.core.data import Call, ToolResult
from continualcode.core.errors import UsageError
from continualcode.core.events import (
    CorrectionGiven,
    DecisionMade,
    PluginFailed,
    RuleAdded,
    SampleTaken,
    ToolProposed,
    ToolRan,
    ToolStarted,
    TurnInterrupted,
    UpdateApplied,
    UpdateFailed,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.review import Answer, Ruling
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted
from continualcode.eventlog import LogHeld, Record, read

READ = Call(tool="read", arguments={"path": "a.txt"})
WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "new\n"})
NO = Answer(verdict="deny", reason="Use edit_lines; don't overwrite the whole file.")


def types(ui: ScriptedUI) -> list[str]:
    """The names of the records, without those of the start."""
    names = [type(e).__name__ for e in ui.events]
    return names[names.index("PromptSubmitted") :]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\n")
    return folder


def ran(session: Session) -> ScriptedUI:
    engine.run(session)
    session.close("quit")
    assert isinstance(session.ui, ScriptedUI)
    return session.ui


def test_a_denied_call_is_learned_from_and_the_model_tries_again(workspace: Path) -> None:
    ui = ScriptedUI(["fix it"], [NO])
    session = open_scripted(workspace, [WRITE, READ, "done"], ui=ui)
    before = session.policy.weights()
    ran(session)
    assert types(ui) == [
        "PromptSubmitted",
        "ContextBuilt",
        "SampleTaken",
        "ToolProposed",
        "DecisionMade",
        "CorrectionGiven",
        "UpdateStarted",
        "UpdateApplied",
        "SampleTaken",
        "ToolProposed",
        "DecisionMade",
        "ToolStarted",
        "ToolRan",
        "SampleTaken",
        "ToolProposed",
        "SessionEnded",
    ]
    samples = [e for e in ui.events if isinstance(e, SampleTaken)]
    (applied,) = (e for e in ui.events if isinstance(e, UpdateApplied))
    assert samples[0].weights == before != applied.weights == samples[1].weights
    assert not (workspace / "b.txt").exists()


def test_each_record_names_the_one_that_led_to_it(workspace: Path) -> None:
    ui = ScriptedUI(["fix it"], [NO])
    ran(open_scripted(workspace, [WRITE], ui=ui))
    by_type = {type(e): e for e in reversed(ui.events)}
    assert by_type[ToolProposed].cause == by_type[SampleTaken].id
    assert by_type[DecisionMade].cause == by_type[ToolProposed].id
    assert by_type[CorrectionGiven].cause == by_type[DecisionMade].id
    assert by_type[UpdateStarted].cause == by_type[CorrectionGiven].id
    assert by_type[UpdateApplied].cause == by_type[UpdateStarted].id


def test_an_edited_call_runs_as_edited_and_trains_on_what_was_proposed(workspace: Path) -> None:
    edited = {"path": "b.txt", "content": "better\n"}
    ui = ScriptedUI(["go"], [Answer(verdict="allow", arguments=edited)])
    session = open_scripted(workspace, [WRITE], ui=ui)
    ran(session)
    assert (workspace / "b.txt").read_text() == "better\n"
    (started,) = (e for e in ui.events if isinstance(e, UpdateStarted))
    first = next(e for e in ui.events if isinstance(e, SampleTaken))
    assert {ref.sample for ref in started.examples if ref.correction} == {first.id}
    assert session.transcript.sampled(first.id).call == WRITE


def test_skip_training_denies_and_learns_nothing(workspace: Path) -> None:
    ui = ScriptedUI(["go"], [Answer(verdict="deny", reason="not now", train=False)])
    ran(open_scripted(workspace, [WRITE], ui=ui))
    assert not {"CorrectionGiven", "UpdateStarted"} & set(types(ui))


def test_with_training_off_the_correction_is_kept_for_later(workspace: Path) -> None:
    ui = ScriptedUI(["go"], [NO])
    config = Config(model={"name": "test:policy"}, session=SessionConfig(train=False))
    session = ran_session = open_scripted(workspace, [WRITE], ui=ui, config=config)
    ran(ran_session)
    assert len(session.transcript.pending()) == 1
    assert "UpdateStarted" not in types(ui)


def test_always_adds_a_rule_that_decides_the_next_such_call(workspace: Path) -> None:
    ui = ScriptedUI(["go"], [Answer(verdict="allow", always=True)])
    ran(open_scripted(workspace, [READ, READ], ui=ui))
    decisions = [e for e in ui.events if isinstance(e, DecisionMade)]
    (rule,) = (e for e in ui.events if isinstance(e, RuleAdded))
    assert [d.by for d in decisions] == ["user", f"rule:{rule.rule_id}"]
    assert len(ui.questions) == 1


def test_a_failed_update_leaves_the_weights_and_says_why(workspace: Path) -> None:
    ui = ScriptedUI(["go"], [NO])
    policy = ScriptedPolicy([WRITE], fail_updates=True)
    before = policy.weights()
    session = open_scripted(workspace, ui=ui, policy=policy)
    ran(session)
    (failed,) = (e for e in ui.events if isinstance(e, UpdateFailed))
    assert "told to fail" in failed.why
    assert failed.weights == before == policy.weights()
    assert session.transcript.pending() == ()


def test_an_interrupted_update_leaves_the_weights(workspace: Path) -> None:
    class Interrupted(ScriptedPolicy):
        def step(self, batch: object, *, stop_below: float) -> object:  # type: ignore[override]  # it only raises
            super().step(batch, stop_below=-1.0)  # type: ignore[arg-type]  # passed through
            raise KeyboardInterrupt

    ui = ScriptedUI(["go"], [NO])
    policy = Interrupted([WRITE])
    before = policy.weights()
    ran(open_scripted(workspace, ui=ui, policy=policy))
    (failed,) = (e for e in ui.events if isinstance(e, UpdateFailed))
    assert failed.why == "interrupted by the user"
    assert policy.weights() == before


def test_a_plugin_that_raises_is_recorded_and_the_session_goes_on(workspace: Path) -> None:
    class Broken:
        @hookimpl
        def event_appended(self, record: object, transcript: object) -> None:
            raise ValueError("boom")

    ui = ScriptedUI(["go"])
    ran(open_scripted(workspace, [READ, "done"], ui=ui, plugins={"broken": Broken()}))
    failures = [e for e in ui.events if isinstance(e, PluginFailed)]
    assert {(f.plugin, f.hook, f.error) for f in failures} == {
        ("broken", "event_appended", "ValueError: boom")
    }
    assert any(isinstance(e, ToolRan) and e.success for e in ui.events)


def test_observers_that_react_to_each_other_are_cut_off(workspace: Path) -> None:
    class Echo:
        @hookimpl
        def event_appended(self, record: object, transcript: object) -> list[object]:
            from continualcode.core.events import NoteGiven

            return (
                [NoteGiven(text="echo", by="plugin:echo")] if isinstance(record, NoteGiven | ToolRan) else []
            )

    ui = ScriptedUI(["go"])
    ran(open_scripted(workspace, [READ, "done"], ui=ui, plugins={"echo": Echo()}))
    assert any("deep" in e.error for e in ui.events if isinstance(e, PluginFailed))


def test_one_plugin_that_vetoes_is_obeyed_whatever_the_others_say(workspace: Path) -> None:
    class Says:
        def __init__(self, ruling: Ruling) -> None:
            self.ruling = ruling

        @hookimpl
        def review_tool_call(self, call: Call) -> Ruling:
            return self.ruling

    ui = ScriptedUI(["go"])
    plugins = {
        "yes": Says(Ruling(verdict="allow")),
        "no": Says(Ruling(verdict="deny", reason="protected")),
        "maybe": Says(Ruling(verdict="ask")),
    }
    ran(open_scripted(workspace, [WRITE], ui=ui, plugins=plugins))
    (decision,) = (e for e in ui.events if isinstance(e, DecisionMade))
    assert (decision.verdict, decision.by, decision.reason) == ("deny", "plugin:no", "protected")
    assert not ui.questions
    assert not (workspace / "b.txt").exists()


def test_a_review_that_raises_is_a_deny(workspace: Path) -> None:
    class Broken:
        @hookimpl
        def review_tool_call(self, call: Call) -> Ruling:
            raise OSError("no policy server")

    ui = ScriptedUI(["go"])
    ran(open_scripted(workspace, [WRITE], ui=ui, plugins={"broken": Broken()}))
    (decision,) = (e for e in ui.events if isinstance(e, DecisionMade))
    assert (decision.verdict, decision.by) == ("deny", "plugin:broken")
    assert "no policy server" in (decision.reason or "")


def test_run_tool_can_run_a_call_elsewhere(workspace: Path) -> None:
    class Elsewhere:
        @hookimpl
        def run_tool(self, call: Call) -> ToolResult | None:
            return ToolResult(output="ran elsewhere") if call.tool == "write" else None

    ui = ScriptedUI(["go"])
    ran(open_scripted(workspace, [WRITE], ui=ui, plugins={"elsewhere": Elsewhere()}))
    assert [e.output for e in ui.events if isinstance(e, ToolRan)] == ["ran elsewhere"]
    assert not (workspace / "b.txt").exists()


def test_a_tool_that_raises_is_a_failed_call(workspace: Path) -> None:
    class Bomb:
        @hookimpl
        def run_tool(self, call: Call) -> ToolResult | None:
            raise RuntimeError("boom")

    ui = ScriptedUI(["go"])
    ran(open_scripted(workspace, [READ], ui=ui, plugins={"bomb": Bomb()}))
    assert any(isinstance(e, PluginFailed) and e.hook == "run_tool" for e in ui.events)
    assert [e.success for e in ui.events if isinstance(e, ToolRan)] == [True], "the next in line ran it"


def test_a_completion_that_cannot_be_read_tells_the_model_why(workspace: Path) -> None:
    ui = ScriptedUI(["go"])
    session = open_scripted(workspace, ['{"name": "reed", "arguments": {}}', "done"], ui=ui)
    ran(session)
    (failed, _) = (e for e in ui.events if isinstance(e, ToolProposed))
    assert failed.call is None and failed.how == "failed"
    assert any("did you mean 'read'" in m.text for m in session.transcript.messages if m.role == "tool")


def test_interrupting_the_model_ends_the_turn_and_keeps_the_session(workspace: Path) -> None:
    class Slow(ScriptedPolicy):
        def sample(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]  # it only raises
            raise KeyboardInterrupt

    ui = ScriptedUI(["go", "/tools"])
    ran(open_scripted(workspace, ui=ui, policy=Slow()))
    assert any(isinstance(e, TurnInterrupted) for e in ui.events)
    assert any("read" in m for m in ui.messages), "the next input was taken"


def test_the_call_is_in_the_log_before_the_tool_runs(workspace: Path) -> None:
    seen: list[str] = []

    class Spy:
        @hookimpl
        def run_tool(self, call: Call) -> ToolResult:
            seen.append(log.read_text().splitlines()[-1])
            return ToolResult(output="")

    session = open_scripted(workspace, [READ], ui=ScriptedUI(["go"]), plugins={"spy": Spy()})
    log = session.log.path
    ran(session)
    assert '"t":"tool_started"' in seen[0]
    assert any(isinstance(e, ToolStarted) for e in session.ui.events)  # type: ignore[attr-defined]  # a ScriptedUI


def test_a_command_of_a_plugin_answers_like_any_other(workspace: Path) -> None:
    class Hello:
        name, help = "hello", "say hello"

        def run(self, argument: str, session: Session) -> str:
            return f"hello {argument}, {len(session.transcript.samples)} samples so far"

        @hookimpl
        def register_commands(self) -> list["Hello"]:
            return [self]

    ui = ScriptedUI(["/hello world", "/help"])
    ran(open_scripted(workspace, ui=ui, plugins={"hello": Hello()}))
    assert "hello world, 0 samples so far" in ui.messages
    assert "say hello" in ui.messages[-1]


def test_a_ui_of_a_plugin_is_chosen_by_its_name(workspace: Path) -> None:
    mine = ScriptedUI(["go"])

    class Mine:
        @hookimpl
        def make_ui(self, name: str, options: object) -> object:
            return (lambda: mine) if name == "mine" else None

    plugins = Plugins(installed=False)
    plugins.add(Mine(), "mine")
    assert plugins.choose("make_ui", "mine", {}) is mine


def test_records_of_a_plugin_are_written_and_read_back(workspace: Path) -> None:
    class Mood(Record, frozen=True, kw_only=True, tag="mine.mood"):
        text: str

    class Moody:
        @hookimpl
        def register_events(self) -> list[type[Record]]:
            return [Mood]

        @hookimpl
        def event_appended(self, record: Record) -> list[Record]:
            return [Mood(text="good")] if isinstance(record, ToolRan) else []

    session = open_scripted(workspace, [READ], ui=ScriptedUI(["go"]), plugins={"moody": Moody()})
    ran(session)
    (mood,) = (r for r in read(session.log.path, event_registry((Mood,))) if isinstance(r, Mood))
    assert mood.text == "good"
    assert any(type(r).__name__ == "Opaque" for r in read(session.log.path, event_registry()))


def test_a_secret_of_the_environment_reaches_neither_the_log_nor_the_model(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    (workspace / "a.txt").write_text("key = correct-horse-battery\n")
    session = open_scripted(workspace, [READ, "done"], ui=ScriptedUI(["go"]))
    ran(session)
    assert "correct-horse" not in session.log.path.read_text()
    assert any("«redacted: SOME_API_KEY»" in m.text for m in session.transcript.messages)


def test_the_log_is_readable_by_its_owner_alone(workspace: Path) -> None:
    session = open_scripted(workspace, ui=ScriptedUI())
    ran(session)
    assert session.log.path.stat().st_mode & 0o777 == 0o600


def test_a_second_session_on_one_log_is_told_who_holds_it(workspace: Path) -> None:
    session = open_scripted(workspace, ui=ScriptedUI())
    with pytest.raises(LogHeld, match=str(os.getpid())):
        open_scripted(workspace, ui=ScriptedUI(), log=session.log.path, resume=True)
    ran(session)


def test_a_prompt_that_cannot_be_sampled_from_ends_the_turn_not_the_session(workspace: Path) -> None:
    class Full(ScriptedPolicy):
        def render(self, messages: object, tools: object) -> tuple[int, ...]:
            raise UsageError("the prompt has 9000 tokens, the context 8192")

    ui = ScriptedUI(["go", "/tools"])
    ran(open_scripted(workspace, ui=ui, policy=Full()))
    assert "9000 tokens" in ui.messages[0] and "edit_lines" in ui.messages[1]
