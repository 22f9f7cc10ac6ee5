"""What the packaging tests share: the built archives, and a new environment with the base install alone."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Built:
    """The two archives that a release consists of."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Environment:
    """A virtual environment of its own; nothing of the one that runs the tests is in it."""

    folder: Path

    def script(self, name: str) -> Path:
        return self.folder / "bin" / name

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of its scripts, away from the repository."""
        program = self.script(str(command[0]))
        ran = subprocess.run(
            [program, *command[1:]], cwd=self.folder, capture_output=True, text=True, timeout=300
        )
        assert ran.returncode == 0 or not check, f"{command}:\n{ran.stdout}\n{ran.stderr}"
        return ran

    def python(self, code: str) -> str:
        """What this code prints there."""
        return self.run("python", "-I", "-c", code).stdout.strip()


def _checked(*command: str | Path, cwd: Path = ROOT) -> None:
    ran = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, f"{' '.join(map(str, command))}:\n{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"


@pytest.fixture(scope="session")
def build() -> Callable[[Path, Path, Sequence[str]], Path]:
    """Build a source tree into a folder, with the build back end that is installed here; the only result."""

    def build(source: Path, out: Path, what: Sequence[str]) -> Path:
        _checked(sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", out, source)
        (result,) = out.iterdir()
        return result

    return build


@pytest.fixture(scope="session")
def built(
    tmp_path_factory: pytest.TempPathFactory, build: Callable[[Path, Path, Sequence[str]], Path]
) -> Built:
    return Built(
        wheel=build(ROOT, tmp_path_factory.mktemp("wheel"), ["--wheel"]),
        sdist=build(ROOT, tmp_path_factory.mktemp("sdist"), ["--sdist"]),
    )


@pytest.fixture(scope="session")
def new_environment(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Sequence[str | Path]], Environment]:
    """A function that makes an environment and installs into it, at the pinned versions."""

    def make(arguments: Sequence[str | Path]) -> Environment:
        folder = tmp_path_factory.mktemp("environment") / "v"
        _checked(sys.executable, "-m", "venv", "--without-pip", folder)
        pins = ROOT / "constraints.txt"
        pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--quiet"]
        options = ["--disable-pip-version-check", "--constraint", pins, "--build-constraint", pins]
        _checked(*pip, "install", *options, *arguments)
        return Environment(folder)

    return make


@pytest.fixture(scope="session")
def base(built: Built, new_environment: Callable[[Sequence[str | Path]], Environment]) -> Environment:
    """What `pip install continualcode` gives: the wheel and its dependencies, without any extra."""
    return new_environment([built.wheel])
