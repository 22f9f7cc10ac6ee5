"""The slash commands that every UI has, on a scripted session."""

from pathlib import Path

from continualcode.core import engine
from continualcode.core.config import Config
from continualcode.core.data import Call
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedPolicy, ScriptedUI, open_scripted

WRITE = Call(tool="write", arguments={"path": "b.txt", "content": "b\n"})
DENY = Answer(verdict="deny", reason="use edit_lines, and not the whole file, as it was said before")


def after(
    folder: Path, inputs: list[str], policy: ScriptedPolicy | None = None
) -> tuple[Session, ScriptedUI]:
    """A session in which WRITE was denied twice, after `inputs`."""
    ui = ScriptedUI(inputs, [DENY, DENY])
    trainer = {"name": "sdpo", "divergence_floor": 0.5}
    config = Config(model={"name": "test:policy"}, trainer=trainer, sandbox={"name": "none"})
    session = open_scripted(folder / "p", [WRITE, "said", WRITE, "said"], ui=ui, config=config, policy=policy)
    engine.run(session)
    return session, ui


def test_metrics_say_what_was_learned_from_each_correction_and_what_it_cost(tmp_path: Path) -> None:
    _, ui = after(tmp_path, ["go", "go", "/undo update", "/metrics"])
    counts, _, rows = ui.messages[-1].partition("\n\n")
    assert "updates      2 applied, 0 rejected, 0 failed; 1 stand" in counts
    assert "corrections  2, 0 not learned yet" in counts
    assert "seconds " in counts and "learning" in counts
    lines = rows.splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("  1  █▅ 1.00 → 0.50 nats") and "undone" not in lines[1]
    assert lines[2].strip() == "“use edit_lines, and not the whole file, as it…”"
    assert lines[3].startswith("  2  ") and lines[3].endswith(", undone")


def test_metrics_name_an_update_that_failed(tmp_path: Path) -> None:
    _, ui = after(tmp_path, ["go", "/metrics"], ScriptedPolicy([WRITE, "said"], fail_updates=True))
    assert "failed: the scripted policy was told to fail updates" in ui.messages[-1]
    assert "0 applied, 0 rejected, 1 failed" in ui.messages[-1]


def test_metrics_before_anything_was_learned(tmp_path: Path) -> None:
    _, ui = after(tmp_path, ["/metrics"])
    assert "samples      0, 0 tokens" in ui.messages[-1]
    assert "what was learned" not in ui.messages[-1]


def test_log_shows_where_it_is_and_the_last_decisions(tmp_path: Path) -> None:
    session, ui = after(tmp_path, ["/log", "go", "/log", "/log all", "/log some"])
    path, nothing = ui.messages[0].splitlines()
    assert path.startswith(str(session.log.path)) and nothing == "Nothing was decided yet."
    assert "deny   user" in ui.messages[1] and "reason: use edit_lines" in ui.messages[1]
    assert "give nothing, or: all" in ui.messages[3]


def test_model_hands_over_to_a_session_with_another_one(tmp_path: Path) -> None:
    script = tmp_path / "calls.jsonl"
    script.write_text("hello\n")
    inputs = [
        "/model",
        "/model scripted",
        "/model no-such:scheme",
        f"/model scripted:{script}",
    ]
    session, ui = after(tmp_path, [*inputs, "never typed"])
    which, same, unknown, over = ui.messages
    assert "/model NAME" in which
    assert "this is scripted already" in same
    assert "cc models list" in unknown
    assert session.ended and session.successor is not None and session.successor.model is not None
    assert session.successor.model["name"] == f"scripted:{script}"
    assert "cc replay" in over
    assert ui.inputs == ["never typed"]


def test_a_prompt_may_begin_with_a_path(tmp_path: Path) -> None:
    session, ui = after(tmp_path, ["/etc/hosts is what I mean", "/nonsense"])
    assert [m.text for m in session.transcript.messages if m.role == "user"] == ["/etc/hosts is what I mean"]
    assert "unknown command /nonsense" in ui.messages[-1]
