"""Which parts of the machine a sandboxed command sees, and which of them it may change.

Everything that can be read can be read, except where secrets and doors lie: home folders, temporary
folders and /run (sockets of docker, of agents and of the desktop) are empty; of the home folder, the tool
chains on PATH are there, without their credentials. The workspace can be changed, except for what decides
what runs later outside: `.git`, the project's settings, the environment that we run from, the log.
"""

import os
import pwd
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from platformdirs import user_config_path, user_data_path

from continualcode.core.config import FILE_NAME

EMPTY = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/media", "/mnt")
"""Folders that are empty inside, besides the home folder and our own."""

KERNEL = tuple(
    f"/proc/{name}"
    for name in ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "pressure")
)
"""Settings of the machine: they can be read."""

SECRET_FILES = ("/proc/kcore", "/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers")
SECRET_FOLDERS = ("/etc/ssh", "/etc/ssl/private", "/etc/sudoers.d", "/var/spool/cron", "/var/lib/docker")
"""Only root can read these, and we may be run by root."""

TOOL_CHAINS = (
    ".local/bin",
    ".local/lib",
    ".local/share/uv",
    ".cargo",
    ".rustup",
    ".pyenv",
    ".nvm",
    ".volta",
    ".bun",
    ".deno",
    "go",
)
"""What of a home folder can be read, where it is there."""

CREDENTIALS = (".cargo/credentials", ".cargo/credentials.toml", ".deno/credentials.json")
"""What is in them and is nobody's business."""


class SandboxOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`[sandbox]`: see the docstring of the package."""

    network: bool = False
    git: bool = False
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


def homes() -> list[Path]:
    """The user's home folder, as the environment and as the system names it."""
    found = [Path.home()]
    with suppress(KeyError):  # a user id without an account
        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir))
    return [home.resolve() for home in found if home.is_dir() and home.resolve() != Path("/")]


def private() -> set[Path]:
    """Folders of which commands see nothing but what is allowed by name."""
    given = [*map(Path, EMPTY), *homes(), user_config_path("continualcode"), user_data_path("continualcode")]
    return {folder.resolve() for folder in given if folder.is_dir()}


def empty_folders() -> list[Path]:
    """What is empty inside: the outermost of the private folders."""
    found = private()
    return sorted(folder for folder in found if not found & set(folder.parents))


def too_wide(workspace: Path) -> str:
    """Why a workspace cannot be enclosed: a whole home or system folder is in it. Empty: it can be."""
    for folder in sorted(private()):
        if folder.is_relative_to(workspace):
            return f"the workspace {workspace} holds {folder}, which commands must not change"
    return ""


def tool_chains(workspace: Path) -> Iterator[Path]:
    """What commands may read of folders that are empty otherwise: interpreters and tools on the PATH."""
    for home in homes():
        yield from (home / name for name in TOOL_CHAINS)
    named = [os.environ.get(name, "") for name in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    yield from (Path(name) for name in (*named, sys.prefix) if name)
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        folder = Path(entry)
        if not folder.is_absolute():
            continue
        # /x/bin needs /x/lib; but nobody's whole home folder, and not all of /tmp.
        prefix = folder.parent if folder.name in ("bin", "shims") else folder
        yield folder if prefix in (*private(), *(h / ".local" for h in homes())) else prefix


def kept(workspace: Path, options: SandboxOptions) -> list[tuple[str, Path]]:
    """Names in the workspace that must not change, with what they are: `folder` or `file`.

    Those that are not there are kept from being made. The root's names only: a repository in a
    repository is as much the command's own as any script that it leaves behind.
    """
    found = [("file", workspace / FILE_NAME)]
    git = workspace / ".git"
    if not options.git:
        found.append(("file" if git.is_file() else "folder", git))
    elif git.is_dir():
        found += [("folder", git / "hooks"), ("file", git / "config")]
    ours = Path(sys.prefix).resolve()
    if ours.is_relative_to(workspace) and ours != workspace:
        found.append(("folder", ours))
    return found


def secrets(workspace: Path, log: Path) -> Iterator[Path]:
    """Files and folders that are there, but with nothing in them."""
    yield from map(Path, (*SECRET_FILES, *SECRET_FOLDERS))
    for home in homes():
        yield from (home / name for name in CREDENTIALS)
    if log.is_relative_to(workspace):  # its segments, its blobs, the snapshots beside it
        yield from sorted(log.parent.glob(f"{log.name}*"))
