"""The first run: asked once, of a person, on one screen."""

import os
import sys
import tomllib
from pathlib import Path

import pexpect
import pytest

from continualcode.cli import setup
from continualcode.plugins.models.local.aliases import ALIASES

QUESTION = "Number, name or folder"


def start(tmp_path: Path, *flags: str) -> "pexpect.spawn[str]":
    (tmp_path / "p").mkdir(exist_ok=True)
    (tmp_path / "calls").write_text("hello there\n")
    return pexpect.spawn(
        str(Path(sys.executable).parent / "continualcode"),
        ["run", str(tmp_path / "p"), *flags],
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path), "NO_COLOR": "1"},
        encoding="utf-8",
        timeout=30,
        dimensions=(24, 80),
    )


def test_the_screen_fits_80_by_24_and_names_every_model() -> None:
    lines = setup.screen().split("\n")
    assert len(lines) < 23 and max(map(len, lines)) <= 80
    assert all(any(name in line for line in lines) for name in ALIASES)


def test_the_choice_is_written_and_not_asked_for_again(tmp_path: Path) -> None:
    child = start(tmp_path)
    child.expect(QUESTION)
    child.sendline("9")
    child.expect("is none of these")
    child.expect(QUESTION)
    model = f"scripted:{tmp_path}/calls"
    child.sendline(model)
    child.expect("/help shows")
    child.sendline("/quit")
    child.expect(pexpect.EOF)
    file = tmp_path / "continualcode" / "continualcode.toml"
    assert tomllib.loads(file.read_text())["model"]["name"] == model
    again = start(tmp_path)
    assert again.expect([QUESTION, "/help shows"]) == 1
    again.sendline("/quit")
    again.expect(pexpect.EOF)


def test_ctrl_c_writes_nothing(tmp_path: Path) -> None:
    child = start(tmp_path)
    child.expect(QUESTION)
    # Python sees one between the question and its reading of the answer (a select() in C) at the next key.
    for _ in range(30):
        child.sendintr()
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
            break
    child.close()
    assert child.exitstatus == 130
    assert not (tmp_path / "continualcode" / "continualcode.toml").exists()


def test_a_model_by_flag_is_not_asked_about(tmp_path: Path) -> None:
    child = start(tmp_path, "--model", f"scripted:{tmp_path}/calls")
    assert child.expect([QUESTION, "/help shows"]) == 1
    child.sendline("/quit")
    child.expect(pexpect.EOF)


@pytest.mark.parametrize("before", ["", "[session]\ntrain = false\n"])
def test_what_the_file_holds_already_stays(tmp_path: Path, before: str) -> None:
    file = tmp_path / "continualcode.toml"
    file.write_text(before)
    setup.write(tmp_path, 'odd "name"')
    found = tomllib.loads(file.read_text())
    assert found["model"] == {"name": 'odd "name"'}
    assert ("session" in found) == bool(before)


def test_without_a_terminal_nobody_is_asked(tmp_path: Path) -> None:
    assert not setup.needed(tmp_path, tmp_path)
