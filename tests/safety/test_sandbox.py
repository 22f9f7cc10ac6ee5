"""The sandbox as it is meant to be used: what works in it, what it says, and where there is none."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from continualcode.core.config import Config
from continualcode.core.data import ToolResult
from continualcode.core.errors import ConfigError
from continualcode.core.safety_events import SafetyChosen
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.core.workspace import RunContext, Workspace
from continualcode.plugins.sandbox import make_sandbox
from continualcode.plugins.sandbox.bubblewrap import Bubblewrap, outside
from continualcode.plugins.sandbox.places import SandboxOptions
from continualcode.plugins.tools.shell import Bash

Do = Callable[..., ToolResult]


def test_the_workspace_can_be_changed(shell: Do, root: Path) -> None:
    assert shell("mkdir -p src && echo two >> a.txt && mv a.txt src/b.txt && cat src/b.txt").success
    assert (root / "src" / "b.txt").read_text() == "one\ntwo\n"


def test_git_can_be_looked_at(shell: Do) -> None:
    assert "a.txt" in shell("git status --short && git log --oneline --all").output


def test_python_and_scratch_space_are_there(shell: Do) -> None:
    result = shell(
        'python3 -c "import tempfile; print(tempfile.mkdtemp())"; touch ~/x && echo home && touch $TMPDIR/y'
    )
    assert result.success, result.feedback
    assert result.output.startswith("/tmp/")


def test_scratch_space_is_gone_afterwards(shell: Do, home: Path) -> None:
    assert shell("touch ~/left ~/.bashrc /tmp/left-by-a-test").success
    assert not (home / "left").exists() and not (home / ".bashrc").exists()
    assert not Path("/tmp/left-by-a-test").exists()


def test_a_failure_by_the_sandbox_says_what_it_allows(shell: Do) -> None:
    result = shell("touch /etc/x")
    assert "Read-only file system" in result.output
    assert "ran in a sandbox (bwrap: can write the workspace (without .git); network off;" in (
        result.feedback or ""
    )


def test_the_network_can_be_allowed(shell: Do) -> None:
    count = "ls /sys/class/net | wc -l; grep -c : /proc/net/dev"
    assert shell(count).output.splitlines()[1] == "1"
    assert int(shell(count, network=True).output.splitlines()[1]) >= 1


def test_git_can_be_allowed_without_its_hooks_and_config(shell: Do, root: Path) -> None:
    name = "git -c user.name=a -c user.email=a@b"
    assert shell(f"git add a.txt && {name} commit -qm one && git log --oneline", git=True).success
    assert not shell("echo x > .git/hooks/pre-commit", git=True).success
    assert not shell("git config core.fsmonitor ./evil", git=True).success
    assert not shell("mv .git .moved", git=True).success


def test_folders_can_be_allowed(shell: Do, home: Path, tmp_path: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "x.csv").write_text("1,2\n")
    assert shell("cat ~/data/x.csv", readable=("~/data",)).output == "1,2"
    assert not shell("touch ~/data/y", readable=("~/data",)).success
    assert shell("touch ~/data/y", writable=("~/data",)).success


def test_names_that_must_not_be_made_leave_nothing_behind(
    enclose: Callable[..., RunContext], tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    result = Bash().run({"command": "git init; echo '[ui]' > continualcode.toml"}, enclose(plain))
    assert not result.success
    assert list(plain.iterdir()) == []


@pytest.mark.parametrize("key", ["readable", "writable"])
@pytest.mark.parametrize("folder", ["/no/such", "~/no-such", "~nobody-of-this-name/x"])
def test_a_folder_that_is_not_there_is_an_error_of_that_setting(key: str, folder: str, root: Path) -> None:
    maker = make_sandbox("bwrap", {key: [folder]})
    assert maker is not None
    with pytest.raises(ConfigError, match=f"sandbox.{key}: there is no folder '{folder}'; make it"):
        maker(root, root / "log")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written_is_enclosed_and_its_owner_cannot_allow_it_inside(
    enclose: Callable[..., RunContext], tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir(mode=0o500)
    result = Bash().run({"command": "chmod u+w .; mkdir .git; touch x"}, enclose(plain))
    assert not result.success and "Read-only file system" in result.output
    assert (plain.stat().st_mode & 0o777, list(plain.iterdir())) == (0o500, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_the_folder_of_somebody_else_is_enclosed(enclose: Callable[..., RunContext]) -> None:
    usr = Path("/usr/lib")
    assert Bash().run({"command": "pwd"}, enclose(usr)).output == "/usr/lib"
    assert not Bash().run({"command": "touch x"}, enclose(usr)).success


def test_everything_ends_with_the_command(shell: Do, root: Path) -> None:
    began = time.monotonic()
    shell("setsid sleep 77 & nohup sleep 78 & sleep 0.1")
    assert time.monotonic() - began < 5
    left = [
        p
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if p.read_bytes() in (b"sleep\x0077\0", b"sleep\x0078\0")
    ]
    assert not left


def test_a_timeout_ends_it(enclose: Callable[..., RunContext]) -> None:
    began = time.monotonic()
    result = Bash().run({"command": "echo x; sleep 66 & sleep 67", "timeout": 1}, enclose())
    assert time.monotonic() - began < 6
    assert (result.feedback or "").startswith("stopped: it was not done after 1 s")


def test_a_signal_is_named(shell: Do) -> None:
    assert "SIGSEGV" in (shell("kill -SEGV $$").feedback or "")


# -- Where there is none ------------------------------------------------------------------------------


def test_without_bwrap_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    box = Bubblewrap(tmp_path / "w", tmp_path / "log", SandboxOptions())
    assert "apt install bubblewrap" in box.missing
    with box.enter(["true"]) as argv:
        assert argv == ["true"]


def test_a_bwrap_that_fails_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    (tmp_path / "w").mkdir()
    box = Bubblewrap(tmp_path / "w", tmp_path / "log", SandboxOptions())
    assert "setting up uid map: Permission denied" in box.missing
    assert "kernel.apparmor_restrict_unprivileged_userns" in box.missing


def test_a_bwrap_in_the_workspace_is_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = root / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    assert outside(root, "bwrap") is None


@pytest.mark.parametrize("where", ["home", "tmp", "root"])
def test_a_workspace_that_holds_too_much_is_not_enclosed(where: str, home: Path) -> None:
    folder = {"home": home, "tmp": Path("/tmp"), "root": Path("/")}[where]
    if outside(folder, "bwrap") is None and where != "root":
        pytest.skip("there is no bwrap")
    assert Bubblewrap(folder, folder / "log", SandboxOptions()).missing


def test_a_linked_git_folder_cannot_be_enclosed(root: Path, enclose: Callable[..., RunContext]) -> None:
    context = enclose()
    (root / ".git").rename(root / "real")
    (root / ".git").symlink_to("real")
    result = Bash().run({"command": "touch made"}, context)
    assert "is a link, and no sandbox can keep a link from being replaced" in result.output
    assert not (root / "made").exists()


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    maker = make_sandbox("none", {})
    assert maker is not None
    assert "turned off" in maker(tmp_path, tmp_path / "log").line


# -- In a session --------------------------------------------------------------------------------------


def test_the_log_says_what_encloses_commands(root: Path) -> None:
    ui = ScriptedUI()
    session = open_scripted(root, ui=ui)
    (chosen,) = [e for e in ui.events if isinstance(e, SafetyChosen)]
    assert (chosen.sandbox, chosen.line, chosen.missing) == (
        session.sandbox.name,
        session.sandbox.line,
        session.sandbox.missing,
    )
    session.close("quit")


def test_a_session_without_one_says_so(root: Path) -> None:
    ui = ScriptedUI()
    config = Config(model={"name": "test:policy"}, sandbox={"name": "none"})
    open_scripted(root, ui=ui, config=config).close("quit")
    (chosen,) = [e for e in ui.events if isinstance(e, SafetyChosen)]
    assert chosen.line == "no sandbox, they run with your rights: it is turned off (sandbox.name = none)"


def test_file_tools_keep_out_of_git_settings_and_the_log(root: Path) -> None:
    workspace = Workspace(root, root / "log.jsonl")
    for path in (".git/config", "sub/.GIT/hooks/x", "continualcode.toml", "log.jsonl", "log.jsonl.1"):
        with pytest.raises(Exception, match="cannot change|only its user|belongs to this session's log"):
            workspace.replace(path, b"x", None)
