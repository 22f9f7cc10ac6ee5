"""Entering the sandbox: the `bwrap` command line, and a look at whether it works on this machine.

Order matters, as a later mount covers an earlier one: all of the system read-only; empty folders over what
is private; tool chains read-only in them; the workspace, writable; over it, what must not change. No
capabilities, no further user namespaces, own process, IPC and (unless allowed) network namespaces.
"""

import errno
import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path

from continualcode.core.errors import ConfigError, UsageError
from continualcode.core.sandbox import NoSandbox
from continualcode.plugins.sandbox import places
from continualcode.plugins.sandbox.places import SandboxOptions

_NAMESPACES = ("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try")
_PROBE_SECONDS = 10
_INSTALL = "install bubblewrap (apt install bubblewrap, dnf install bubblewrap, pacman -S bubblewrap)"


class Bubblewrap:
    """The sandbox of one workspace."""

    name = "bwrap"

    def __init__(self, workspace: Path, log: Path, options: SandboxOptions) -> None:
        self._workspace, self._log, self._options = workspace.resolve(), log.resolve(), options
        self._program = outside(self._workspace, "bwrap")
        _require_there("readable", options.readable)
        _require_there("writable", options.writable)

    @property
    def missing(self) -> str:
        """Why it cannot be used here, and what to do; empty where it works. Tried once, for real."""
        return self._missing

    @cached_property
    def _missing(self) -> str:
        if self._program is None:
            return f"there is no bwrap: {_INSTALL}"
        if why := places.too_wide(self._workspace):
            return f"{why}: run cc in the project's own folder"
        try:
            with self.enter(["true"], trial=True) as argv:
                done = subprocess.run(argv, capture_output=True, timeout=_PROBE_SECONDS, text=True)
        except UsageError as error:
            return str(error)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bwrap does not work here: {error}"
        if done.returncode == 0:
            return ""
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return (
            f"bwrap does not work here ({said[0]}): it needs user namespaces; look at the sysctls "
            "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
        )

    @property
    def line(self) -> str:
        """What commands may do."""
        if self.missing:
            return NoSandbox(self.missing).line
        writable = ["the workspace", *self._options.writable]
        git = "without .git's hooks and config" if self._options.git else "without .git"
        network = "network on" if self._options.network else "network off"
        return f"bwrap: can write {', '.join(writable)} ({git}); {network}; home folder hidden"

    @contextmanager
    def enter(self, argv: Sequence[str], *, trial: bool = False) -> Generator[list[str]]:
        """`argv` as it runs inside. Names that must stay missing are held by placeholders meanwhile."""
        if not trial and self.missing:
            yield list(argv)
            return
        assert self._program is not None
        with ExitStack() as held:
            guards = [
                guard
                for what, path in places.kept(self._workspace, self._options)
                for guard in _guarded(what, path, held)
            ]
            yield [str(self._program), *self._mounts(), *guards, *self._secrets(), *self._rest(), *argv]

    def _mounts(self) -> list[str]:
        arguments = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        for path in filter(Path.exists, map(Path, places.KERNEL)):
            # bwrap covers them itself, but not /proc/sys where root runs it.
            arguments += ["--ro-bind", str(path), str(path)]
        hidden = places.empty_folders()
        for folder in hidden:
            arguments += ["--tmpfs", str(folder)]
        given = [*places.tool_chains(self._workspace), *_resolved(self._options.readable)]
        if self._options.network:
            given.append(Path("/etc/resolv.conf").resolve())
        for path in dict.fromkeys(given):
            if path.exists() and any(path.is_relative_to(folder) for folder in hidden if folder != path):
                arguments += ["--ro-bind", str(path), str(path)]
        for path in (self._workspace, *_resolved(self._options.writable)):
            arguments += ["--bind", str(path), str(path)]
        if self._options.git and (git := self._workspace / ".git").is_dir():
            arguments += ["--bind", str(git), str(git)]  # a mount of its own: it cannot be moved aside
        return arguments

    def _secrets(self) -> list[str]:
        arguments: list[str] = []
        for path in places.secrets(self._workspace, self._log):
            if path.is_dir():
                arguments += ["--tmpfs", str(path), "--remount-ro", str(path)]
            elif path.exists():
                arguments += ["--ro-bind", "/dev/null", str(path)]
        return arguments

    def _rest(self) -> list[str]:
        network = [] if self._options.network else ["--unshare-net"]
        environment = ["--setenv", "TMPDIR", "/tmp"]
        return [
            *(*_NAMESPACES, *network, "--disable-userns", "--cap-drop", "ALL", "--new-session"),
            *(*environment, "--chdir", str(self._workspace), "--"),
        ]


def outside(workspace: Path, program: str) -> Path | None:
    """Where a program lies; not in the workspace, where a command may have put it."""
    folders = [Path(entry) for entry in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    safe = [str(f) for f in folders if f.is_absolute() and not f.resolve().is_relative_to(workspace)]
    found = shutil.which(program, path=os.pathsep.join(safe))
    return Path(found).resolve() if found else None


def _resolved(paths: Sequence[str]) -> list[Path]:
    return [Path(os.path.expanduser(path)).resolve() for path in paths]


def _require_there(key: str, paths: Sequence[str]) -> None:
    for given, path in zip(paths, _resolved(paths), strict=True):
        if not os.path.exists(path):
            raise ConfigError(f"sandbox.{key}: there is no folder {given!r}; make it, or leave it out")


def _guarded(what: str, path: Path, held: ExitStack) -> list[str]:
    """Mounts that keep `path` as it is. What is missing is held by an empty one until the command is over."""
    if path.is_symlink():
        raise UsageError(
            f"{path} is a link, and no sandbox can keep a link from being replaced: make it a real {what}"
        )
    if not path.exists():
        try:
            if what == "file":
                path.touch(exist_ok=True)
            else:
                path.mkdir(exist_ok=True)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            # A command cannot make it either; but an owner could allow it to themselves.
            owned = path.parent.stat().st_uid == os.geteuid()
            return ["--ro-bind", str(path.parent), str(path.parent)] if owned else []
        held.callback(_let_go, path)
    return ["--ro-bind", str(path), str(path)]


def _let_go(path: Path) -> None:
    """Take a placeholder away; what somebody has put something into by now is theirs."""
    with suppress(OSError):
        if path.is_dir():
            path.rmdir()
        elif path.stat().st_size == 0:
            path.unlink()
