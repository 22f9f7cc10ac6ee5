"""constraints.txt pins all that the Makefile installs; nothing is imported that is not asked for."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINS = {
    canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LINES if not line.startswith("#")
}


def wanted(requirement: Requirement, extras: set[str]) -> bool:
    """Does this requirement apply here, with these extras asked for?"""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


def brought_in() -> Iterator[str]:
    """The names of all that is installed by `.[local,tinker]`, the dev group and the build, here."""
    start = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["local"]]
    start += PROJECT["project"]["optional-dependencies"]["tinker"]
    start += [*PROJECT["dependency-groups"]["dev"], *PROJECT["build-system"]["requires"], "pip"]
    queue = [Requirement(line) for line in start]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        requirement = queue.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        yield key[0]
        try:
            lines = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for line in lines:
            if wanted(below := Requirement(line), set(requirement.extras)):
                queue.append(below)


def test_everything_that_is_installed_is_pinned() -> None:
    of_torchs_cuda_builds = re.compile("nvidia-|cuda-|triton")
    missing = {name for name in brought_in() if name not in PINS and not of_torchs_cuda_builds.match(name)}
    assert not missing


def test_a_pin_is_within_what_the_project_asks_for() -> None:
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    asked += [line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), requirement


def test_torch_is_the_one_whose_arithmetic_is_promised() -> None:
    assert PINS[canonicalize_name("torch")] == "2.13.0"


def test_what_the_product_imports_it_asks_for() -> None:
    """Not what a dependency of ours happens to bring: it may stop to."""
    asked = [*PROJECT["project"]["dependencies"]]
    asked += [line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
    declared = {canonicalize_name(Requirement(line).name) for line in asked}
    owners = importlib.metadata.packages_distributions()
    for part in ("cli", "core", "eventlog", "plugins"):
        for path in (ROOT / part).rglob("*.py"):
            if "demo_project" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                for module in (
                    {m.split(".")[0] for m in modules} - {"continualcode"} - sys.stdlib_module_names
                ):
                    names = {canonicalize_name(owner) for owner in owners.get(module, [module])}
                    assert names & declared, f"{path.relative_to(ROOT)} imports {module}"
