"""Install an alias: download, convert, measure, and one rename that makes it count.

An installed model is a folder of the cache with a manifest in it, whole or absent. It is made in a work
folder beside it; what a killed process leaves there never looks like a model.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Generator
from pathlib import Path

import msgspec

from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Progress
from continualcode.plugins.models.identity import ModelFiles, Record, measure, silent, stamps
from continualcode.plugins.models.local import convert
from continualcode.plugins.models.local.aliases import Alias
from continualcode.plugins.models.local.disk import (
    is_out_of_room,
    out_of_room,
    require_free,
    write_if_possible,
)
from continualcode.plugins.models.local.download import fetch_gguf
from continualcode.plugins.models.local.lock import held

MANIFEST = "manifest.json"
_LIBRARIES = ("transformers", "gguf", "torch", "safetensors")


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an installed model was made from and with: the GGUF file's sha256, our record, versions."""

    alias: str
    gguf: str
    record: Record
    libraries: dict[str, str]


def install(
    alias: Alias, *, cache: Path, progress: Progress | None = None, verify: bool = False
) -> ModelFiles:
    """The model that `alias` pins, in the folder `cache / alias.name`; made there if it is missing.

    Two processes that install the same model take turns. Whatever ends this, also Ctrl-C, removes what
    was not finished. `verify` reads an installed model again. Raises ModelUnavailable.
    """
    report = progress or silent
    found = find(alias, cache=cache, progress=report, verify=verify)
    if found is not None:
        return found
    require_extra(alias.name, ("torch", "transformers", "gguf", "safetensors"))
    _make_cache(cache)
    waiting = f"waiting for another process (%s) that installs {alias.name}"
    with held(cache / f".{alias.name}.lock", lambda pid: report(waiting % pid, 0, 0)):
        found = find(alias, cache=cache, progress=report)  # the one we waited for may have made it
        if found is None:
            with _work_folder(alias, cache) as work:
                _make(alias, cache, work, report)
            found = find(alias, cache=cache, progress=report)
    if found is None:
        raise ModelUnavailable(f"{cache / alias.name} vanished while it was being installed")
    return found


def find(
    alias: Alias, *, cache: Path, progress: Progress = silent, verify: bool = False
) -> ModelFiles | None:
    """The installed model, or None; only small files are read while sizes and times are as recorded.

    Where they are not, or to `verify`, the model is hashed again and must be what was installed.
    """
    folder = cache / alias.name
    again = f"Remove that folder and run `cc models pull {alias.name}`"
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ModelUnavailable(f"{folder / MANIFEST} cannot be read ({error}). {again}") from error
    if manifest.gguf != alias.sha256:
        raise ModelUnavailable(
            f"{folder} was made from the file with sha256 {manifest.gguf}, but {alias.name} is now the one"
            f" with {alias.sha256}. {again}"
        )
    known = manifest.record
    if verify or stamps(folder) != known.files:
        record = measure(folder, progress, f"hashing {alias.name}")
        for part, expected in msgspec.structs.asdict(known.digests).items():
            got = getattr(record.digests, part)
            if got != expected:
                raise ModelUnavailable(
                    f"the {part} in {folder} has changed since it was installed: expected sha256 {expected},"
                    f" got {got}. {again}"
                )
        renewed = msgspec.structs.replace(manifest, record=record)
        write_if_possible(folder / MANIFEST, _json(renewed))
    return known.model(alias.name, folder)


def require_extra(name: str, modules: tuple[str, ...]) -> None:
    """Raise ModelUnavailable unless the libraries that the model `name` needs are installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise ModelUnavailable(
            f"{name} needs {', '.join(missing)}, which this Python does not have:"
            " pip install 'continualcode[local]'"
        )


def _make_cache(cache: Path) -> None:
    """Make the folder for models. Raises ModelUnavailable if it cannot be made."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelUnavailable(f"the folder for models, {cache}, cannot be made: {error}") from error


def _make(alias: Alias, cache: Path, work: Path, report: Progress) -> None:
    gguf, model = work / "model.gguf", work / "model"
    to_download = 0 if gguf.exists() else alias.bytes
    require_free(cache, to_download + alias.converted, f"installing {alias.name}")
    fetch_gguf(alias, work, report)
    convert.to_safetensors(gguf, model, report, alias.name)
    gguf.unlink()
    manifest = Manifest(
        alias=alias.name,
        gguf=alias.sha256,
        record=measure(model, report, f"hashing {alias.name}"),
        libraries={library: importlib.metadata.version(library) for library in _LIBRARIES},
    )
    (model / MANIFEST).write_bytes(_json(manifest))
    for path in (*model.iterdir(), model):  # a power cut must not leave a manifest beside missing bytes
        _sync(path)
    model.rename(cache / alias.name)
    _sync(cache)


@contextlib.contextmanager
def _work_folder(alias: Alias, cache: Path) -> Generator[Path, None, None]:
    """A folder on the cache's disk, gone afterwards. What a killed install left in it is removed first.

    Only a `model.gguf` stays: if it is the right file, it need not be downloaded again.
    """
    work, target = cache / f".{alias.name}.partial", cache / alias.name
    if target.exists():
        raise ModelUnavailable(
            f"{target} is in the way: it has no {MANIFEST}, so it was not installed by this program."
            " Move it away, or choose another folder for the models"
        )
    work.mkdir(exist_ok=True)
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "model.gguf":
            path.unlink()
    try:
        yield work
    except Exception as error:
        if not is_out_of_room(error):
            raise
        shutil.rmtree(work, ignore_errors=True)  # before the free bytes are counted
        raise out_of_room(cache, f"installing {alias.name}", error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _json(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
