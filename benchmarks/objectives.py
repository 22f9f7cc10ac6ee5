"""What one correction teaches, by objective: the same logged denial, learned in different ways.

    python benchmarks/objectives.py LOG [--json FILE]

LOG is a session with at least one update (`make demo` leaves one). For each arm the policy goes back to the
base weights, carries out the log's first plan with another objective, and is asked, with the correction
*absent*, which tool it would call: on the corrected prompt, on held-out prompts of the same kind, and on
controls whose right tool is another one. One seed, one rule: a lead, not a result.

Expected beforehand: the sampled token alone pushes the denied call down and the wanted one hardly up; full
distributions raise the wanted one; what they raise leaks to the controls a little.
"""

import time
from pathlib import Path

import click
import msgspec

from continualcode.cli.demo import DENIED, HELD_OUT, WANTED
from continualcode.core.data import Message, UpdatePlan
from continualcode.core.events import SessionStarted, UpdateStarted, event_registry
from continualcode.core.plugins import Plugins
from continualcode.core.protocols import Policy
from continualcode.core.replay import plan_of
from continualcode.core.transcript import Transcript
from continualcode.eventlog import read

CONTROLS = (
    ("Show me README.md.", "read"),
    ("Run the tests with pytest.", "bash"),
    ("Find every line that says TODO.", "grep"),
    ("Create hello.txt with the text hi.", "write"),
)
ARMS: dict[str, dict[str, object]] = {
    "forward KL, full": {},
    "forward KL, 10 steps": {"max_steps": 10, "divergence_target": 0.02},
    "forward KL, 1 step of 1e-4": {"max_steps": 1, "lr": 1e-4},
    "JSD .5, full": {"divergence": "jsd", "alpha": 0.5},
    "reverse KL, full": {"divergence": "reverse_kl"},
    "forward KL, top 20 + tail": {"top_k": 20},
    "sampled token": {"divergence": "sampled"},
}


def variant(plan: UpdatePlan, changes: dict[str, object]) -> UpdatePlan:
    """The plan with other settings, in the settings and in the objective and optimiser made of them."""
    objective = {k: v for k, v in changes.items() if k in plan.objective.__struct_fields__}
    optimiser = {k: v for k, v in changes.items() if k in plan.optimiser.__struct_fields__}
    return msgspec.structs.replace(
        plan,
        settings={**plan.settings, **changes},
        objective=msgspec.structs.replace(plan.objective, **objective),
        optimiser=msgspec.structs.replace(plan.optimiser, **optimiser),
    )


@click.command()
@click.argument("log", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here too.")
def main(log: Path, json_file: Path | None) -> None:
    """Learn the first correction of LOG in several ways."""
    plugins = Plugins()
    transcript = Transcript(plugins.feedback())
    first: UpdateStarted | None = None
    for record in read(log, event_registry(plugins.event_types())):
        transcript.apply(record)
        if isinstance(record, UpdateStarted):
            first = record
            break
    started = transcript.started
    if first is None or not isinstance(started, SessionStarted):
        raise click.UsageError(f"{log}: no update in it")
    model = started.config["model"]
    policy: Policy = plugins.choose("make_policy", model["name"], model, lambda label, done, total: None)
    plan = plan_of(first, transcript)
    system = [m for m in transcript.messages if m.role == "system"]
    texts = [*HELD_OUT, *(text for text, _ in CONTROLS)]
    prompts = [plan.examples[0].prompt_ids]
    prompts += [policy.render([*system, Message(role="user", text=t)], transcript.tools) for t in texts]

    def look() -> list[dict[str, float]]:
        return [policy.tool_probabilities(ids, transcript.grammar, transcript.tools) for ids in prompts]

    rows: list[dict[str, object]] = []

    def show(name: str, steps: int, seconds: float) -> None:
        figures = look()
        kind, controls = figures[: 1 + len(HELD_OUT)], figures[1 + len(HELD_OUT) :]
        rows.append({"arm": name, "steps": steps, "seconds": round(seconds, 1), "prompts": figures})
        right = " ".join(f"{f[tool]:.2f}" for f, (_, tool) in zip(controls, CONTROLS, strict=True))
        wanted = " ".join(f"{f[WANTED]:.2f}" for f in kind)
        denied = " ".join(f"{f[DENIED]:.2f}" for f in kind)
        leak = " ".join(f"{f[WANTED]:.2f}" for f in controls)
        click.echo(f"| {name} | {steps} | {seconds:.0f} | {wanted} | {denied} | {right} | {leak} |")

    click.echo(
        f"| arm | steps | s | {WANTED}: corrected, held out | {DENIED} | controls: right tool | leak |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    policy.reset()
    show("before", 0, 0.0)
    for name, changes in ARMS.items():
        policy.reset()
        arm = variant(plan, changes)
        clock = time.perf_counter()
        outcome = plugins.choose("make_trainer", arm.trainer, arm.settings).update(arm, policy)
        show(name, outcome.steps, time.perf_counter() - clock)
    if json_file:
        json_file.write_bytes(msgspec.json.encode({"log": str(log), "model": model, "rows": rows}))


if __name__ == "__main__":
    main()
