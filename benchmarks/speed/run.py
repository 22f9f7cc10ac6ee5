"""How fast it is, next to what the machine can do and to what others do with the same model.

    python benchmarks/speed/run.py [--out results.json] [--models …] [--contexts 512,2048,8192] [--rounds 5]
        [--parts decode,update,session] [--threads 2] [--clock wall] [--device cpu] [--trl PYTHON]
        [--llama PYTHON=FILE.gguf]

Everything is measured in this one run, in turns: floor, ours, each peer, and again, so that a busy machine
hits all alike; what counts are the ratios. Figures are medians over the rounds with the lowest and the
highest. `--clock cpu --threads 1` counts the processes' own CPU seconds, on a machine that is not idle.
`--device cuda` measures a GPU, in bfloat16; a folder with random weights will do (`random_model.py`). Each
system has a process of its own (`workers.py`). TRL and llama.cpp are no dependencies: give the Python of an
environment that has them (and this package's own), or leave them out; the table says what was not measured.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import sessions
import torch

from continualcode.plugins.models.local import store

HERE = Path(__file__).parent
EXPECTED = {
    "update / TRL": "0.1 to 0.3 at 2k: the prompt is read once, not three times a step",
    "update / floor": "1.5 to 2: the linear layers of 40 tokens a step are near the floor, attention is not",
    "update peak / TRL": "below 1: no gradient goes through the prompt, so nothing of it is kept for one",
    "decode / generate": "1.1 to 1.3 in fp32: both read the same bytes a token, the rest is Python's",
    "decode / bandwidth": "0.6 to 0.8",
    "decode in int8 / generate": "2 to 2.5: a fifth of a token's time is not reading weights",
    "first token / generate": "1.0 to 1.2: pieces of 128 tokens for one pass over all",
    "decode / llama.cpp": "0.3 to 0.5: its weights have 4 bits, ours 32",
    "extended turn": "the new tokens, and at most one piece of 128 (before it was measured on a chat)",
    "replay": "above 5: nothing is sampled, shown or asked, and nothing is read twice",
    "start": "2 s: importing torch and transformers is half of it",
    "on a GPU": "kernels of a pass wait for their launches: an update at 2k .5 to 1 s, decode 1.5 to 2 times"
    " generate's and a fifth of what memory allows, update / floor 5 to 20",
}
"""Written before the first run."""
TOLD = "No. Say first what the whole file is for, in one sentence; then go through it by function."


class Worker:
    """A process of `workers.py`."""

    def __init__(self, system: str, model: str, python: str, given: Any) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(given.threads), "TOKENIZERS_PARALLELISM": "false"}
        self._process = subprocess.Popen(
            [python, str(HERE / "workers.py"), system, model, str(given.threads), given.clock, given.device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if system != "ours" else None,
            text=True,
            env=environment,
        )

    def ready(self) -> None:
        """Wait until its model is loaded."""
        self._answer()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Have one thing done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            errors = self._process.stderr.read() if self._process.stderr else ""
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} ended: {errors[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Table:
    """Figures by what they are, all rounds of each; prints medians, and ratios within rounds."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, value: float) -> None:
        """One round's value."""
        self.values[what].append(value)

    def row(
        self, what: str, values: list[float], unit: str, goal: float | None = None, least: bool = False
    ) -> None:
        """Print and keep a row. `goal` is the most that is allowed, or the least where `least` is true."""
        if not values:
            print(f"{what:58} not measured")
            self.rows.append({"what": what, "median": None})
            return
        middle, low, high = statistics.median(values), min(values), max(values)
        met = None if goal is None else middle >= goal if least else middle <= goal
        word = "" if met is None else "met" if met else "NOT MET"
        bound = "" if goal is None else f"{'≥' if least else '≤'} {goal:g}"
        print(f"{what:58} {middle:>10,.3g} {unit:7} [{low:,.3g} … {high:,.3g}]  {bound:7} {word}", flush=True)
        self.rows.append(
            {"what": what, "median": middle, "low": low, "high": high, "unit": unit, "goal": goal, "met": met}
            | {"values": values}
        )

    def ratio(self, what: str, over: str, under: str, goal: float | None = None, least: bool = False) -> None:
        """The row of over / under, round by round."""
        pairs = zip(self.values.get(over, []), self.values.get(under, []), strict=False)
        self.row(what, [a / b for a, b in pairs], "×", goal, least)


class Sizes:
    """What one token costs in a model, from its configuration; `each`: bytes of a number."""

    def __init__(self, folder: str, each: int) -> None:
        self._each = each
        config = json.loads((Path(folder) / "config.json").read_text())
        wide, inner, self.layers = (
            config["hidden_size"],
            config["intermediate_size"],
            config["num_hidden_layers"],
        )
        heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
        self._width = config.get("head_dim") or wide // heads
        self._heads = heads
        self._keys = 2 * shared * self._width
        attention = wide * self._width * (2 * heads + 2 * shared)
        self.linear = self.layers * (attention + 3 * wide * inner)
        self.head = config["vocab_size"] * wide

    def forward(self, tokens: int, before: int, scored: int = 0) -> float:
        """FLOP of `tokens` tokens after `before` others, with logits at `scored` of them."""
        seen = before + tokens / 2
        return (
            2 * (self.linear * tokens + self.head * scored)
            + 4 * self.layers * self._heads * self._width * tokens * seen
        )

    def update(self, prompt: int, words: int, completion: int, steps: int, known: bool) -> float:
        """FLOP that an update needs: each token read once, each step forwards and back to activations."""
        read = 0.0 if known else self.forward(prompt, 0)
        teacher = self.forward(words, prompt) + self.forward(completion, prompt + words, completion)
        return read + teacher + steps * 2 * self.forward(completion, prompt, completion)

    def bytes(self, before: int) -> float:
        """Bytes that one token touches: all weights, and keys and values of those before."""
        return self._each * (self.linear + self.head + self.layers * self._keys * before)

    def update_bytes(self, prompt: int, steps: int, known: bool) -> float:
        """Bytes that an update reads at least: the weights in each of its passes."""
        return self.bytes(prompt) * (1 + 2 * steps + (0 if known else 1))


def decoding(
    table: Table, name: str, sizes: Sizes, workers: dict[str, Worker], prompts: Any, given: Any
) -> None:
    """Time to first token, tokens a second, a turn that extends another."""
    for context, one in prompts.items():
        here, prompt = f"{name} {context}", one["prompt"]
        for _ in range(given.rounds):
            bandwidth = workers["floor"].ask("bandwidth")["rate"]
            flops = workers["floor"].ask("flops")["rate"]
            table.add(f"{here} floor rate", bandwidth / sizes.bytes(len(prompt)))
            table.add(f"{here} floor first", sizes.forward(len(prompt), 0, 1) / flops)
            for system in ("ours", "int8", "generate", "llama"):
                if system in workers:
                    got = workers[system].ask("decode", prompt=prompt, tokens=given.tokens)
                    table.add(f"{here} {system} first", got["first"])
                    table.add(f"{here} {system} rate", got["rate"])
                    if system == "ours":
                        more = workers[system].ask("further", prompt=prompt, said=got["ids"])
                        table.add(f"{here} extra", more["again"])
        for system in ("floor", "ours", "generate", "llama"):
            table.row(f"{here}: first token, {system}", table.values[f"{here} {system} first"], "s")
        for system in ("floor", "ours", "int8", "generate", "llama"):
            table.row(f"{here}: decode, {system}", table.values[f"{here} {system} rate"], "tok/s")
        table.ratio(f"{here}: first token / generate", f"{here} ours first", f"{here} generate first")
        table.ratio(
            f"{here}: decode / generate", f"{here} ours rate", f"{here} generate rate", 2.0, least=True
        )
        quick = f"{here} int8 rate"
        table.ratio(f"{here}: decode in int8 / generate", quick, f"{here} generate rate", 2.0, least=True)
        table.ratio(f"{here}: decode in int8 / llama.cpp", quick, f"{here} llama rate")
        table.ratio(f"{here}: decode / llama.cpp", f"{here} ours rate", f"{here} llama rate")
        table.ratio(
            f"{here}: decode / bandwidth floor", f"{here} ours rate", f"{here} floor rate", 0.6, least=True
        )
        table.row(
            f"{here}: tokens computed again in the next turn", table.values[f"{here} extra"], "tokens", 64
        )


def updating(
    table: Table, name: str, sizes: Sizes, workers: dict[str, Worker], prompts: Any, given: Any
) -> None:
    """One correction of one row, all steps; TRL's the same."""
    for context, one in prompts.items():
        here = f"{name} {context}"
        completion = workers["ours"].ask("decode", prompt=one["prompt"], tokens=given.tokens)["ids"]
        row = {**one, "completion": completion, "steps": given.steps}
        lengths = len(one["prompt"]), len(one["teacher"]) - len(one["prompt"]), len(completion), given.steps
        digests = set[str]()
        for _ in range(given.rounds):
            flops = workers["floor"].ask("flops")["rate"]
            bandwidth = workers["floor"].ask("bandwidth")["rate"]
            for known in (True, False):
                least = sizes.update(*lengths, known) / flops
                read = sizes.update_bytes(lengths[0], given.steps, known) / bandwidth
                table.add(f"{here} floor {known}", least)
                table.add(f"{here} floor and memory {known}", max(least, read))
                got = workers["ours"].ask("update", **row, known=known)
                digests.add(got["digest"])
                table.add(f"{here} ours {known}", got["seconds"])
                table.add(f"{here} ours peak", got["peak"] / 2**20)
                if known:
                    table.add(f"{here} ours ready", got["ready"])
            for system in ("all-tokens", "trl"):
                if system in workers:
                    got = workers[system].ask("update", **row, known=False)
                    table.add(f"{here} {system}", got["seconds"])
                    table.add(f"{here} {system} peak", got["peak"] / 2**20)
        if len(digests) != 1:
            raise RuntimeError(f"{here}: one update, {len(digests)} digests: {digests}")
        table.row(f"{here}: update, floor", table.values[f"{here} floor True"], "s")
        table.row(f"{here}: update, ours, after sampling", table.values[f"{here} ours True"], "s")
        table.row(f"{here}: then ready for its first token", table.values[f"{here} ours ready"], "s")
        table.row(f"{here}: update, ours, nothing read before", table.values[f"{here} ours False"], "s")
        table.row(f"{here}: update, ours with LoRA on all tokens", table.values[f"{here} all-tokens"], "s")
        table.row(f"{here}: update, TRL", table.values[f"{here} trl"], "s")
        table.ratio(f"{here}: update / TRL", f"{here} ours True", f"{here} trl", 0.5)
        table.ratio(f"{here}: update / TRL, nothing read before", f"{here} ours False", f"{here} trl", 0.5)
        table.ratio(f"{here}: update / TRL, LoRA on all tokens", f"{here} all-tokens", f"{here} trl")
        table.ratio(f"{here}: update / floor", f"{here} ours True", f"{here} floor True", 2.0)
        table.ratio(
            f"{here}: update / floor, nothing read before", f"{here} ours False", f"{here} floor False", 2.0
        )
        for known, when in ((True, "after sampling"), (False, "nothing read before")):
            table.ratio(
                f"{here}: update / floor, memory too, {when}",
                f"{here} ours {known}",
                f"{here} floor and memory {known}",
            )
        for system in ("ours", "all-tokens", "trl"):
            table.row(f"{here}: peak memory, {system}", table.values[f"{here} {system} peak"], "MiB")
        table.ratio(f"{here}: peak memory / TRL", f"{here} ours peak", f"{here} trl peak", 1.0)


def whole(table: Table, name: str, given: Any) -> None:
    """A session start, a session with corrections, and its replay."""
    for _ in range(given.rounds):
        table.add(f"{name} start", sessions.start(name, given.threads))
    table.row(f"{name}: session start, warm cache", table.values[f"{name} start"], "s")
    taught = sessions.taught(name, given.threads, given.rules)
    for replayed in [sessions.replayed(taught.log) for _ in range(given.rounds)]:
        table.add(f"{name} replay", replayed)
    times = table.values[f"{name} replay"]
    table.row(f"{name}: session's own compute, {taught.updates} updates", [taught.seconds], "s")
    table.row(f"{name}: replay, model loaded", times, "s")
    table.row(f"{name}: replay, updates a second", [taught.updates / t for t in times], "/s")
    table.row(f"{name}: session / replay", [taught.seconds / t for t in times], "×", 5.0, least=True)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Measures speed; see the docstring.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--models", default="smollm2-135m,qwen2.5-coder-0.5b")
    parser.add_argument("--contexts", default="512,2048,8192")
    parser.add_argument("--parts", default="decode,update,session")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32, help="of a completion")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--without", default="", help="systems to leave out, say all-tokens,generate")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rules", type=int, default=2, help="corrections in the session that is replayed")
    parser.add_argument("--trl", metavar="PYTHON")
    parser.add_argument("--llama", metavar="PYTHON=GGUF", help="for one model at a time")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU on this machine; --device cpu measures without one")
    print(f"expected: {json.dumps(EXPECTED, indent=1, ensure_ascii=False)}")
    table, began = Table(), time.time()
    text = "\n".join(file.read_text() for file in sorted((HERE.parent.parent / "core").glob("*.py")))
    for name in given.models.split(","):
        folder = str(store.resolve(name).folder)
        pythons = {"ours": sys.executable, "floor": sys.executable}
        if "decode" in given.parts:
            pythons["generate"] = sys.executable
            if given.device == "cpu":
                pythons["int8"] = sys.executable
        if "update" in given.parts:
            pythons |= {"all-tokens": sys.executable} | ({"trl": given.trl} if given.trl else {})
        if "decode" in given.parts or "update" in given.parts:
            asked = {s: python for s, python in pythons.items() if s not in given.without.split(",")}
            workers = {system: Worker(system, folder, python, given) for system, python in asked.items()}
            if given.llama and "decode" in given.parts:
                python, _, file = given.llama.partition("=")
                workers["llama"] = Worker("llama", file, python, given)
            try:
                for worker in workers.values():
                    worker.ready()
                sizes = Sizes(folder, 2 if given.device == "cuda" else 4)
                ask = workers["ours"].ask
                contexts = [int(each) for each in given.contexts.split(",")]
                prompts = {c: ask("prompt", text=text[: c * 8], tokens=c, told=TOLD) for c in contexts}
                if "decode" in given.parts:
                    decoding(table, name, sizes, workers, prompts, given)
                if "update" in given.parts:
                    updating(table, name, sizes, workers, prompts, given)
            finally:
                for worker in workers.values():
                    worker.close()
        if "session" in given.parts:
            whole(table, name, given)
    if given.out is not None:
        about = {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count()}
        about |= {
            "load": os.getloadavg(),
            "seconds": time.time() - began,
            "options": vars(given) | {"out": None},
        }
        given.out.write_text(json.dumps({"about": about, "expected": EXPECTED, "rows": table.rows}, indent=1))


if __name__ == "__main__":
    main()
