"""Weights for other programs, with a page about where they come from: `provenance.json` beside them."""

import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from continualcode.core.curriculum import Course
from continualcode.core.errors import CapabilityMissing, UsageError
from continualcode.core.optional import Portable
from continualcode.core.protocols import Policy
from continualcode.core.retelling import Retold
from continualcode.core.retraining import Changes, Retrained

MANIFEST = "provenance.json"


def refuse_folder(folder: Path) -> None:
    """UsageError where `folder` holds something already, or cannot be made.

    An adapter is never mixed with another, and nothing is trained for a folder that then cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not an empty folder: an adapter goes into a new one")
        there = next(path for path in folder.absolute().parents if path.exists())
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=there):
            pass
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made: {error.filename}: {error.strerror}") from None


def hand_out(policy: Policy, folder: Path, manifest: dict[str, Any]) -> None:
    """Write the policy's weights and `manifest` into the new folder `folder`; all of it or nothing."""
    if not isinstance(policy, Portable):
        raise CapabilityMissing(
            f"the policy {policy.model.name!r} cannot write its weights (core.optional.Portable)"
        )
    refuse_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.{os.getpid()}")
    new.mkdir()
    try:
        policy.export(new)
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
        (new / MANIFEST).write_bytes(text + b"\n")
        os.replace(new, folder)
    except BaseException:
        for path in new.glob("*"):
            path.unlink()
        new.rmdir()
        raise


def manifest(
    policy: Policy, courses: Sequence[Course], changes: Changes, found: Retrained | Retold
) -> dict[str, Any]:
    """What the weights are a function of, and which corrections are in them."""
    return {
        "format": 1,
        "product": f"continualcode {version('continualcode')}",
        "weights": found.weights,
        "model": msgspec.to_builtins(policy.model),
        "stack": dict(policy.stack),
        "logs": [{"name": one.name, "id": one.id, "events": len(one.transcript.marks)} for one in courses],
        "changes": msgspec.to_builtins(changes),
        **(
            {"updates": msgspec.to_builtins(found.updates)}
            if isinstance(found, Retrained)
            else {"retold": msgspec.to_builtins(found.corrections)}
        ),
    }
