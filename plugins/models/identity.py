"""Which model a folder holds, by content: digests of its tensors, its tokenizer and its template.

The tensors' digest is over names, types, shapes and values, so the same weights have the same digest
however they are split over files. Hashing gigabytes takes seconds; a `Record` therefore also holds the
size and modification time of every file that counts, and stays true while those stay as they are.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from continualcode.core.errors import ModelUnavailable
from continualcode.core.protocols import Progress

_TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")
_OLDER_TOKENIZERS = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt")
_CHUNK = 1 << 20


def silent(_label: str, _done: int, _total: int) -> None:
    """No progress wanted."""


class Digests(msgspec.Struct, frozen=True, kw_only=True):
    """sha256 in hex. template: of the chat template's text, the empty text where there is none."""

    base: str
    tokenizer: str
    template: str


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a changed file from an unchanged one without reading it."""

    size: int
    mtime_ns: int


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A model on this machine: `folder` is what transformers loads, the digests say what it is."""

    name: str
    folder: Path
    base: str
    tokenizer: str
    template: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Digests, and the files (by name) as they were when the digests were computed."""

    digests: Digests
    files: dict[str, Stamp]

    def model(self, name: str, folder: Path) -> ModelFiles:
        """The model `name` in `folder`, as this record knows it."""
        known = self.digests
        return ModelFiles(
            name=name, folder=folder, base=known.base, tokenizer=known.tokenizer, template=known.template
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load from `folder`, sorted by name.

    Raises ModelUnavailable if the folder holds no such model, or not all of its files.
    """
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(
            f"{folder} is not a model: it has no config.json. A model's folder has config.json, a tokenizer"
            " and *.safetensors, as `save_pretrained` of transformers writes them"
        )
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        others = sorted(path.name for path in folder.glob("*.*") if path.suffix in {".bin", ".gguf", ".pt"})
        found = f"; it has {', '.join(others)}, which cannot be used as they are" if others else ""
        raise ModelUnavailable(f"{folder} has a config.json but no model.safetensors{found}")
    try:
        shards = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelUnavailable(f"{index} cannot be read as an index of safetensors files: {error}") from error
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelUnavailable(f"{folder} is not complete: {index.name} names {', '.join(missing)}")
    return [folder / name for name in shards]


def tokenizer_files(folder: Path) -> list[Path]:
    """tokenizer.json or, where there is none, the files of an older tokenizer."""
    single = folder / "tokenizer.json"
    files = [single] if single.is_file() else [folder / name for name in _OLDER_TOKENIZERS]
    files = [path for path in files if path.is_file()]
    if not files:
        raise ModelUnavailable(f"{folder} has no tokenizer: neither tokenizer.json nor an older form of it")
    return files


def template_text(folder: Path) -> str:
    """The chat template that transformers would use for `folder`; empty if there is none."""
    jinja, config = (folder / name for name in _TEMPLATE_FILES)
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    if not config.is_file():
        return ""
    template = json.loads(config.read_bytes()).get("chat_template") or ""
    if isinstance(template, list):  # an older form: several named templates
        named = {entry["name"]: entry["template"] for entry in cast("list[dict[str, str]]", template)}
        return named.get("default", "")
    return str(template)


def stamps(folder: Path) -> dict[str, Stamp]:
    """Size and modification time of every file that counts for the identity of the model in `folder`."""
    templates = (path for name in _TEMPLATE_FILES if (path := folder / name).is_file())
    files = [*weight_files(folder), *tokenizer_files(folder), *templates]
    found = ((path.name, path.stat()) for path in files)
    return {name: Stamp(size=stat.st_size, mtime_ns=stat.st_mtime_ns) for name, stat in found}


def measure(folder: Path, progress: Progress = silent, label: str = "hashing") -> Record:
    """Compute the digests of the model in `folder`; `progress` counts bytes."""
    weights = weight_files(folder)
    total, done = sum(path.stat().st_size for path in weights), 0
    base = hashlib.sha256()
    for piece in _canonical(weights):
        base.update(piece)
        done += len(piece)
        if len(piece) == _CHUNK:
            progress(label, min(done, total), total)
    tokenizer = hashlib.sha256()
    for path in tokenizer_files(folder):
        tokenizer.update(path.read_bytes())
    digests = Digests(
        base=base.hexdigest(),
        tokenizer=tokenizer.hexdigest(),
        template=hashlib.sha256(template_text(folder).encode()).hexdigest(),
    )
    progress(label, total, total)
    return Record(digests=digests, files=stamps(folder))


def _canonical(files: list[Path]) -> Iterator[bytes]:
    """The tensors of `files` as bytes: by name, each with a line that says its type and shape first.

    The format: an 8-byte little-endian length, that many bytes of JSON, then the tensors' bytes; the
    JSON's offsets are relative to the end of the JSON.
    https://huggingface.co/docs/safetensors/index#format
    """
    tensors: dict[str, tuple[Path, int, dict[str, object]]] = {}
    for path in files:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size - 8:
                raise ModelUnavailable(f"{path} is damaged: its header says {length} bytes, more than it has")
            try:
                header = cast("dict[str, dict[str, object]]", json.loads(file.read(length)))
            except ValueError as error:
                raise ModelUnavailable(f"{path} is damaged: its header is not JSON ({error})") from error
        header.pop("__metadata__", None)  # who wrote it, not what it holds
        tensors |= {name: (path, 8 + length, entry) for name, entry in header.items()}
    for name, (path, origin, entry) in sorted(tensors.items()):
        start, end = cast("tuple[int, int]", entry["data_offsets"])
        yield json.dumps([name, entry["dtype"], entry["shape"], end - start]).encode() + b"\n"
        with path.open("rb") as file:
            file.seek(origin + start)
            left = end - start
            while left:
                piece = file.read(min(left, _CHUNK))
                if not piece:
                    raise ModelUnavailable(f"{path} is damaged: it ends inside the tensor {name}")
                left -= len(piece)
                yield piece
