"""What every session reads, kept on disk: a system message, and the pool of an update that comes after it.

The system message of a session is mostly that of the last one, and so are the situations that an update looks
at (`trainers.situations`). Reading them is most of the wait for a session's first token, and for its first
update. A file holds the pieces (`pieces`) after one system message; its name says by which weights, on which
stack, and after which tokens they were read, as that is what their bits depend on. Nothing is kept of what a
user says. A file that is missing, damaged, or cannot be written only costs the time. What else is kept of
the pool (`usual`) is in a file beside it, and goes with it.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from continualcode.plugins.models.local import files
from continualcode.plugins.models.local.adapter import digest
from continualcode.plugins.models.local.pieces import BASE, Piece, Pieces

FORMAT = "3"
"""Of a file, and of how its states are computed: another one is not looked for."""

FILES = 4
"""How many system messages are kept: those used last."""

States = dict[tuple[int, ...], Tensor]
"""What else is known of prompts, by their tokens."""


class About(msgspec.Struct):
    """What a file's tensors are: each piece's tokens and the one before it (-1: none); states' prompts.

    whole: so many prompts, the first ones, have their pieces in it.
    """

    pieces: list[tuple[int, list[int]]]
    states: list[list[int]]
    whole: int


class Shelf:
    """The files in `folder`, for `pieces` of a base model; None: nothing is kept.

    of: what tells models and stacks apart.
    """

    def __init__(
        self, folder: Path | None, pieces: Pieces, of: Mapping[str, str], device: torch.device
    ) -> None:
        self._folder = folder
        self._pieces = pieces
        self._of = json.dumps(dict(of), sort_keys=True)
        self._device = device
        self._kept: dict[tuple[int, ...], States | None] = {}
        self._whole: dict[tuple[int, ...], int] = {}

    def fetch(self, prompt: Sequence[int]) -> States:
        """Have what is kept of the beginning of `prompt` among the pieces; the states kept with it."""
        system = self._system(prompt)
        if not system:
            return {}
        if system not in self._kept:
            self._kept[system] = self._read(system)
        return self._kept[system] or {}

    def keep_beginning(self, prompt: Sequence[int]) -> None:
        """Keep what was read of the system message of `prompt`, where nothing is kept of it yet."""
        system = self._system(prompt)
        if system and self._kept.get(system) is None:
            self._keep(system, {})

    def keep(self, states: States) -> None:
        """Keep `states`, of prompts that begin with one system message, beside those that are kept.

        And what was read of these prompts the first time: later ones are looked at, and seldom answered.
        """
        if system := self._system(next(iter(states), ())):
            self._keep(system, (self._kept.get(system) or {}) | dict(states))

    def beside(self, prompt: Sequence[int]) -> Path | None:
        """The file for what else is known of the pool that `prompt` is of; None: of none that is kept."""
        known = tuple(prompt) in self.fetch(prompt)
        return self._file(self._system(prompt)).with_suffix(".json") if known else None

    def _keep(self, system: tuple[int, ...], states: States) -> None:
        whole = self._whole.get(system) or len(states)
        prompts = (system, *islice(states, whole))
        found = {piece: None for ids in prompts for piece in self._pieces.path(BASE, ids)}
        places: dict[Piece | None, int] = {piece: place for place, piece in enumerate(found)}
        about = About(
            pieces=[(places.get(piece.before, -1), list(piece.ids)) for piece in found],
            states=[list(ids) for ids in states],
            whole=whole,
        )
        tensors = {
            f"piece {n}": torch.stack([torch.stack(pair) for pair in piece.layers])
            for n, piece in enumerate(found)
        }
        tensors |= {f"state {n}": state for n, state in enumerate(states.values())}
        self._write(self._file(system), tensors, about)
        self._kept[system], self._whole[system] = dict(states), whole

    def _system(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """The first message of a prompt; empty where it is the only one, or nothing is to be kept."""
        return tuple(prompt[: self._pieces.message(prompt)]) if self._folder is not None else ()

    def _file(self, system: tuple[int, ...]) -> Path:
        assert self._folder is not None  # there is no system message without one
        named = hashlib.sha256(f"{FORMAT} {self._of}\n{system}".encode()).hexdigest()
        return self._folder / f"{named[:32]}.safetensors"

    def _read(self, system: tuple[int, ...]) -> States | None:
        file = self._file(system)
        try:
            tensors, written = files.read(file)
            if digest(tensors) != written["sha256"]:
                return None
            about = msgspec.json.decode(written["about"], type=About)
            os.utime(file)  # it was used: others go first
        except (OSError, files.SafetensorError, KeyError, msgspec.MsgspecError):
            return None
        found: list[Piece] = []
        for number, (before, ids) in enumerate(about.pieces):
            at = self._pieces.root(BASE) if before < 0 else found[before]
            stacked = tensors[f"piece {number}"].to(self._device)
            layers = tuple((pair[0], pair[1]) for pair in stacked)
            found.append(at.after.get(tuple(ids)) or self._pieces.add(at, ids, layers))
        self._whole[system] = about.whole
        return {tuple(ids): tensors[f"state {n}"] for n, ids in enumerate(about.states)}

    def _write(self, file: Path, tensors: dict[str, Tensor], about: About) -> None:
        with contextlib.suppress(OSError, files.SafetensorError):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            told = {"about": msgspec.json.encode(about).decode(), "sha256": digest(tensors)}
            files.write(file, tensors, told)
            by_age = sorted(file.parent.glob("*.safetensors"), key=lambda one: one.stat().st_mtime)
            for old in by_age[:-FILES]:
                old.unlink(missing_ok=True)
                old.with_suffix(".json").unlink(missing_ok=True)
