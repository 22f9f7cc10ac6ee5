"""Writes the golden logs of the current format: run it once for a new format version, never over an old one.

    python tests/eventlog/golden/make.py FOLDER

`v1.jsonl` is what format 1 looks like; `forgotten.jsonl` too, with contents, some of them gone. `newer.jsonl`
is format 1 as a later product may write it: types and versions that this one does not know, and fields of
which it has never heard. `format2.jsonl` says that it is of a format that this version cannot read.
"""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from continualcode.eventlog import LogWriter, Opaque, Record, Registry, Text, Tokens, pack_f32, pack_u32
from continualcode.eventlog.erase import erase
from continualcode.eventlog.line import GENESIS, chain, seal
from continualcode.eventlog.testing import Note, Sample, example_registry


def clock() -> Callable[[], int]:
    """A second a call, from a fixed time on."""
    ticks = itertools.count(1_767_225_600_123_456_789, 1_000_000_000)
    return lambda: next(ticks)


def version_1(path: Path) -> None:
    """Small and large records, a batch, awkward text, arrays with NaN and infinities, a second segment."""
    with LogWriter.create(
        path, example_registry(), log_id="90d1e2f3a4b5", clock=clock(), segment_bytes=1400
    ) as log:
        first = log.append(Note(text="plain"))
        log.append_many(
            [
                Note(text='"quoted" \\ back\nnew\ttab \u2028 \u0085 \x00 é 漢 🎉', cause=first.id),
                Note(text=',"h":"' + "0" * 64 + '"}'),
            ]
        )
        numbers = [-0.5, float("nan"), float("inf"), float("-inf"), -0.0, 1e-45]
        log.append(
            Sample(
                ids=pack_u32([0, 1, 151_643, 2**32 - 1]),
                logprobs=pack_f32(numbers),
                rows=(pack_f32([0.25]), b""),
                metrics={"loss": 0.1},
            )
        )
        for text in ("six", "seven", "eight"):
            log.append(Note(text=text))


class Said(Record, frozen=True, kw_only=True, tag="said"):
    """What is said can be forgotten."""

    text: Text
    ids: Tokens = b""


def forgotten(path: Path) -> None:
    """Two lines with contents, of which the first has lost them. Its salts are random."""
    registry = Registry()
    registry.register(Said)
    with LogWriter.create(path, registry, log_id="0f0f0f0f0f0f", clock=clock()) as log:
        log.append(Said(text="my password is tangerine", ids=pack_u32([1, 2, 3])))
        log.append(Said(text="kept", ids=pack_u32([4])))
    erase(path, registry, {0: lambda marker, text: text.replace("tangerine", marker)})


def newer(path: Path) -> None:
    """Bodies as another product version writes them."""
    rest = b'"ts":"2027-01-01T00:00:00.000000Z","id":"fffffffffff0-%d","cause":null'
    bodies = [
        b'{"t":"note","seq":0,"d":0,' + rest % 0 + b',"text":"as ever"}',
        b'{"t":"note","seq":1,"d":0,'
        + rest % 1
        + b',"text":"with a field of later","mood":{"x":[1, 2.50, 1e400]}}',
        b'{"t":"note@3","seq":2,"d":0,' + rest % 2 + b',"words":["a","new","shape"]}',
        b'{"t":"vendor.thing","seq":3,"d":0,'
        + rest % 3
        + b',"big":123456789012345678901234567890, "spaced" : true}',
        b'{"t":"note","seq":4,"d":0,' + rest % 4 + b',"text":{"not":"a string any more"}}',
        b'{"t":"sample","seq":5,"d":0,' + rest % 5 + b',"ids":"AQAAAA==","logprobs":"AAAAvw=="}',
    ]
    opaque = [Opaque(type="?", raw=body, why="") for body in bodies]
    with LogWriter.create(path, example_registry(), log_id="fffffffffff0", clock=clock()) as log:
        log.append_many(opaque)


def format_2(path: Path) -> None:
    """Only the header matters."""
    body = b'{"t":"log","seq":0,"d":0,"ts":"2028-01-01T00:00:00.000000Z","id":"a","cause":null,"format":2}'
    path.write_bytes(seal(body, chain(GENESIS, body)))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    version_1(folder / "v1.jsonl")
    forgotten(folder / "forgotten.jsonl")
    newer(folder / "newer.jsonl")
    format_2(folder / "format2.jsonl")
    for sidecar in folder.glob("*.ack"):
        sidecar.unlink()  # it holds this process's id
