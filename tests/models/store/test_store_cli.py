"""`cc models`: what it prints, and where."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from click.testing import CliRunner

from continualcode.cli.models import models
from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models.local.aliases import ALIASES, Alias


def test_list_has_a_line_for_each_alias(tmp_path: Path) -> None:
    said = CliRunner().invoke(models, ["list", "--cache", str(tmp_path)])
    header, *lines = said.stdout.splitlines()
    assert header.split()[:2] == ["NAME", "INSTALLED"]
    assert [line.split()[:2] for line in lines] == [[name, "no"] for name in ALIASES]


def test_the_folder_is_the_one_that_a_session_here_would_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smollm2-135m").mkdir()
    (tmp_path / "smollm2-135m" / "manifest.json").write_text("not a manifest")
    (tmp_path / "continualcode.toml").write_text(f'[model]\nname = "x"\ncache = "{tmp_path}"\n')
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "smollm2-135m") in CliRunner().invoke(models, ["list"]).stderr


def test_list_json_is_one_list(tmp_path: Path) -> None:
    rows = json.loads(CliRunner().invoke(models, ["list", "--json", "--cache", str(tmp_path)]).stdout)
    row = {row["name"]: row for row in rows}["smollm2-135m"]
    assert (row["installed"], row["folder"], row["download_bytes"]) == (False, None, 98_362_432)


def test_list_shows_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "smollm2-135m").mkdir()
    (tmp_path / "smollm2-135m" / "manifest.json").write_text("{")
    said = CliRunner().invoke(models, ["list", "--cache", str(tmp_path)])
    assert re.search(r"smollm2-135m +damaged", said.stdout)
    assert "manifest.json cannot be read" in said.stderr and said.exit_code == 0


def test_pull_prints_the_folder_and_nothing_else_on_stdout(
    tiny_cache: tuple[Alias, Path], tmp_path: Path
) -> None:
    folder = tiny_cache[1] / "tiny"
    said = CliRunner().invoke(models, ["pull", str(folder), "--cache", str(tmp_path)])
    assert said.stdout == f"{folder}\n"
    assert "hashing" in said.stderr and "100%" in said.stderr


def test_pull_json_is_one_object(tiny_cache: tuple[Alias, Path], tmp_path: Path) -> None:
    folder = tiny_cache[1] / "tiny"
    said = CliRunner().invoke(models, ["pull", str(folder), "--json", "--cache", str(tmp_path)])
    pulled = json.loads(said.stdout)
    assert pulled["folder"] == str(folder)
    assert all(re.fullmatch("[0-9a-f]{64}", pulled[part]) for part in ("base", "tokenizer", "template"))


def test_pull_of_an_unknown_name_is_an_error_for_people(tmp_path: Path) -> None:
    said = CliRunner().invoke(models, ["pull", "smollm", "--cache", str(tmp_path)])
    assert isinstance(said.exception, ModelUnavailable) and said.exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="pexpect needs a pseudo-terminal")
def test_on_a_terminal_there_is_a_bar(tiny_cache: tuple[Alias, Path], tmp_path: Path) -> None:
    code = "from continualcode.cli.models import models; models()"
    arguments = ["-c", code, "pull", str(tiny_cache[1] / "tiny"), "--cache", str(tmp_path)]
    spawn: Any = pexpect.spawn  # Any: its types are incomplete
    child = spawn(sys.executable, arguments, encoding="utf-8", timeout=60, dimensions=(24, 200))
    assert child.expect(["hashing .*━+", pexpect.EOF]) == 0
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
