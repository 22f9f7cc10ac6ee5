"""Where local models are: find one by name, and get it first if need be.

A name is an alias (`smollm2-135m`), a folder with config.json and safetensors (used where it lies), or a
Hugging Face id (`org/name`, `org/name@revision`; kept in the hub's own cache). An alias wins over a
folder of that name in the working directory: write `./smollm2-135m` for the folder.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
from pathlib import Path

import msgspec
import platformdirs

from continualcode.core.errors import ModelUnavailable, nearest
from continualcode.core.protocols import Progress
from continualcode.plugins.models.identity import ModelFiles, Record, measure, silent, stamps
from continualcode.plugins.models.local import hub
from continualcode.plugins.models.local.aliases import ALIASES, Alias
from continualcode.plugins.models.local.disk import write_if_possible
from continualcode.plugins.models.local.install import find, install, require_extra

__all__ = ["ALIASES", "Alias", "ModelFiles", "Progress", "default_cache", "install", "installed", "resolve"]

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def default_cache() -> Path:
    """The folder for models of the user who runs this; not created here."""
    return platformdirs.user_cache_path("continualcode") / "models"


def resolve(
    name: str, *, cache: Path | None = None, progress: Progress | None = None, verify: bool = False
) -> ModelFiles:
    """The model called `name`, installed or downloaded first if need be.

    Milliseconds once it is there: digests come from records that hold while sizes and times of the files
    do. `verify` reads the files again. Raises ModelUnavailable.
    """
    root, report = cache or default_cache(), progress or silent
    if name in ALIASES:
        return install(ALIASES[name], cache=root, progress=report, verify=verify)
    folder = _as_folder(name)
    if folder is not None:
        return _in_folder(str(folder), folder, root, report, verify)
    if _HUB_ID.fullmatch(name):
        require_extra(name, ("huggingface_hub",))
        repo, _, revision = name.partition("@")
        return _in_folder(name, hub.download(repo, revision, report), root, report, verify)
    raise ModelUnavailable(
        f"no model is called {name!r}: {nearest(name, ALIASES)}. Or give a Hugging Face id (org/name), or a"
        " folder with config.json, a tokenizer and safetensors (./folder)"
    )


def installed(name: str, *, cache: Path | None = None) -> ModelFiles | None:
    """The model called `name` if it is on this machine; None if it would have to be downloaded.

    Raises ModelUnavailable if what is there cannot be used.
    """
    root = cache or default_cache()
    if name in ALIASES:
        return find(ALIASES[name], cache=root)
    folder = _as_folder(name)
    if folder is not None:
        return _in_folder(str(folder), folder, root)
    if _HUB_ID.fullmatch(name) and importlib.util.find_spec("huggingface_hub") is not None:
        repo, _, revision = name.partition("@")
        folder = hub.local(repo, revision)
    return None if folder is None else _in_folder(name, folder, root)


def _in_folder(
    name: str, folder: Path, cache: Path, progress: Progress = silent, verify: bool = False
) -> ModelFiles:
    """A folder that is not ours and perhaps read-only: its record is in our cache, by its path."""
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
    path = cache / ".digests" / f"{key}.json"
    record: Record | None = None
    with contextlib.suppress(OSError, msgspec.DecodeError):  # none yet, or one that cannot be used
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    if record is None or verify or record.files != stamps(folder):
        record = measure(folder, progress, f"hashing {name}")
        write_if_possible(path, msgspec.json.format(msgspec.json.encode(record)))
    return record.model(name, folder)


def _as_folder(name: str) -> Path | None:
    """`name` as a folder, if it is one or is written like one (`./x`, `/x`, `~/x`)."""
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path.resolve()
    if name.startswith((".", "/", "~")):
        raise ModelUnavailable(f"the folder {name} does not exist, or is no folder")
    return None
