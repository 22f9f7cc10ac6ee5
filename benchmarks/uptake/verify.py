"""Whether every update of a benchmark's run comes out again.

    python benchmarks/uptake/verify.py OUT.jsonl

Replays each log beside OUT from the base model and compares the digest of the weights after each update with
the logged one. Exit code 1 where one differs. The same as `cc replay --verify LOG` for each of them.
"""

import argparse
import sys
from pathlib import Path

from continualcode.core.config import PluginsConfig
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Replays what a run wrote; see the docstring.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--plugin", action="append", default=[], help="as for run.py")
    given = parser.parse_args()
    plugins = Plugins(PluginsConfig(modules=("arms", *given.plugin)))
    logs = sorted(given.out.with_suffix("").glob("*.jsonl"))
    updates = matched = 0
    for log in logs:
        report = replay_log(log, plugins)
        updates, matched = updates + report.updates, matched + report.matched
        print(
            f"{log.name}: {report.matched} of {report.updates}{'' if report.ok else '  DIFFERS'}", flush=True
        )
    print(f"{matched} of {updates} updates in {len(logs)} logs have the logged digest")
    sys.exit(matched != updates)


if __name__ == "__main__":
    main()
