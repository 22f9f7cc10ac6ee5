"""`cc`: ours if the first argument is a command of ours, the C compiler's otherwise.

`cc` is the C compiler's name on every Unix, and inside an activated environment ours comes first on
PATH: make, CMake, cargo and cgo call it. So whatever is not for us is handed over, by exec, to the next
`cc` on PATH: same process, arguments, input, environment and exit code. It happens for each file of a
build, so nothing but `os` and `sys` is imported before it.

Two `cc` on one PATH may hand over to each other for ever: ours from another environment, or a wrapper
such as ccache that looks for the "next" `cc` from the front. An environment variable therefore names
every `cc` that the chain went through, and none is tried twice.

What is not passed on as it was: in the C locale Python itself sets LC_CTYPE to C.UTF-8 (PEP 538), which
changes the quotes in a compiler's messages.
"""

from __future__ import annotations

import os
import sys

from continualcode.cli.commands import COMMANDS

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the 10 ms of importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

TRIED = "CONTINUALCODE_CC_TRIED"
"""The environment variable: paths of each `cc` that handed over or was handed to, joined as in PATH."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as a shell's."""


def main() -> None:
    """The console script `cc`."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help") or arguments[0] in COMMANDS:
        from continualcode.cli.main import main as continualcode

        continualcode()
    else:
        hand_over(sys.argv[0], arguments)


def hand_over(script: str, arguments: Sequence[str]) -> NoReturn:
    """Become the next `cc` on PATH; exit 127 if there is none, 126 if it cannot be executed."""
    script = os.path.abspath(script)
    folders = [folder or os.curdir for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    tried = [*filter(None, os.environ.get(TRIED, "").split(os.pathsep)), script]
    compiler = next(candidates(folders, tried), None)
    if compiler is None:
        print(_nothing_left(arguments[0], folders, tried), file=sys.stderr)
        sys.exit(NOT_FOUND)
    os.environ[TRIED] = os.pathsep.join([*tried, compiler])
    _restore_signals()
    try:
        # The whole path as its own name: gcc and clang find their parts beside it, and would find us by `cc`.
        os.execv(compiler, [compiler, *arguments])
    except OSError as error:
        print(f"cc (continualcode): cannot run {compiler}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_EXECUTABLE)


def candidates(folders: Sequence[str], tried: Sequence[str]) -> Iterator[str]:
    """Each `cc` that can be run and was not tried: those after the last one tried, ours, then the others."""
    paths = [os.path.join(folder, "cc") for folder in folders]
    ours = next((n for n, path in enumerate(paths) if _same(path, tried[-1])), -1)
    for path in (*paths[ours + 1 :], *paths[: ours + 1]):
        executable = os.path.isfile(path) and os.access(path, os.X_OK)
        if executable and not any(_same(path, other) for other in tried):
            yield os.path.abspath(path)


def _same(path: str, other: str) -> bool:
    """The same file, links followed; False if either is not there."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def _restore_signals() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, and exec hands that on; but `cc -E x.c | head` must end quietly."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def _nothing_left(argument: str, folders: Sequence[str], tried: Sequence[str]) -> str:
    return (
        f"cc (continualcode): {argument!r} is no command of ours ({', '.join(COMMANDS)}), so this is\n"
        f"for the C compiler, the next `cc` on PATH; but there is none.\n"
        f"  searched: {os.pathsep.join(folders)}\n"
        f"  already tried: {os.pathsep.join(tried)}"
    )
