"""Contents and folders by sha256: where snapshots of a workspace are kept, outside of the workspace.

A blob is a file's bytes, or a link's target. A tree is one folder: its entries by name, with kind, mode and
digest, so that a folder that did not change is the same object in every snapshot. The digest of the root's
tree names a whole state of the workspace. Nothing is ever changed or removed here; objects are compressed
and written beside, then renamed, so that there is never half of one.
"""

import json
import os
import secrets
import shutil
import zlib
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from continualcode.core.errors import ReplayError

Kind: TypeAlias = Literal["file", "link", "folder", "left out"]

FEW = 32
"""Up to so many new objects are synced one by one; of more, the whole file system is, once."""


class Entry(NamedTuple):
    """What is at one path. `digest`: of a file's content, of a link's target, of a folder's tree.

    "left out": there is something, and it was not recorded (too big, or it could not be read).
    """

    kind: Kind
    mode: int
    digest: str


Tree: TypeAlias = dict[str, Entry]
"""One folder by name, or many by relative path. Bytes that are not UTF-8 are surrogates, as in `os`."""


class Objects:
    """The store in `folder`, made 0700 when the first object is put in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._trees: dict[str, Tree] = {}
        self._new: list[Path] = []

    def put(self, data: bytes) -> str:
        """Keep `data`, and return its digest; durable after `sync`."""
        digest = sha256(data).hexdigest()
        path = self._path(digest)
        if not path.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
            new.write_bytes(zlib.compress(data, 1))
            new.chmod(0o400)
            new.rename(path)
            self._new.append(path)
        return digest

    def get(self, digest: str) -> bytes:
        """The content. Raises ReplayError where it is not here, or not what it was."""
        try:
            data = zlib.decompress(self._path(digest).read_bytes())
        except (OSError, zlib.error) as error:
            raise ReplayError(f"the snapshot store {self.folder} lacks {digest[:12]}: {error}") from None
        if sha256(data).hexdigest() != digest:
            raise ReplayError(f"the snapshot store {self.folder} is damaged: {digest[:12]} is something else")
        return data

    def adopt(self, other: "Objects") -> None:
        """Have what another store has, by hard links where they are on one file system."""
        if other.folder == self.folder or not other.folder.is_dir():
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in other.folder.iterdir():
            own = self.folder / path.name
            if len(path.name) == 64 and not own.exists():
                try:
                    os.link(path, own)
                except OSError:
                    shutil.copyfile(path, own)

    def __contains__(self, digest: str) -> bool:
        return self._path(digest).exists()

    def put_tree(self, tree: Tree) -> str:
        """Keep one folder's entries."""
        data = json.dumps([[name, *tree[name]] for name in sorted(tree)], separators=(",", ":")).encode()
        digest = self.put(data)
        self._trees[digest] = tree
        return digest

    def tree(self, digest: str) -> Tree:
        """One folder's entries."""
        if digest not in self._trees:
            rows = json.loads(self.get(digest))
            self._trees[digest] = {name: Entry(kind, mode, inner) for name, kind, mode, inner in rows}
        return self._trees[digest]

    def flat(self, digest: str, under: str = "") -> Tree:
        """Everything below a root, by path; folders come before what is in them, and have no digest."""
        found: Tree = {}
        for name, entry in self.tree(digest).items():
            path = under + name
            if entry.kind == "folder":
                found[path] = entry._replace(digest="")
                found |= self.flat(entry.digest, f"{path}/")
            else:
                found[path] = entry
        return found

    def build(self, flat: Tree) -> str:
        """The root of what `flat` describes: its digest, every folder kept. The way back of `flat`."""
        folders: dict[str, Tree] = {"": {}}
        for path in sorted(flat):
            if flat[path].kind == "folder":
                folders[path] = {}
        for path in sorted(flat, key=lambda p: (-p.count("/"), p)):
            entry, (parent, _, name) = flat[path], path.rpartition("/")
            if entry.kind == "folder":
                entry = entry._replace(digest=self.put_tree(folders[path]))
            folders[parent][name] = entry
        return self.put_tree(folders[""])

    def differences(
        self, one: str, other: str, under: str = ""
    ) -> dict[str, tuple[Entry | None, Entry | None]]:
        """By path, what is there in `one` and in `other` where that differs; of folders, the mode counts."""
        found: dict[str, tuple[Entry | None, Entry | None]] = {}
        if one == other:
            return found
        a, b = self.tree(one) if one else {}, self.tree(other) if other else {}
        for name in sorted(a.keys() | b.keys()):
            path, x, y = under + name, a.get(name), b.get(name)
            if x == y:
                continue
            plain = (_bare(x), _bare(y))
            if plain[0] != plain[1]:
                found[path] = plain
            inner = [e.digest if e and e.kind == "folder" else "" for e in (x, y)]
            found |= self.differences(inner[0], inner[1], f"{path}/")
        return found

    def sync(self) -> None:
        """Make everything that was put durable."""
        new, self._new = self._new, []
        if len(new) > FEW:
            os.sync()
            return
        for path in (*new, self.folder) if new else ():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _path(self, digest: str) -> Path:
        return self.folder / digest


def _bare(entry: Entry | None) -> Entry | None:
    return entry._replace(digest="") if entry is not None and entry.kind == "folder" else entry
