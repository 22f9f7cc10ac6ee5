"""What docs/replay.md says of replay, checked on a real model; README.md here has the results.

    python benchmarks/replay/run.py OUT                  # every step that OUT/results.json has not
    python benchmarks/replay/run.py OUT record verify    # only these

record      an unattended session; killed with kill -9 in the middle of an update, and resumed
verify      cc replay LOG --verify
threads     the same on two threads, up to the second update, by bits and by figures
without     cc replay LOG --without the first, middle, last correction; against logs recorded without it
resample    --without the second of eight with --resample; against a session recorded without it
bisect      the planted correction among the first 16
transfer    the corrections given to another model (--onto)
undo        /undo, /redo, --resume LOG@SEQ, --fork LOG@SEQ; see undoing.py
export      cc adapter export, loaded by transformers and peft; see exporting.py

Each step gives the commands that a user would give, and compares logs and digests. A step
may be run by itself once `record` is done. Exit code 1: something is not as it should be.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from math import ceil, log2
from pathlib import Path
from typing import Any

import exporting  # these lie beside this file
import recording
import undoing
from recording import Learned, again, audit, command, flags, learned, records, variant

from continualcode.core.events import PromptSubmitted, SessionResumed
from continualcode.plugins.models.local import store

HERE = Path(__file__).parent
SCRIPT, CASES = HERE / "session.toml", HERE / "cases.toml"
PLANTED, AMONG = "planted", 16
BROKEN = 0.001
"""What P(bash) rises by: two steps teach little, and it is 1e-4 before."""
LONGER = "trainer.demonstration_tokens=24"
"""A vocabulary of another model says the beginning of a call, which is the same for all, in more tokens."""


class Bench:
    """One folder with a log, its relatives, and results by step."""

    def __init__(self, out: Path, model: str, onto: str, prompts: int | None, kill: int) -> None:
        self.out, self.model, self.onto, self.kill = out.resolve(), model, onto, kill
        self.out.mkdir(parents=True, exist_ok=True)
        self.results: dict[str, Any] = {}
        if (self.out / "results.json").exists():
            self.results = json.loads((self.out / "results.json").read_text())
        self._keep_to_itself()
        self.log = self.out / "session.jsonl"
        self.script = variant(SCRIPT, self.out / "session.toml", first=2 * prompts if prompts else None)

    def _keep_to_itself(self) -> None:
        """Weights are kept in OUT, and nobody's settings are read; models are where they are."""
        models = store.default_cache()
        cache = self.out / "cache" / "continualcode"
        cache.mkdir(parents=True, exist_ok=True)
        if not (cache / "models").is_symlink():
            (cache / "models").symlink_to(models)
        os.environ |= {"XDG_CACHE_HOME": str(cache.parent), "XDG_CONFIG_HOME": str(self.out / "config")}

    def run(self, name: str, step: Callable[[], dict[str, Any]]) -> bool:
        """Do one step and write down what it found; whether it is as it should be."""
        began, cpu = time.monotonic(), _cpu()
        try:
            found = step()
        except Exception as error:  # the other steps do not need this one
            traceback.print_exc()
            found = {"ok": False, "error": repr(error)}
        figures = {"seconds": round(time.monotonic() - began), "cpu_seconds": round(_cpu() - cpu)}
        self._write(name, {**found, **figures, "load": round(os.getloadavg()[1], 1)})
        return bool(found["ok"])

    def _write(self, name: str, found: dict[str, Any]) -> None:
        self.results[name] = found
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1) + "\n")
        print(f"{name}: {json.dumps(found, indent=1)}", flush=True)

    def cc(self, name: str, *arguments: object) -> Any:
        """What a command prints with --json; what it says meanwhile goes to NAME.txt."""
        line = command(*map(str, arguments), "--json")
        with (self.out / f"{name}.txt").open("a") as said:
            print(f"$ cc {' '.join(line[1:])}", file=said, flush=True)
            ran = subprocess.run(line, stdout=subprocess.PIPE, stderr=said, text=True)
            print(ran.stdout, file=said)
        return json.loads(ran.stdout)

    def session(self, script: Path, log: Path, screen: Path) -> None:
        """Record a session to its end."""
        with screen.open("w") as out:
            subprocess.run(self.recorder(script, log), check=True, stdout=out, stderr=subprocess.STDOUT)

    def recorder(self, script: Path, log: Path) -> list[str]:
        """The command that records a session."""
        folder = log.with_suffix("")
        folder.mkdir(exist_ok=True)
        common = ["--script", str(script), "--log", str(log), "--model", self.model]
        return command("run", str(folder), *common, *flags())

    def updates(self) -> list[Learned]:
        """Of the recorded session."""
        return learned(self.log)

    # -- The steps -------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """Die in an update, go on, learn each correction once."""
        if not self.log.exists():
            screen = self.out / "session.txt"
            recording.killed(self.recorder(self.script, self.log), self.log, screen, self.kill)
        rest = recording.rest(self.script, self.log, self.out / "rest.toml")
        if "[[prompt]]" in rest.read_text():
            line = command("run", "--resume", str(self.log), "--script", str(rest), *flags())
            with (self.out / "resumed.txt").open("w") as screen:
                subprocess.run(line, check=True, stdout=screen, stderr=subprocess.STDOUT)
        every = records(self.log)
        resumed = next(at for at, one in enumerate(every) if isinstance(one, SessionResumed))
        before, found = audit(every[:resumed]), audit(every)
        once = not found["trained_twice"] and not found["never_trained"]
        cut_off = (found["begun"] - found["updates"], found["failed"]) == (1, 1)
        return {"ok": once and cut_off, "killed": before, **found, "weights": self.updates()[-1].weights}

    def verify(self) -> dict[str, Any]:
        """Bit for bit."""
        report = self.cc("verify", "replay", self.log, "--verify")
        return {"ok": report["ok"], **_of(report, "matched", "updates", "weights", "nats", "metric")}

    def threads(self) -> dict[str, Any]:
        """On another number of threads: either the same bits, or a report that names them and the size."""
        until = self.updates()[min(1, len(self.updates()) - 1)].applied
        common = ("replay", self.log, "--verify", "--until", until, "--set", "model.threads=2")
        bits = self.cc("threads", *common)
        figures = self.cc("threads", *common, "--tolerance", "1e-3")
        named = bits["stack"].get("threads") == ["1", "2"]
        keys = ("matched", "updates", "first_divergence", "stack", "nats", "metric", "other_steps")
        return {
            "ok": named,
            "by_bits": _of(bits, "ok", *keys),
            "by_figures": _of(figures, "ok", "tolerance", *keys),
        }

    def without(self) -> dict[str, Any]:
        """The digest without a correction is that of a log which never had it."""
        updates, rows = self.updates(), self.results.get("without", {}).get("corrections", [])
        for one in (updates[0], updates[len(updates) // 2], updates[-1]):
            if one.correction in [row["correction"] for row in rows]:
                continue
            found = self.cc("without", "replay", self.log, "--without", one.correction, "--resume")
            name = f"without-{one.correction}"
            script = variant(self.script, self.out / f"{name}.toml", untaught=one.rule)
            there = self.out / f"{name}.jsonl"
            there.unlink(missing_ok=True)
            recorded = again(self.log, script, there, self.model)
            taught = audit(records(there))["updates"]
            rows.append(
                {
                    "correction": one.correction,
                    "rule": one.rule,
                    "equal": recorded == (found["weights"], found["optimiser"]),
                    "weights": found["weights"],
                    "recorded": recorded[0],
                    "recorded_updates": taught,
                    "trained": found["trained"],
                    "off_policy": sum(
                        use["off_policy"] for use in found["updates"] if use["outcome"] != "left_out"
                    ),
                    "outcomes": {
                        use: _count(found["updates"], use) for use in ("as_logged", "changed", "left_out")
                    },
                }
            )
            self._write("without", {"ok": False, "corrections": rows})
        return {"ok": all(row["equal"] for row in rows), "corrections": rows}

    def resample(self) -> dict[str, Any]:
        """What came after drawn anew: the digest of a session recorded without the correction."""
        updates = self.updates()[:8]
        one, until = updates[1], updates[-1].applied
        new, there = self.out / "resampled.jsonl", self.out / "never.jsonl"
        for log in (new, there):
            log.unlink(missing_ok=True)
        options = ("--until", until, "--without", one.correction, "--resample", "--log", new)
        found = self.cc("resample", "replay", self.log, *options)
        asked = sum(isinstance(one, PromptSubmitted) and one.seq <= until for one in records(self.log))
        script = variant(self.script, self.out / "never.toml", first=2 * asked - 1, untaught=one.rule)
        self.session(script, there, self.out / "never.txt")
        recorded = learned(there)
        return {
            "ok": audit(records(new))["updates"] > 0,
            "correction": one.correction,
            "equal": found["weights"] == recorded[-1].weights,
            "weights": found["weights"],
            "recorded": recorded[-1].weights,
            "outcomes": {
                how: sum(c["outcome"] == how for c in found["corrections"])
                for how in ("learned", "not_made", "left_out")
            },
            "drawn": [c["attempts"] for c in found["corrections"]],
            "same_call": [c["same_call"] for c in found["corrections"]],
            "recorded_updates": len(recorded),
        }

    def bisect(self) -> dict[str, Any]:
        """The planted correction, among 16."""
        moved = [one for one in self.updates() if one.moved][:AMONG]
        (planted,) = (one for one in moved if one.rule == PLANTED)
        options = ("--cases", CASES, "--case", "no-bash", "--until", moved[-1].applied, "--threshold", BROKEN)
        found = self.cc("bisect", "bisect", self.log, *options)
        blamed = [c["seq"] for c in (found["update"] or {"corrections": []})["corrections"]]
        figures = {name: (found[name] or {}).get("figures") for name in ("base", "before", "after", "last")}
        return {
            "ok": blamed == [planted.correction] and found["evaluations"] <= ceil(log2(len(moved))),
            "planted": moved.index(planted) + 1,
            "blamed": blamed,
            "planted_seq": planted.correction,
            **_of(found, "updates", "evaluations", "why"),
            **figures,
        }

    def transfer(self) -> dict[str, Any]:
        """Onto another model: what carried over; the new log verifies."""
        new = self.out / f"on-{self.onto.rpartition('/')[2]}.jsonl"
        new.unlink(missing_ok=True)
        options = ("--model", self.onto, "--log", new, "--cases", CASES, "--set", LONGER)
        told = self.cc("transfer", "replay", self.log, *options)
        report = self.cc("transfer", "replay", new, "--verify")
        known = [c for c in told["corrections"] if c["before"] is not None]
        return {
            "ok": report["ok"] and report["updates"] > 0,
            "model": told["model"],
            "outcomes": {
                how: sum(c["outcome"] == how for c in told["corrections"])
                for how in ("learned", "agreed", "rejected", "not_made", "failed")
            },
            "verified": f"{report['matched']} of {report['updates']}",
            "rejected_tool": [
                round(sum(c[when] for c in known) / max(1, len(known)), 3) for when in ("before", "after")
            ],
            "cases": told["cases"],
        }

    def undo(self) -> dict[str, Any]:
        """Files, context, weights at n; see undoing.py."""
        found = undoing.undo(self.out / "undo", self.model)
        return {"ok": found["equal"] == found["of"], **found}

    def export(self) -> dict[str, Any]:
        """By transformers and peft alone."""
        folder = self.out / "adapter"
        if not folder.exists():
            line = command("adapter", "export", str(self.log), str(folder))
            with (self.out / "export.txt").open("w") as said:
                subprocess.run(line, check=True, stdout=said, stderr=subprocess.STDOUT)
        found = exporting.compare(self.log, folder, self.out, self.model)
        right = found["weights"] == self.updates()[-1].weights
        return {
            "ok": right
            and found["same_most_probable"]
            and found["largest_difference_of_a_likely_token"] < 1e-3,
            **found,
        }


def _of(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: found[key] for key in keys}


def _count(updates: list[dict[str, Any]], outcome: str) -> int:
    return sum(use["outcome"] == outcome for use in updates)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


STEPS = ("record", "verify", "threads", "without", "resample", "bisect", "transfer", "undo", "export")


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Checks replay on a real model; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "steps", nargs="*", choices=[[], *STEPS], help="all that are not done, if none is named"
    )
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument("--onto", default="smollm2-135m", help="the model of the step transfer")
    parser.add_argument("--prompts", type=int, help="of the session; all of them, if not given")
    parser.add_argument("--kill", type=int, default=6, metavar="N", help="in which update the session dies")
    given = parser.parse_args()
    bench = Bench(given.out, given.model, given.onto, given.prompts, given.kill)
    steps = given.steps or [name for name in STEPS if not bench.results.get(name, {}).get("ok")]
    right = [bench.run(name, getattr(bench, name)) for name in steps]
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
