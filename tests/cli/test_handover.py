"""`cc` in an activated environment: its own commands, and every C build as if it were not there."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from continualcode.cli.commands import COMMANDS
from continualcode.cli.handover import TRIED

OURS = Path(sys.executable).parent / "cc"
SYSTEM = [f for f in os.environ["PATH"].split(os.pathsep) if f and Path(f).resolve() != OURS.parent.resolve()]
COMPILER = shutil.which("cc", path=os.pathsep.join(SYSTEM))

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="there is no CMake")

HELLO = '#include <stdio.h>\nint main(void) { puts("hello from C"); return 0; }\n'


def activated(*first: Path, system: bool = True, **extra: str) -> dict[str, str]:
    """The environment with these folders first on PATH, as after `source activate`."""
    env = {name: value for name, value in os.environ.items() if name != TRIED}
    return env | {"PATH": os.pathsep.join([*map(str, first), *(SYSTEM if system else [])])} | extra


def cc(
    *arguments: str | bytes, env: dict[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run our `cc` as a build does, by name through PATH."""
    env = env or activated(OURS.parent)
    found = shutil.which("cc", path=env["PATH"])
    assert found is not None
    return subprocess.run([found, *arguments], env=env, capture_output=True, text=True, timeout=60, **more)


def script(folder: Path, text: str) -> Path:
    """An executable `cc` in this folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "cc"
    path.write_text(text)
    path.chmod(0o755)
    return path


def another_environment(folder: Path) -> Path:
    """The launcher of another environment on the same PATH: the same program in another file."""
    script(folder, OURS.read_text())
    return folder


def witness(folder: Path) -> Path:
    """A `cc` that writes down through whom it was called, and hands on to the real compiler."""
    seen = folder / "seen"
    script(folder, f'#!/bin/sh\necho "${TRIED}" >> "{seen}"\nexec "{COMPILER}" "$@"\n')
    return seen


# -- Builds -------------------------------------------------------------------------------------------


@needs_compiler
@needs_make
def test_make_builds_a_c_file_through_it(tmp_path: Path) -> None:
    seen = witness(tmp_path / "bin")
    (tmp_path / "hello.c").write_text(HELLO)
    (tmp_path / "Makefile").write_text("hello: hello.o\n")  # make's own rules, whose CC is `cc`
    env = activated(OURS.parent, tmp_path / "bin")
    subprocess.run(["make"], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=120)
    assert subprocess.check_output([tmp_path / "hello"], text=True) == "hello from C\n"
    assert [line.split(os.pathsep)[0] for line in seen.read_text().splitlines()] == [str(OURS)] * 2


@needs_compiler
@needs_cmake
def test_cmake_takes_it_for_the_compiler_and_builds(tmp_path: Path) -> None:
    (tmp_path / "hello.c").write_text(HELLO)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(hello C)\nadd_executable(hello hello.c)\n"
    )
    for step in (["-S", ".", "-B", "build"], ["--build", "build"]):
        env = activated(OURS.parent)
        subprocess.run(["cmake", *step], cwd=tmp_path, env=env, check=True, capture_output=True, timeout=300)
    assert f"CMAKE_C_COMPILER:FILEPATH={OURS}" in (tmp_path / "build/CMakeCache.txt").read_text()
    assert subprocess.check_output([tmp_path / "build/hello"], text=True) == "hello from C\n"


@needs_compiler
@pytest.mark.parametrize("arguments", [["--version"], ["-v"], ["-dumpmachine"], ["-print-search-dirs"]])
def test_what_is_asked_of_the_compiler_is_answered_by_it(arguments: Sequence[str]) -> None:
    theirs = subprocess.run([str(COMPILER), *arguments], capture_output=True, text=True)
    ours = cc(*arguments)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


@needs_compiler
def test_source_comes_through_stdin() -> None:
    result = cc("-E", "-P", "-", input="#define ANSWER 42\nint x = ANSWER;\n")
    assert (result.returncode, result.stdout.strip()) == (0, "int x = 42;")


@needs_compiler
def test_a_file_of_arguments_is_the_compilers(tmp_path: Path) -> None:
    (tmp_path / "hello.c").write_text(HELLO)
    (tmp_path / "arguments").write_text("-c hello.c -o hello.o")
    assert cc("@arguments", cwd=tmp_path).returncode == 0
    assert (tmp_path / "hello.o").exists()


@needs_compiler
def test_a_compile_error_comes_back_with_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int main(void) { return nonsense; }\n")
    result = cc("-c", "bad.c", cwd=tmp_path)
    assert result.returncode == 1
    assert "nonsense" in result.stderr


# -- The hand-over ------------------------------------------------------------------------------------


def test_arguments_arrive_byte_for_byte(tmp_path: Path) -> None:
    script(tmp_path, '#!/bin/sh\nprintf "%s|" "$@" | od -An -c\n')
    result = cc("-DX", "two words", "", b"-\xff", env=activated(OURS.parent, tmp_path))
    assert result.stdout.split() == list("-DX|two") + list("words||-") + ["377", "|"]


def test_it_is_the_same_process_and_takes_no_part_any_more(tmp_path: Path) -> None:
    script(tmp_path, "#!/bin/sh\necho $$\nexit 7\n")
    env = activated(OURS.parent, tmp_path)
    with subprocess.Popen([OURS, "-c"], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.communicate(timeout=60)[0] == f"{process.pid}\n"
    assert process.returncode == 7


def test_a_compiler_whose_reader_goes_away_is_ended_by_sigpipe(tmp_path: Path) -> None:
    """Python ignores SIGPIPE; a compiler that inherited that would go on, and complain."""
    script(tmp_path, "#!/bin/sh\nexec yes\n")
    env = activated(OURS.parent, tmp_path)
    with subprocess.Popen([OURS, "-E"], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.wait(timeout=60) == -signal.SIGPIPE


def test_what_cannot_be_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder" / "cc").mkdir(parents=True)
    script(tmp_path / "data", "not a program").chmod(0o644)
    script(tmp_path / "good", "#!/bin/sh\necho good\n")
    env = activated(OURS.parent, *(tmp_path / name for name in ("missing", "folder", "data", "good")))
    assert cc("-c", env=env).stdout == "good\n"


def test_a_link_to_ourselves_is_not_the_next(tmp_path: Path) -> None:
    (tmp_path / "cc").symlink_to(OURS)
    script(tmp_path / "good", "#!/bin/sh\necho good\n")
    assert cc("-c", env=activated(tmp_path, OURS.parent, tmp_path / "good")).stdout == "good\n"


def test_no_next_cc_is_said_with_the_folders_searched(tmp_path: Path) -> None:
    result = cc("-c", "x.c", env=activated(OURS.parent, tmp_path / "empty", system=False))
    assert result.returncode == 127
    assert f"searched: {OURS.parent}:{tmp_path}/empty" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_next_cc_that_is_no_program_is_said(tmp_path: Path) -> None:
    broken = script(tmp_path, "\x7fELF broken")
    result = cc("-c", env=activated(OURS.parent, tmp_path, system=False))
    assert result.returncode == 126
    assert f"cannot run {broken}" in result.stderr


# -- Several on one PATH ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", ["other ours good", "ours other good", "ours good other", "other ours other good"]
)
def test_two_environments_hand_over_to_the_compiler(tmp_path: Path, order: str) -> None:
    places = {
        "ours": OURS.parent,
        "other": another_environment(tmp_path / "other"),
        "good": tmp_path / "good",
    }
    script(tmp_path / "good", "#!/bin/sh\necho good\n")
    env = activated(*(places[name] for name in order.split()), system=False)
    assert cc("-c", env=env).stdout == "good\n"


def test_two_environments_without_a_compiler_come_to_an_end(tmp_path: Path) -> None:
    other = another_environment(tmp_path / "other")
    result = cc("-c", env=activated(OURS.parent, other, OURS.parent, system=False))
    assert result.returncode == 127
    assert f"already tried: {OURS}:{other}/cc" in result.stderr


@pytest.mark.parametrize("order", ["ours wrapper good", "wrapper ours good"])
def test_a_wrapper_that_looks_for_the_next_cc_from_the_front_finds_the_compiler(
    tmp_path: Path, order: str
) -> None:
    """As ccache does: it runs the first `cc` on PATH that is not itself, which may be ours again."""
    wrapper = script(
        tmp_path / "wrapper",
        "#!/bin/sh\necho wrapped\nIFS=:\nfor folder in $PATH; do\n"
        '  [ -x "$folder/cc" ] && [ "$folder/cc" != "$0" ] && exec "$folder/cc" "$@"\ndone\n',
    )
    script(tmp_path / "good", "#!/bin/sh\necho good\n")
    places = {"ours": OURS.parent, "wrapper": wrapper.parent, "good": tmp_path / "good"}
    env = activated(*(places[name] for name in order.split()), Path("/usr/bin"), system=False)
    assert cc("-c", env=env).stdout == "wrapped\ngood\n"


# -- What is ours -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["plugins", "--help"]])
def test_our_commands_and_help_are_ours(tmp_path: Path, arguments: Sequence[str]) -> None:
    script(tmp_path, "#!/bin/sh\necho compiler\n")
    result = cc(*arguments, env=activated(OURS.parent, tmp_path))
    assert "Usage: cc" in result.stdout + result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_told_from_a_compilers_argument(tmp_path: Path, name: str) -> None:
    script(tmp_path, "#!/bin/sh\necho compiler\n")
    assert "compiler\n" not in cc(name, "--help", env=activated(OURS.parent, tmp_path)).stdout


# -- Its price ----------------------------------------------------------------------------------------


def modules_after(code: str) -> set[str]:
    """The modules that a new interpreter has after this code and did not have before."""
    probe = f"import sys; old = set(sys.modules)\n{code}\nprint('modules', *(set(sys.modules) - old))"
    out = subprocess.check_output([sys.executable, "-c", probe], text=True)
    return set(out.rpartition("modules")[2].split())


def test_handing_over_imports_nothing_but_itself() -> None:
    foreign = {m for m in modules_after("import continualcode.cli.handover") if "continualcode" not in m}
    assert foreign <= {"__future__"}


def test_help_imports_no_command_and_no_library_but_click() -> None:
    code = "from continualcode.cli.main import run; run(['--help'])"
    modules = modules_after(code)
    assert not modules & {"msgspec", "structlog", "pluggy", "importlib.metadata", "torch", "rich"}
    assert {m for m in modules if m.startswith("continualcode.")} == {
        "continualcode.cli",
        "continualcode.cli.commands",
        "continualcode.cli.main",
        "continualcode.cli.operators",
    }


def test_help_takes_less_than_150_ms() -> None:
    """Of processor time, the best of ten: what it takes on a machine that does nothing else."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    taken: list[float] = []
    for _ in range(10):
        before = spent()
        subprocess.run([OURS, "--help"], check=True, capture_output=True)
        taken.append(spent() - before)
    assert min(taken) < 0.150
