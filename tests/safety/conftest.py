"""A workspace, a home folder with secrets beside it, and `bash` in the real sandbox."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.core.data import ToolResult
from continualcode.core.workspace import RunContext, Workspace
from continualcode.plugins.sandbox.bubblewrap import Bubblewrap
from continualcode.plugins.sandbox.places import SandboxOptions
from continualcode.plugins.tools.shell import Bash

SECRET = "s3cret-of-the-home-folder"

SECRETS = (
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".gnupg/private.key",
    ".config/gh/hosts.yml",
    ".config/continualcode/rules.json",
    ".local/share/keyrings/login.keyring",
    ".netrc",
    ".bash_history",
    ".git-credentials",
    ".cargo/credentials.toml",
)
"""Files of the home folder that no command may read."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder full of secrets, and that of this process."""
    folder = tmp_path / "home"
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRET)
    monkeypatch.setenv("HOME", str(folder))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def root(tmp_path: Path, home: Path) -> Path:
    """The workspace, a git repository."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "a.txt").write_text("one\n")
    return folder


Do = Callable[..., ToolResult]

NO_SANDBOX = "no sandbox: "


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was skipped is said, whatever the verbosity: nothing tried is no success."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    if missing := [text for text in skipped if NO_SANDBOX in text]:
        why = missing[0].partition(NO_SANDBOX)[2].removesuffix("')")
        terminalreporter.write_line(f"{len(missing)} attempts to escape were NOT made: {why}", red=True)


@pytest.fixture
def enclose(root: Path, tmp_path: Path) -> Callable[..., RunContext]:
    """Makes the context of tools in the sandbox, with options; skips where it cannot work.

    With REQUIRE_SANDBOX=1 in the environment that is a failure: for machines that are to have one.
    """

    def make(workspace: Path = root, log: Path = tmp_path / "log.jsonl", **options: object) -> RunContext:
        box = Bubblewrap(workspace, log, SandboxOptions(**options))  # type: ignore[arg-type]  # given by tests
        if box.missing and os.environ.get("REQUIRE_SANDBOX"):
            pytest.fail(f"REQUIRE_SANDBOX is set, and there is none: {box.missing}")
        if box.missing:
            pytest.skip(f"{NO_SANDBOX}{box.missing}")
        return RunContext(Workspace(workspace, log), box)

    return make


@pytest.fixture
def shell(enclose: Callable[..., RunContext]) -> Do:
    """Runs a command in the sandbox, with the default options or others."""

    def run(command: str, **options: object) -> ToolResult:
        return Bash().run({"command": command, "timeout": 20}, enclose(**options))

    return run


def everything(folder: Path) -> dict[str, bytes | str]:
    """What is below a folder: content of files, targets of links."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
