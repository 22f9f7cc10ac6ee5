"""`cc demo`: a whole session on the default model, unattended, and then the proof.

A small project with a failing test; a prompt; an operator (`demo.toml`) who denies overwriting the
file. The denial is learned from at once and the agent tries again. A better retry proves nothing, as
the correction is then in the conversation: so the demo measures P(wanted call) with the correction
*absent*, before and after the update, on the corrected prompt and on prompts that were never
corrected. Then it replays the log.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import click
import msgspec

from continualcode.cli.output import progress_on_stderr
from continualcode.cli.run import checkpoint_folder, configuration, new_log, session_options
from continualcode.core import engine
from continualcode.core.data import Message
from continualcode.core.events import UpdateApplied
from continualcode.core.plugins import Plugins
from continualcode.core.replay import ReplayReport, replay_log
from continualcode.core.session import Session, open_session

HERE = Path(__file__).parent
WANTED, DENIED = "edit_lines", "write"
HELD_OUT = (
    'Line 2 of hello.py says `return "Hi"`; it should be "Hello". Fix line 2.',
    "config.toml fails: line 3 says `port = 80`, it should be 8080. Fix line 3.",
    "The README says version 1.0 on line 7; it should be 2.0. Change line 7.",
)
"""Prompts of the same kind that the session never sees: other files, other words."""
LIMITS = ("budget.turns=6", "sampling.max_tokens=160")
"""So that the demo ends in minutes: a small model may go on for long."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """P(the turn begins as a call of that tool), correction absent, before and after the session."""

    prompt: str
    corrected: bool
    before: dict[str, float]
    after: dict[str, float]


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print one object: log, before, after, held_out, replay, …"
)
@session_options
def demo(
    as_json: bool,
    model: str | None,
    modules: tuple[str, ...],
    disable: tuple[str, ...],
    sets: tuple[str, ...],
) -> None:
    """Deny, train, retry on a small project; then measure what was learned, and replay the log.

    About five minutes on two cores; the first time, the model is downloaded before that.
    """
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="continualcode-demo-")) / "project"
    shutil.copytree(HERE / "demo_project", folder, ignore=shutil.ignore_patterns("__pycache__"))
    script = {"name": "script", "file": str(HERE / "demo.toml")}
    config = configuration(
        folder, model=model, ui=script, modules=modules, disable=disable, sets=(*LIMITS, *sets)
    )
    plugins = Plugins(config.plugins)
    log = new_log(config, folder)
    with _stdout_to_stderr(as_json):
        click.echo(f"Working on a copy of a small project in {folder}.\n")
        session = open_session(config, plugins, workspace=folder, log=log, checkpoints=checkpoint_folder())
        try:
            engine.run(session)
            measured = measure(session)
            updates = [o for o in session.transcript.outcomes.values() if isinstance(o, UpdateApplied)]
        finally:
            session.close("demo over")
        fixed = is_fixed(folder)
        click.echo("\nReplaying the log, from the base model:")
        replayed = replay_log(log, plugins, progress=progress_on_stderr())
    seconds = time.monotonic() - began
    if as_json:
        click.echo(msgspec.json.encode(result(log, measured, updates, replayed, fixed, seconds)))
    else:
        click.echo(report(log, measured, updates, replayed, fixed, seconds))
    sys.exit(0 if replayed.ok and updates else 1)


def is_fixed(folder: Path) -> bool:
    """Whether the project's failing test passes by now; called by itself, as pytest may not be there."""
    call = "import test_settings; test_settings.test_a_request_is_tried_again()"
    return subprocess.run([sys.executable, "-c", call], cwd=folder, capture_output=True).returncode == 0


def measure(session: Session) -> list[Measured]:
    """The tool-choice distribution on the corrected prompt and the held-out ones, at both weights."""
    transcript, policy = session.transcript, session.policy
    corrected = [transcript.sampled(c.sample) for c in transcript.corrections.values()][:1]
    system = [m for m in transcript.messages if m.role == "system"]
    prompts = [("the corrected prompt", True, turn.prompt_ids) for turn in corrected]
    for text in HELD_OUT:
        messages = [*system, Message(role="user", text=text)]
        prompts.append((text, False, policy.render(messages, transcript.tools)))

    def look(label: str) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for number, (_, _, ids) in enumerate(prompts, 1):
            found.append(policy.tool_probabilities(ids, transcript.grammar, transcript.tools))
            session.ui.progress(label, number, len(prompts))
        return found

    after = look("measuring, after the update")
    learned = policy.snapshot()
    policy.reset()
    before = look("measuring, before the update")
    policy.restore(learned)
    return [
        Measured(prompt=prompt, corrected=is_corrected, before=b, after=a)
        for (prompt, is_corrected, _), b, a in zip(prompts, before, after, strict=True)
    ]


def result(
    log: Path,
    measured: list[Measured],
    updates: list[UpdateApplied],
    replayed: ReplayReport,
    fixed: bool,
    seconds: float,
) -> dict[str, object]:
    """What `--json` prints; `before` and `after` are P(wanted call) on the corrected prompt, or None."""
    corrected = next((m for m in measured if m.corrected), None)
    return {
        "log": str(log),
        "wanted": WANTED,
        "denied": DENIED,
        "before": corrected and corrected.before[WANTED],
        "after": corrected and corrected.after[WANTED],
        "prompts": msgspec.to_builtins(measured),
        "updates": len(updates),
        "fixed": fixed,
        "replay": {"ok": replayed.ok, **msgspec.to_builtins(replayed)},
        "seconds": round(seconds, 1),
    }


def report(
    log: Path,
    measured: list[Measured],
    updates: list[UpdateApplied],
    replayed: ReplayReport,
    fixed: bool,
    seconds: float,
) -> str:
    """The same for a person."""
    lines = ["", "What was learned: probabilities without the correction in the context, before → after"]
    for m in measured:
        figures = "   ".join(
            f"{tool} {m.before[tool]:.2f} → {m.after[tool]:.2f}" for tool in (WANTED, DENIED)
        )
        lines += [f"  {figures}   {'the corrected prompt' if m.corrected else 'held out: ' + m.prompt}"]
    if not updates:
        lines += ["  nothing: the operator had nothing to deny, so no update ran"]
    lines += [
        "",
        f"The project's failing test {'passes now' if fixed else 'still fails: the task was not finished'}.",
    ]
    verdict = "all weights came out bit for bit" if replayed.ok else "NOT as logged"
    lines += [
        f"Replay: {replayed.matched} of {replayed.updates} updates, {verdict} ({replayed.weights[:12]}).",
        f"The log: {log}",
        f"  cc log show {log}",
        f"  cc replay --verify {log}",
        f"{seconds:.0f} s in all.",
    ]
    return "\n".join(lines)


@contextlib.contextmanager
def _stdout_to_stderr(active: bool) -> Generator[None, None, None]:
    """With --json, stdout is for the one object: the session's transcript goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr) if active else contextlib.nullcontext():
        yield
