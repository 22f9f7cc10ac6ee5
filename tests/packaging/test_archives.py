"""What is in the wheel and the sdist."""

import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Built

ROOT = Path(__file__).parents[2]
PARTS = ("cli", "core", "eventlog", "plugins")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_puts_one_name_at_the_top_level(built: "Built") -> None:
    """Our folders are called cli, core, …: installed under these names they would meet anyone's."""
    names = {name.split("/")[0] for name in contents(built.wheel)}
    assert {name.split("-")[0] for name in names} == {"continualcode"}
    assert len(names) == 2


def test_the_wheel_holds_every_file_of_the_product_once(built: "Built") -> None:
    expected = {
        f"continualcode/{path.relative_to(ROOT)}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {"continualcode/__init__.py", "continualcode/py.typed"}
    assert {name for name in contents(built.wheel) if "dist-info" not in name} == expected


def test_the_sdist_builds_the_same_wheel(
    built: "Built", tmp_path: Path, build: Callable[[Path, Path, Sequence[str]], Path]
) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build(source, tmp_path / "out", ["--wheel"])
    assert contents(again) == contents(built.wheel)


def test_the_sdist_has_what_is_needed_to_test_it(built: "Built") -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "pyproject.toml", "tests/test_architecture.py"} <= names
    assert not {name for name in names if name.startswith((".venv", ".git/")) or "__pycache__" in name}
