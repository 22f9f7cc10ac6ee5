"""The `local` model: transformers and a LoRA adapter on this machine.

It answers to aliases, Hugging Face ids and folders, which is every name without a `scheme:` in front.
Importing this imports no torch: the base install has none.
"""

import gc
import importlib.util
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from continualcode import hookimpl
from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Policy, Progress
from continualcode.plugins.models.local.disk import read_ahead

EXTRA = ("torch", "transformers", "peft", "llguidance", "safetensors")
SPINS = "1000"
"""How often a thread without work looks for some before it sleeps; of GNU's OpenMP, torch's on Linux."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # two letters at least: `C:\models` is a folder


@hookimpl
def make_policy(model: str, options: Mapping[str, Any]) -> Callable[[Progress], Policy] | None:
    """Answers to every name without a scheme; whether there is such a model is found out when it is built."""
    if SCHEME.match(model):
        return None
    return lambda progress: _build(model, options, progress)


def _build(model: str, options: Mapping[str, Any], progress: Progress) -> Policy:
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelUnavailable(
            f"the model {model!r} runs on this machine and needs {', '.join(missing)}, not installed here: "
            "pip install 'continualcode[local]'"
        )
    # Before torch and transformers are imported, which takes seconds: a name that is none is said at once,
    # and the disk reads meanwhile.
    from continualcode.plugins.models.local import store

    cache = options.get("cache")
    files = store.resolve(model, cache=Path(cache).expanduser() if cache else None, progress=progress)
    read_ahead(files.folder)
    with without_collector(), waiting_briefly():
        from continualcode.plugins.models.local.policy import LocalPolicy

        return LocalPolicy(model, options, progress)


@contextmanager
def waiting_briefly() -> Generator[None]:
    """Inside, OpenMP is told as it is loaded that a thread without work soon sleeps, if nobody has said more.

    By default it spins for milliseconds, on a core that another program may have work for: what it then
    waits for is itself (benchmarks/speed). `SPINS` costs nothing where the cores are free. What the agent
    runs later inherits none of it.
    """
    told = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if not told:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        if not told:
            del os.environ["GOMP_SPINCOUNT"]


@contextmanager
def without_collector() -> Generator[None]:
    """Inside, nothing looks for cyclic garbage; what is there at the end is never looked through again.

    Importing torch and transformers makes a million objects that stay: the collector's passes over them are a
    fifth of the time it takes.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if before:
            gc.enable()
