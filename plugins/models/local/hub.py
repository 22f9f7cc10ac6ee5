"""Whole repositories of the Hugging Face hub, kept in the hub's own cache and found there first.

What is on this machine is used without asking the hub: a session's model must not change because
somebody pushed. A revision that is wanted is named: `org/name@revision`.
"""

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Progress
from continualcode.plugins.models.identity import weight_files
from continualcode.plugins.models.local import child, hub_child
from continualcode.plugins.models.local.disk import (
    is_full,
    is_out_of_room,
    out_of_room,
    require_free,
    size_of,
)
from continualcode.plugins.models.local.download import HUB_CHILD

_PLAN_SECONDS = 30.0
_STALL_SECONDS = 60.0


def local(repo: str, revision: str) -> Path | None:
    """The folder of `repo` in the hub's cache if all of it is there; `revision` "": the default one."""
    errors: Any = importlib.import_module("huggingface_hub.errors")  # Any: no complete types
    # An id that the hub would not accept is for the hub to explain. ModelUnavailable: a download that
    # ended early left only some of the files.
    absent = (errors.LocalEntryNotFoundError, errors.HFValidationError, ModelUnavailable)
    with contextlib.suppress(*absent):
        folder = Path(hub_child.snapshot_of(repo, revision, local_files_only=True))
        weight_files(folder)
        return folder
    return None


def download(repo: str, revision: str, progress: Progress) -> Path:
    """The folder of `repo` in the hub's cache, downloaded if need be. Raises ModelUnavailable."""
    found = local(repo, revision)
    if found is not None:
        return found
    name = f"{repo}@{revision}" if revision else repo
    try:
        progress(f"asking the Hugging Face hub for {name}", 0, 0)
        plan = json.loads(child.run(["-m", HUB_CHILD, "plan", repo, revision], patience=_PLAN_SECONDS))
        cache = Path(plan["folder"])
        cache.mkdir(parents=True, exist_ok=True)
        require_free(cache, plan["bytes"], f"downloading {name}")
        try:
            return _snapshot(name, repo, revision, cache, plan["bytes"], progress)
        except child.ChildFailed as error:
            if is_out_of_room(str(error)) or is_full(cache):
                raise out_of_room(cache, f"downloading {name}", error) from error
            raise
    except child.ChildFailed as error:
        raise ModelUnavailable(
            f"{name} could not be downloaded from the Hugging Face hub: {error}. Check the name, the"
            " network, and for gated models HF_TOKEN; or give a folder that holds the model"
        ) from error


def _snapshot(name: str, repo: str, revision: str, cache: Path, total: int, progress: Progress) -> Path:
    """Download into `cache`; what a failed attempt leaves there, the hub's library goes on from."""
    before = size_of(cache)
    progress(f"downloading {name}", 0, total)  # a small model is there before its size was looked at twice
    answer = child.run(
        ["-m", HUB_CHILD, "snapshot", repo, revision],
        size=lambda: size_of(cache) - before,
        report=lambda done: progress(f"downloading {name}", min(done, total), total),
        patience=_STALL_SECONDS,
    )
    return Path(json.loads(answer))
