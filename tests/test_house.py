"""The rules of the house: each a check that names who breaks it. The import arrows: test_architecture.py."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from continualcode.cli.commands import COMMANDS
from continualcode.core import hookspecs

ROOT = Path(__file__).parents[1]
PARTS = ("eventlog", "core", "plugins", "cli")
PRODUCT = [p for part in PARTS for p in sorted((ROOT / part).rglob("*.py")) if "demo_project" not in p.parts]
TESTS = [p for p in sorted((ROOT / "tests").rglob("*.py")) if p != Path(__file__)]
DOCS = [p for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md") for p in sorted(ROOT.glob(pattern))]
HOOKS = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "continualcode_spec")]

HEAVY = {"torch", "transformers", "peft", "tinker", "llguidance", "rich", "prompt_toolkit", "starlette"}
"""Libraries of an extra, or slow to import: only the plugin that needs one imports it."""

MOST_LINES = 400


def breakers(rule: Callable[[Path], object], paths: Iterable[Path]) -> dict[str, object]:
    """What a rule finds wrong, by the file it is wrong in."""
    return {str(path.relative_to(ROOT)): wrong for path in paths if (wrong := rule(path))}


# -- Hooks --------------------------------------------------------------------------------------------


def test_there_are_hooks() -> None:
    assert len(HOOKS) > 5


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_says_what_none_means(hook: str) -> None:
    assert "None" in (inspect.getdoc(getattr(hookspecs, hook)) or "")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_documented_with_its_arguments(hook: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert f"`{hook}({arguments})`" in (ROOT / "docs" / "plugins.md").read_text()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_used_in_some_test(hook: str) -> None:
    assert any(re.search(rf"\b{hook}\b", path.read_text()) for path in TESTS)


# -- Imports ------------------------------------------------------------------------------------------


def at_the_top(tree: ast.Module) -> Iterator[str]:
    """The modules that importing this one imports; those for type checkers are not among them."""
    queue: list[ast.AST] = [tree]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            queue.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            queue.extend(ast.iter_child_nodes(node))


def test_heavy_libraries_are_for_plugins_alone() -> None:
    def heavy(path: Path) -> set[str]:
        return {module.split(".")[0] for module in at_the_top(ast.parse(path.read_text()))} & HEAVY

    assert not breakers(heavy, [p for p in PRODUCT if p.relative_to(ROOT).parts[0] != "plugins"])


def test_nothing_that_starts_a_session_imports_torch() -> None:
    """The log, the engine, every command, and every built-in plugin as it is loaded."""
    probe = """
import importlib, pkgutil, sys
import continualcode.cli, continualcode.core, continualcode.eventlog
for package in (continualcode.eventlog, continualcode.core, continualcode.cli):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "demo_project" not in module.name:
            importlib.import_module(module.name)
from continualcode.core.config import Config
from continualcode.core.plugins import Plugins
assert Plugins(Config().plugins).loaded()
print(*sys.modules)
"""
    loaded = subprocess.check_output([sys.executable, "-c", probe], text=True, timeout=120).split()
    assert not set(loaded) & (HEAVY - {"rich"}), "rich: structlog imports it where it is installed"


# -- How it reads -------------------------------------------------------------------------------------


def test_a_file_can_be_read_in_one_sitting() -> None:
    assert not breakers(lambda path: max(0, len(path.read_text().splitlines()) - MOST_LINES), PRODUCT)


def test_modules_and_what_is_public_in_them_say_what_they_are() -> None:
    def unsaid(path: Path) -> list[str]:
        module = ast.parse(path.read_text())
        found = [] if ast.get_docstring(module) else ["the module"]
        for node in module.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found += [] if ast.get_docstring(node) else [node.name]
        return found

    assert not breakers(unsaid, PRODUCT)


def test_an_ignored_warning_has_its_reason_beside_it() -> None:
    bare = re.compile(r"# ?(type: ignore|noqa|pyright: ignore|pragma: no cover)[^#]*$")

    def unreasoned(path: Path) -> list[int]:
        return [n for n, line in enumerate(path.read_text().splitlines(), 1) if bare.search(line)]

    assert not breakers(unreasoned, [*PRODUCT, *TESTS])


# -- Documents ----------------------------------------------------------------------------------------


def shown(program: str, path: Path) -> set[str]:
    """The words that follow this program's name in code: at the start of a line, or after a backtick."""
    pattern = rf"(?:^\s*(?:\$ )?|`)(?:{program}) ([a-z]+)(?![\w./-])"
    return set(re.findall(pattern, path.read_text(), flags=re.MULTILINE))


def test_links_lead_somewhere() -> None:
    def broken(path: Path) -> list[str]:
        targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text())
        return [target for target in targets if not (path.parent / target).exists()]

    assert not breakers(broken, DOCS)


def test_commands_that_documents_show_exist() -> None:
    assert not breakers(lambda path: shown("cc|continualcode", path) - COMMANDS.keys(), DOCS)


def test_make_targets_that_documents_show_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert not breakers(lambda path: shown("make", path) - targets, DOCS)
