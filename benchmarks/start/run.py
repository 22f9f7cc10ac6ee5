"""How long until one can type, and until the model can speak: `cc run` in a pseudo-terminal, from exec.

    python benchmarks/start/run.py [--model NAME] [--rounds 5] [--out results.json]

Each round is a new process, as a person starts one; one goes before, so the disk's cache is warm. *prompt*:
the `>` is on the screen and takes keys. *ready*: the session is open (its log names the tools, the last thing
before that), so what comes next is a token. *first token*: of a prompt that was typed as soon as there was a
`>`: it waits for the model, which then reads it. *interpreter*: `python -c ''` in the same turn: not ours.
*… cpu*: the processor seconds that the process had taken by then, which say more on a machine that has other
things to do (Linux).
"""

import argparse
import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPECTED = {
    "prompt": "0.5 s: click, config, plugins, prompt_toolkit and rich",
    "ready": "4 s: torch 2, tokenizer 0.6, llguidance's table 0.4, all else 0.5, and the prompt's 0.6",
    "first token": "ready and 3 s: some 300 tokens of tools and rules to read on one core",
}
"""Written before the first run, from processor seconds of each part under load."""

GOALS = {"prompt": 1.5, "ready": 5.0}

PROMPT, FIRST_TOKEN = re.compile(rb"\n>"), re.compile(rb"\b1 tokens?,")
ANSI = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


def interpreter() -> float:
    """Seconds of a Python that does nothing."""
    clock = time.monotonic()
    subprocess.run([sys.executable, "-c", ""], check=True)
    return time.monotonic() - clock


def start(model: str, limit: float) -> dict[str, float]:
    """Seconds from exec to prompt, ready, first token. Raises RuntimeError where one does not come."""
    with tempfile.TemporaryDirectory() as folder:
        project, log = Path(folder) / "project", Path(folder) / "log.jsonl"
        project.mkdir()
        (project / "a.txt").write_text("one\n")
        clock = time.monotonic()
        child, terminal = pty.fork()
        if child == 0:
            os.environ |= {"TERM": "xterm-256color", "XDG_CONFIG_HOME": folder, "XDG_DATA_HOME": folder}
            cc = str(Path(sys.executable).parent / "continualcode")
            os.execv(cc, [cc, "run", str(project), "--model", model, "--log", str(log)])
        try:
            return watch(child, terminal, log, clock, limit)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(terminal)


def processor(process: int) -> float | None:
    """Processor seconds that a process has taken so far; None where the system does not tell."""
    try:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def watch(child: int, terminal: int, log: Path, clock: float, limit: float) -> dict[str, float]:
    """Read the terminal, answer what it is asked, and type once there is a prompt."""
    found: dict[str, float] = {}

    def note(name: str) -> None:
        found[name] = now
        if (taken := processor(child)) is not None:
            found[f"{name} cpu"] = taken

    screen = b""
    while "first token" not in found or "ready" not in found:
        readable, _, _ = select.select([terminal], [], [], 0.01)
        if readable:
            piece = os.read(terminal, 1 << 16)
            if b"\x1b[6n" in piece:  # where is the cursor?
                os.write(terminal, b"\x1b[1;1R")
            screen += piece
        plain = ANSI.sub(b"", screen)
        now = time.monotonic() - clock
        if "prompt" not in found and PROMPT.search(plain):
            note("prompt")
            os.write(terminal, b"What is in a.txt?\r")
        if "ready" not in found and log.exists() and b'"tools_offered"' in log.read_bytes():
            note("ready")
        if "first token" not in found and FIRST_TOKEN.search(plain):
            note("first token")
        if now > limit:
            raise RuntimeError(f"after {limit:.0f} s, only {found}:\n{plain.decode(errors='replace')}")
    return found


def main() -> None:
    """Print a table, and write every figure to --out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a round may take")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    start(given.model, given.limit)
    rounds = [{"interpreter": interpreter(), **start(given.model, given.limit)} for _ in range(given.rounds)]
    for name in rounds[0]:
        values = sorted(one[name] for one in rounds)
        goal, middle = GOALS.get(name), statistics.median(values)
        met = "" if goal is None else f", goal {goal} s: {'met' if middle <= goal else 'NOT MET'}"
        print(f"{name:<15} {middle:6.2f} s ({values[0]:.2f} to {values[-1]:.2f}){met}")
    if given.out:
        made = {"model": given.model, "expected": EXPECTED, "load": os.getloadavg(), "rounds": rounds}
        given.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
