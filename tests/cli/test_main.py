"""What the command line does around every command: errors, exit codes, diagnostics, help."""

import importlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from continualcode.cli import operators
from continualcode.cli.commands import COMMANDS

PROBE = """
import logging, os, signal, sys
import click, structlog
from continualcode.core.errors import *
from continualcode.eventlog import *

@click.command()
@click.argument("code")
def probe(code):
    exec(code)
"""
START = """
import sys
from continualcode.cli.commands import COMMANDS
COMMANDS["probe"] = ("probe:probe", "A command of this test's.")
sys.argv[0] = "continualcode"
from continualcode.cli.main import main
main()
"""


@pytest.fixture
def probe(tmp_path: Path) -> list[str]:
    """The start of a command line that runs, as a command of ours, the Python code it is given."""
    (tmp_path / "probe.py").write_text(PROBE)
    return [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n{START}"]


def outcome(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=60)


# -- Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        ("ContinualCodeError('x')", 1),
        ("ModelUnavailable('x')", 1),
        ("LogError('x')", 1),
        ("UsageError('x')", 2),
        ("ConfigError('x')", 2),
        ("click.UsageError('x')", 2),
    ],
)
def test_an_error_for_a_person_is_its_message_and_an_exit_code(
    probe: list[str], raised: str, code: int
) -> None:
    result = outcome(probe, "probe", f"raise {raised}")
    assert result.returncode == code
    assert result.stderr.splitlines()[-1] == "Error: x"
    assert result.stdout == "" and "Traceback" not in result.stderr


def test_a_defect_is_two_lines_and_points_to_the_traceback(probe: list[str]) -> None:
    result = outcome(probe, "probe", "raise ZeroDivisionError('first\\nsecond')")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "Unexpected error: ZeroDivisionError: first",
        "Run the command again with --debug for the traceback.",
    ]


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("open('/none/x')", "Error: /none/x: No such file or directory"),
        ("raise OSError(28, os.strerror(28))", "Error: No space left on device"),
    ],
)
def test_what_the_system_says_of_a_file_is_no_defect(probe: list[str], raised: str, said: str) -> None:
    result = outcome(probe, "probe", raised)
    assert (result.returncode, result.stderr.splitlines()) == (1, [said])
    assert outcome(probe, "probe", "--debug", raised).stderr.startswith("Traceback")


def test_output_that_finds_no_room_is_said_once(probe: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*probe, "probe", "click.echo(1)"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_a_closed_output_is_no_traceback(probe: list[str]) -> None:
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *probe, "probe", "click.echo(1)"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--debug", "probe"], ["probe", "--debug"]])
@pytest.mark.parametrize("raised", ["ZeroDivisionError('x')", "ContinualCodeError('x')"])
def test_debug_before_or_after_the_command_shows_the_traceback(
    probe: list[str], arguments: list[str], raised: str
) -> None:
    result = outcome(probe, *arguments, f"raise {raised}")
    assert result.returncode == 1
    assert result.stderr.startswith("Traceback") and result.stderr.endswith("x\n")


@pytest.mark.parametrize("interruption", ["os.kill(os.getpid(), signal.SIGINT)", "raise click.Abort"])
def test_an_interruption_is_exit_code_130(probe: list[str], interruption: str) -> None:
    result = outcome(probe, "probe", interruption)
    assert (result.returncode, result.stderr) == (130, "\nInterrupted.\n")


def test_an_exit_code_that_a_command_chose_stands(probe: list[str]) -> None:
    assert outcome(probe, "probe", "sys.exit(1)").returncode == 1
    assert outcome(probe, "probe", "click.get_current_context().exit(3)").returncode == 3


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_error_to_speak_of(probe: list[str], lines: int) -> None:
    code = f"sys.stdin.read()\nfor n in range({lines}): click.echo(n) if {lines} > 1 else print(n)"
    command = [*probe, "probe", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) in (0, 128 + signal.SIGPIPE)


def test_an_unknown_command_is_a_matter_of_usage(probe: list[str]) -> None:
    result = outcome(probe, "rnu")
    assert result.returncode == 2
    assert "No such command 'rnu'" in result.stderr


def test_the_version_is_the_distributions(probe: list[str]) -> None:
    import continualcode

    assert outcome(probe, "--version").stdout == f"continualcode {continualcode.__version__}\n"


# -- Diagnostics --------------------------------------------------------------------------------------

SAY = """
log = structlog.get_logger("here")
log.debug("d"); log.info("i", n=1); log.warning("w"); logging.info("library")
"""


@pytest.mark.parametrize(("flags", "shown"), [([], "w"), (["-v"], "i w library"), (["-vv"], "d i w library")])
def test_each_v_shows_more(probe: list[str], flags: list[str], shown: str) -> None:
    result = outcome(probe, "probe", *flags, "--log-format", "json", SAY)
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert [line["event"] for line in lines] == shown.split()
    assert result.stdout == ""


def test_json_diagnostics_have_fields_time_level_and_logger(probe: list[str]) -> None:
    result = outcome(probe, "--log-format", "json", "-v", "probe", SAY)
    line = json.loads(result.stderr.splitlines()[0])
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "i", "n": 1, "level": "info", "logger": "here"}


def test_console_diagnostics_are_lines_without_colour_off_a_terminal(probe: list[str]) -> None:
    (line,) = outcome(probe, "probe", SAY).stderr.splitlines()
    assert "warning" in line and "\x1b" not in line


def test_diagnostics_are_added_to_a_file_instead(probe: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        result = outcome(probe, "probe", "--log-file", str(tmp_path / "log"), "--log-format", "json", SAY)
        assert (result.stdout, result.stderr) == ("", "")
    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == ["w", "w"]


def test_a_file_that_cannot_be_written_is_a_matter_of_usage(probe: list[str], tmp_path: Path) -> None:
    result = outcome(probe, "probe", "--log-file", str(tmp_path / "no" / "log"), SAY)
    assert result.returncode == 2
    assert result.stderr.endswith(f"{tmp_path}/no/log: No such file or directory\n")


# -- The commands -------------------------------------------------------------------------------------


def load(name: str) -> click.Command:
    module, attribute = COMMANDS[name][0].split(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def below(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from below(each)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_help_is_the_commands_own_first_sentence(name: str) -> None:
    assert load(name).get_short_help_str(limit=1000) == COMMANDS[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_is_taken_by_diagnostics(name: str) -> None:
    taken = {flag for option in operators.options() for flag in option.opts}
    for command in below(load(name)):
        own = [p for p in command.params if p.name not in {option.name for option in operators.options()}]
        assert not taken & {flag for param in own for flag in param.opts}, command.name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(name: str) -> None:
    for command in below(load(name)):
        assert command.help, command.name
        unsaid = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
        assert not unsaid, (command.name, unsaid)
