"""An update while another program has work for one of the cores, by how long OpenMP's threads wait awake.

    python benchmarks/speed/busy.py [--model smollm2-135m] [--threads 2] [--rounds 2] [--most 120]

In turns: nobody else, and beside a process that is pinned to the second core; each with GNU OpenMP's default
and with what `cc` sets (`plugins.models.local.waiting_briefly`). Seconds of one update of six steps.
"""

import argparse
import os
import subprocess
import sys

from continualcode.plugins.models.local import SPINS

WORK = """
import sys, time
from continualcode.core.data import Example, Objective, Optimiser
from continualcode.plugins.models.local.policy import LocalPolicy
policy = LocalPolicy(sys.argv[1], {"threads": int(sys.argv[2]), "device": "cpu"})
ids = tuple(range(5, 305))
row = Example(correction="c", sample="s", prompt_ids=ids, teacher_ids=(*ids, 40, 41, 42), sampled_logprobs=(),
              completion_ids=tuple(range(100, 132)), temperature=1.0, grammar=None, part="demonstration")
for told in (False, True):
    began = time.perf_counter()
    batch = policy.prepare([row], Objective(teacher="base"), Optimiser(lr=1e-4))
    for _ in range(6):
        policy.step(batch, stop_below=0.0)
    if told:
        print(time.perf_counter() - began)
"""
BUSY = "import os\nos.sched_setaffinity(0, {1})\nwhile True: pass"


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description="Measures updates on a busy machine; see the docstring.")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--most", type=float, default=120.0, help="seconds until one is given up")
    given = parser.parse_args()
    for _ in range(given.rounds):
        for beside in (False, True):
            other = subprocess.Popen([sys.executable, "-c", BUSY]) if beside else None
            for spins in ("default", SPINS):
                told = {} if spins == "default" else {"GOMP_SPINCOUNT": spins}
                command = [sys.executable, "-c", WORK, given.model, given.threads]
                try:
                    ran = subprocess.run(
                        command,
                        env=os.environ | told,
                        timeout=given.most,
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    took = f"{float(ran.stdout):.2f} s"
                except subprocess.TimeoutExpired:
                    took = f"not done in {given.most:g} s"
                print(f"{'a busy core' if beside else 'alone':12} spins {spins:8} {took}", flush=True)
            if other is not None:
                other.kill()
                other.wait()


if __name__ == "__main__":
    main()
