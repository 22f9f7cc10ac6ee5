"""A plugin for the tests of the terminal: models that take their time, as real ones do, or cannot be had.

`slow:FILE` loads for `SLOW_LOADING` seconds, then says what the file says, a line a turn and a character at a
time, and takes `SLOW_STEP` seconds for each step of an update; `broken:` fails after that time.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from continualcode import hookimpl
from continualcode.core.data import Sample, SamplingParams, StepReport
from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Policy, Progress
from continualcode.core.testing import ScriptedPolicy

A_CHARACTER = 0.02  # seconds


class SlowPolicy(ScriptedPolicy):
    """Says its turns slowly, and stops where it is asked to."""

    def sample(
        self,
        prompt_ids: Sequence[int],
        grammar: str | None,
        params: SamplingParams,
        on_text: Callable[[str], None] | None = None,
        cancelled: threading.Event | None = None,
    ) -> Sample:
        whole = super().sample(prompt_ids, grammar, params)
        for count, character in enumerate(whole.text):
            if cancelled is not None and cancelled.is_set():
                said = whole.text[:count]
                ids = tuple(said.encode())
                return Sample(token_ids=ids, logprobs=(-0.5,) * len(ids), text=said, stop="interrupted")
            if on_text is not None:
                on_text(character)
            time.sleep(A_CHARACTER)
        return whole

    def step(self, batch: Any, *, stop_below: float) -> StepReport:
        time.sleep(float(os.environ.get("SLOW_STEP", "0")))
        return super().step(batch, stop_below=stop_below)


@hookimpl
def make_policy(model: str, options: Mapping[str, object]) -> Callable[[Progress], Policy] | None:
    """Answers to `slow:FILE` and `broken:`."""
    scheme, _, file = model.partition(":")
    if scheme not in ("slow", "broken"):
        return None

    def build(progress: Progress) -> Policy:
        for tenth in range(10):
            progress("loading weights", tenth, 10)
            time.sleep(float(os.environ.get("SLOW_LOADING", "0")) / 10)
        if scheme == "broken":
            raise ModelUnavailable("broken: this model cannot be had; choose another with --model")
        return SlowPolicy(Path(file).read_text().splitlines())

    return build
