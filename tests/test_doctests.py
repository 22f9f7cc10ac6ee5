"""What docstrings show is so."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHOWING = [
    path.relative_to(ROOT)
    for part in ("eventlog", "core", "plugins", "cli")
    for path in sorted((ROOT / part).rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def test_some_modules_show_what_they_do() -> None:
    assert len(SHOWING) > 10


@pytest.mark.parametrize("path", SHOWING, ids=str)
def test_what_a_docstring_shows_is_so(path: Path) -> None:
    module = importlib.import_module(".".join(("continualcode", *path.with_suffix("").parts)))
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted and not found.failed
