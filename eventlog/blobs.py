"""Contents that may have to go: kept beside the log, named in it by a salted digest.

A log can't be rewritten, so what may have to be forgotten does not go into a line. The line holds the
digest, the blob file the salt and the content. When the file goes, the digest still verifies as part of
the line, and tells nothing about the content: not even a guess of it can be checked without the salt.
"""

import contextlib
import hashlib
import os
import re
from hashlib import sha256
from pathlib import Path

from continualcode.eventlog.disk import sync_file, sync_folder
from continualcode.eventlog.errors import LogCorrupt, LogError

_SALT = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobForgotten(LogError):
    """The content was there and was forgotten on purpose."""


class BlobStore:
    """A folder of contents by digest. It is made, 0700, when the first one is put in."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def put(self, content: bytes | str) -> str:
        """Keep `content`; return its digest when it is durable. Equal contents get different digests."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        salt = os.urandom(_SALT)
        digest = sha256(salt + data).hexdigest()
        self._keep(self._path(digest), salt + data)
        return digest

    def get(self, digest: str) -> bytes:
        """The content. Raises BlobForgotten; LogError where it never was; LogCorrupt where it changed."""
        path = self._path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if self._tombstone(digest).exists():
                raise BlobForgotten(f"{path}: forgotten on purpose") from None
            raise LogError(f"{path}: there is no such blob here") from None
        if sha256(data).hexdigest() != digest:
            raise LogCorrupt(path, 1, 0, "changed", "the blob does not match its digest")
        return data[_SALT:]

    def text(self, digest: str) -> str:
        """The content of a blob that was put in as text."""
        return self.get(digest).decode("utf-8", "surrogateescape")

    def forget(self, digest: str) -> bool:
        """Remove the content for good and remember that it went; False where it was not here.

        The bytes are overwritten before the file is removed. On SSDs, and on file systems that copy on
        write or keep snapshots, old copies of them may live on below this.
        """
        path = self._path(digest)
        try:
            fd = os.open(path, os.O_WRONLY)
        except FileNotFoundError:
            return False
        try:
            size = os.fstat(fd).st_size
            for offset in range(0, size, 1 << 20):
                os.pwrite(fd, bytes(min(1 << 20, size - offset)), offset)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(path, self._tombstone(digest))
        os.truncate(self._tombstone(digest), 0)
        sync_folder(self.folder)
        return True

    def adopt(self, other: "BlobStore") -> None:
        """Have what another store has, its forgotten ones as forgotten."""
        for path in other.folder.glob("*.forgotten") if other.folder.is_dir() else ():
            if not self.forget(path.stem):
                self._keep(self._tombstone(path.stem), b"")
        for digest in other.digests():
            if not self._path(digest).exists() and not self._tombstone(digest).exists():
                self._keep(self._path(digest), other._path(digest).read_bytes())

    def digests(self) -> list[str]:
        """The digests of all contents that are here."""
        return sorted(p.name for p in self.folder.glob("*") if _DIGEST.fullmatch(p.name))

    def damaged(self) -> Path | None:
        """The first file of a content that does not match its digest; None where all do."""
        for digest in self.digests():
            with open(self._path(digest), "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return self._path(digest)
        return None

    def _keep(self, path: Path, data: bytes) -> None:
        """A file with this content, durable, or no file at all."""
        new = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                sync_file(fd)
            os.rename(new, path)
            sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise LogError(f"{self.folder}: cannot keep a blob of {len(data):,} bytes: {error}") from error

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise LogError(f"{digest!r} is no digest of a blob: 64 hex digits are expected")
        return self.folder / digest

    def _tombstone(self, digest: str) -> Path:
        return self.folder / f"{digest}.forgotten"
