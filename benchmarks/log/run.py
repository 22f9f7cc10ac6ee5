"""The log against the disk's own speed, and against other ways to keep events.

    python benchmarks/log/run.py [--events 1000000] [--rounds 7] [--folder DIR] [--out results.json]

Everything is measured in this one run, in turns (raw, ours, each peer, and again), so that a slow disk
or a busy machine hits all of them alike; what counts are the ratios. Each figure is the median of the
rounds with the lowest and the highest. The log of `--events` events of 300 bytes is made in DIR.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import measure
import peers

EXPECTED = {
    "append p50 / raw p50": "1.2 to 1.5: 6 µs of encoding and a 2 µs pwrite beside a sync of 100 µs or more",
    "append p99 / raw p99": "1 to 2: the tail is the disk's",
    "CPU per append, 300 B": "6 µs: stamp 1, encode 0.5, hash 1, two writes 3",
    "CPU per append, 8 KB sample": "18 µs: base64 and hashing 8 KB, and copying them",
    "64 producers / one": "above 10, bounded by the interpreter, not by the disk",
    "verify / (1.5 sha256 + 2.5 µs an event)": "0.7: one hash object an event is 1 µs",
    "fold, small events": "0.8 M/s, decoding alone",
    "fold, samples": "100 k/s: base64 is most of it",
    "read with the chain checked, small events": "0.4 M/s: verifying and decoding add up",
    "memory": "30 MiB: the interpreter, msgspec, one buffer",
}
"""Written before the first run."""


class Table:
    """Rows of: what, the median with its spread, the goal, whether it was met."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def add(
        self, what: str, values: list[float], unit: str, goal: float | None = None, *, least: bool = False
    ) -> None:
        """Print and keep a row. `goal` is the most that is allowed, or the least where `least` is true."""
        middle, low, high = statistics.median(values), min(values), max(values)
        met = None if goal is None else middle >= goal if least else middle <= goal
        word = "" if met is None else "met" if met else "NOT MET"
        bound = "" if goal is None else f"{'≥' if least else '≤'} {goal:,g}"
        print(
            f"{what:46} {middle:>12,.4g} {unit:9} [{low:,.4g} … {high:,.4g}]  {bound:12} {word}", flush=True
        )
        self.rows.append(
            {"what": what, "median": middle, "low": low, "high": high, "unit": unit, "goal": goal, "met": met}
            | {"values": values, "expected": EXPECTED.get(what)}
        )


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of them are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def appends(table: Table, folder: Path, rounds: int, count: int) -> None:
    """Durable appends, in turns."""
    line = measure.line_of(measure.SMALL, folder)
    text = measure.SMALL.text
    made: dict[str, Callable[[], object] | None] = {
        "raw": measure.raw(folder / "raw", line),
        "ours": measure.ours(folder / "ours"),
        "plain JSON": peers.plain_json(folder / "plain", text),
        "SQLite WAL FULL": peers.sqlite_wal(folder / "sqlite", text),
        "pyeventsourcing": peers.eventsourcing(folder / "es", text),
    }
    ways = {name: way for name, way in made.items() if way is not None}
    took: dict[str, list[list[float]]] = {name: [] for name in ways}
    for way in ways.values():
        measure.latencies(way, 20)
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(measure.latencies(way, count))
    for name, series in took.items():
        table.add(f"{name}: append p50", [percentile(s, 0.5) * 1e6 for s in series], "µs")
        table.add(f"{name}: append p99", [percentile(s, 0.99) * 1e6 for s in series], "µs")
        table.add(f"{name}: appends", [len(s) / sum(s) for s in series], "per s")
    for share, goal, name in ((0.5, 1.6, "append p50 / raw p50"), (0.99, 4.0, "append p99 / raw p99")):
        pairs = zip(took["ours"], took["raw"], strict=True)
        table.add(name, [percentile(a, share) / percentile(b, share) for a, b in pairs], "×", goal)


def processor(table: Table, folder: Path, rounds: int) -> None:
    """CPU of appending, and of sharing syncs."""
    for name, record, goal, count in (
        ("CPU per append, 300 B", measure.SMALL, 8, 5000),
        ("CPU per append, 8 KB sample", measure.SAMPLE, 25, 2000),
    ):
        table.add(
            name, [measure.cpu_per_append(folder, record, count) * 1e6 for _ in range(rounds)], "µs", goal
        )
    one, many = list[float](), list[float]()
    for _ in range(rounds):
        one.append(measure.durable_rate(folder, 1, 100))
        many.append(measure.durable_rate(folder, 64, 50))
    table.add("1 producer, durable", one, "per s")
    table.add("64 producers, durable", many, "per s")
    table.add("64 producers / one", [m / o for m, o in zip(many, one, strict=True)], "×", 10, least=True)


def reading(table: Table, folder: Path, rounds: int, events: int) -> None:
    """Verifying, folding and their memory."""
    log, samples = folder / "events", folder / "samples"
    measure.make_log(log, measure.SMALL, events)
    measure.make_log(samples, measure.SAMPLE, max(1000, events // 50))
    print(f"{events:,} events, {log.stat().st_size:,} bytes")
    sha, own = list[float](), list[float]()
    for _ in range(rounds):
        sha.append(measure.sha_seconds(log))
        own.append(measure.verify_seconds(log))
    table.add("sha256 of the file, CPU", sha, "s")
    table.add("verify, CPU", own, "s")
    budgets = [1.5 * s + 2.5e-6 * events for s in sha]
    table.add(
        "verify / (1.5 sha256 + 2.5 µs an event)", [o / b for o, b in zip(own, budgets, strict=True)], "×", 1
    )
    small = [measure.decode_rate(log) for _ in range(rounds)]
    table.add("fold, small events", small, "per s", 600_000, least=True)
    table.add(
        "fold, samples", [measure.decode_rate(samples) for _ in range(rounds)], "per s", 60_000, least=True
    )
    table.add(
        "read with the chain checked, small events", [measure.read_rate(log) for _ in range(rounds)], "per s"
    )
    table.add(
        "read with the chain checked, samples", [measure.read_rate(samples) for _ in range(rounds)], "per s"
    )
    for what in ("verify", "fold", "show"):
        table.add(f"memory: {what}", [measure.peak_mib(what, log)], "MiB", 64)


def main() -> None:
    """Run everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--appends", type=int, default=200, help="durable appends of each kind in a round")
    parser.add_argument("--folder", type=Path, default=None, help="where to write; must be on a real disk")
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    table = Table()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        appends(table, folder, given.rounds, given.appends)
        processor(table, folder, given.rounds)
        reading(table, folder, given.rounds, given.events)
    about = {"machine": platform.platform(), "python": sys.version.split()[0], "cores": os.cpu_count()}
    about |= {"load": os.getloadavg()[0], "events": given.events, "rounds": given.rounds}
    print(", ".join(f"{k} {v}" for k, v in about.items()))
    if given.out is not None:
        given.out.write_text(json.dumps({"about": about, "expected": EXPECTED, "rows": table.rows}, indent=1))


if __name__ == "__main__":
    main()
