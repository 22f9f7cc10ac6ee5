"""What every session reads, kept on disk: a system message, and the pool of an update that comes after it.

The system message of a session is mostly that of the last one, and so are the situations that an update looks
at (`trainers.situations`). Reading them is most of the wait for a session's first token, and for its first
update. A file holds the pieces (`pieces`) after one system message; its name says by which weights, on which
stack, and after which tokens they were read, as that is what their bits depend on. Nothing is kept of what a
user says. A file that is missing, damaged, or cannot be written only costs the time.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as of_torch
from torch import Tensor

from continualcode.plugins.models.local.adapter import digest
from continualcode.plugins.models.local.pieces import BASE, Piece, Pieces

FILES = 4
"""How many system messages are kept: those used last."""

States = dict[tuple[int, ...], Tensor]
"""What else is known of prompts, by their tokens."""


class About(msgspec.Struct):
    """What a file's tensors are: each piece's tokens and the one before it (-1: none); states' prompts."""

    pieces: list[tuple[int, list[int]]]
    states: list[list[int]]


class Shelf:
    """The files in `folder`, for `pieces` of a base model; None: nothing is kept.

    of: what tells models and stacks apart. begins: the token that every message begins with.
    """

    def __init__(
        self, folder: Path | None, pieces: Pieces, of: Mapping[str, str], begins: int | None, device: Any
    ) -> None:
        self._folder = folder
        self._pieces = pieces
        self._of = json.dumps(dict(of), sort_keys=True)
        self._begins = begins
        self._device = device
        self._looked: dict[tuple[int, ...], States | None] = {}

    def fetch(self, prompt: Sequence[int]) -> States:
        """Have what is kept of the beginning of `prompt` among the pieces; the states kept with it."""
        system = self._system(prompt)
        if not system:
            return {}
        if system not in self._looked:
            self._looked[system] = self._read(self._file(system))
        return self._looked[system] or {}

    def keep(self, prompts: Sequence[Sequence[int]], states: States | None = None) -> None:
        """Keep what was read of `prompts`, which begin with one system message, instead of what is kept.

        No prompts but one, and no states: of that one its system message alone, where nothing is kept yet.
        """
        system = self._system(prompts[0])
        if not system or (states is None and self._looked.get(system) is not None):
            return
        wanted = [system] if states is None else [system, *prompts]
        found: list[Piece] = []
        for ids in wanted:
            found += [piece for piece in self._path(ids) if piece not in found]
        places = {id(piece): place for place, piece in enumerate(found)}
        about = About(
            pieces=[(places.get(id(piece.before), -1), list(piece.ids)) for piece in found],
            states=[list(ids) for ids in states or {}],
        )
        tensors = {
            f"piece {n}": torch.stack([torch.stack(pair) for pair in p.layers]) for n, p in enumerate(found)
        }
        tensors |= {f"state {n}": state for n, state in enumerate((states or {}).values())}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        self._write(self._file(system), tensors, about)
        self._looked[system] = dict(states or {})

    def _path(self, ids: Sequence[int]) -> Iterable[Piece]:
        """The pieces of a sequence, as far as they are known."""
        at, start = self._pieces.root(BASE), 0
        for end in self._pieces.ends(ids):
            piece = at.after.get(tuple(ids[start:end]))
            if piece is None:
                return
            yield piece
            at, start = piece, end

    def _system(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """The first message of a prompt; empty where it is the only one."""
        if self._folder is None or self._begins is None or self._begins not in prompt[1:]:
            return ()
        return tuple(prompt[: tuple(prompt).index(self._begins, 1)])

    def _file(self, system: tuple[int, ...]) -> Path:
        assert self._folder is not None  # there is no system message without one
        named = hashlib.sha256(f"{self._of}\n{system}".encode()).hexdigest()
        return self._folder / f"{named[:32]}.safetensors"

    def _read(self, file: Path) -> States | None:
        opened: Any = safe_open  # untyped
        try:
            with opened(file, "pt", device="cpu") as kept:
                about = msgspec.json.decode(kept.metadata()["about"], type=About)
                tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  # no mapping
                if digest(tensors) != kept.metadata()["sha256"]:
                    return None
            os.utime(file)
        except (OSError, SafetensorError, KeyError, msgspec.MsgspecError):
            return None
        found: list[Piece] = []
        for number, (before, ids) in enumerate(about.pieces):
            stacked = tensors[f"piece {number}"].to(self._device)
            at = self._pieces.root(BASE) if before < 0 else found[before]
            layers = tuple((pair[0], pair[1]) for pair in stacked)
            found.append(at.after.get(tuple(ids)) or self._pieces.add(at, ids, layers))
        return {tuple(ids): tensors[f"state {n}"] for n, ids in enumerate(about.states)}

    def _write(self, file: Path, tensors: dict[str, Tensor], about: About) -> None:
        untyped: Any = of_torch
        new = file.with_name(f".{file.name}.{os.getpid()}")
        with contextlib.suppress(OSError, SafetensorError):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                untyped.save_file(
                    tensors, new, {"about": msgspec.json.encode(about).decode(), "sha256": digest(tensors)}
                )
                os.replace(new, file)
            finally:
                new.unlink(missing_ok=True)
            by_age = sorted(file.parent.glob("*.safetensors"), key=lambda one: one.stat().st_mtime)
            for old in by_age[:-FILES]:
                old.unlink(missing_ok=True)
