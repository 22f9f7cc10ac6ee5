"""Logs of every format version, committed as bytes: what could be read once can be read for ever."""

import importlib.util
import json
import math
import shutil
from pathlib import Path

import pytest

from continualcode.eventlog import (
    LogCorrupt,
    LogWriter,
    Opaque,
    Registry,
    read,
    repair,
    unpack_f32,
    unpack_u32,
    verify,
)
from continualcode.eventlog.line import body_of
from continualcode.eventlog.segments import segment_paths
from continualcode.eventlog.testing import Note, Sample

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy of the folder of golden logs."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


def test_format_1_reads_as_it_was_written(registry: Registry) -> None:
    records = list(read(GOLDEN / "v1.jsonl", registry))
    assert [r.seq for r in records] == list(range(7))
    assert [r.d for r in records] == [0, 1, 1, 3, 4, 5, 6]
    assert [r.text for r in records if isinstance(r, Note)][1:3] == [
        '"quoted" \\ back\nnew\ttab \u2028 \u0085 \x00 é 漢 🎉',
        ',"h":"' + "0" * 64 + '"}',
    ]
    sample = records[3]
    assert isinstance(sample, Sample)
    assert unpack_u32(sample.ids).tolist() == [0, 1, 151_643, 2**32 - 1]
    numbers = unpack_f32(sample.logprobs).tolist()
    assert numbers[0] == -0.5 and math.isnan(numbers[1]) and numbers[2:4] == [math.inf, -math.inf]
    assert (records[1].cause, records[1].ts) == (records[0].id, "2026-01-01T00:00:02.123456Z")


def test_format_1_verifies_and_ends_in_the_hash_that_it_ended_in() -> None:
    found = verify(GOLDEN / "v1.jsonl")
    assert (found.ok, found.events, found.segments, found.log) == (True, 7, 2, "90d1e2f3a4b5")
    assert found.last_hash == LAST_HASH


def test_the_writer_still_writes_format_1_to_the_byte(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make", GOLDEN / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.version_1(tmp_path / "v1.jsonl")
    for path in segment_paths(tmp_path / "v1.jsonl"):
        assert path.read_bytes() == (GOLDEN / path.name).read_bytes()


def test_a_log_that_lost_contents_verifies_and_says_which() -> None:
    path = GOLDEN / "forgotten.jsonl"
    assert (verify(path).ok, verify(path).events) == (True, 2)
    first, second = (json.loads(r.raw) for r in read(path, Registry()) if isinstance(r, Opaque))
    assert (first["text"], first["ids"], "salt" in first, len(first["gone"])) == (
        "my password is «gone»",
        "",
        False,
        16,
    )
    assert (second["text"], second["ids"], len(second["salt"])) == ("kept", "BAAAAA==", 16)
    assert "gone" not in second


def test_a_newer_writers_log_is_readable_and_what_is_unknown_is_kept(registry: Registry) -> None:
    lines = (GOLDEN / "newer.jsonl").read_bytes().splitlines()[1:]
    records = list(read(GOLDEN / "newer.jsonl", registry))
    assert [type(r).__name__ for r in records] == ["Note", "Note", "Opaque", "Opaque", "Opaque", "Sample"]
    for line, record in zip(lines, records, strict=True):
        if isinstance(record, Opaque):
            assert record.raw == body_of(line + b"\n")
    assert [(r.t, r.why) for r in records if isinstance(r, Opaque)] == [
        ("note@3", "this type is not registered"),
        ("vendor.thing", "this type is not registered"),
        ("note", "Expected `str`, got `object` - at `$.text`"),
    ]


def test_a_newer_writers_log_can_be_gone_on_with(golden: Path, registry: Registry) -> None:
    before = (golden / "newer.jsonl").read_bytes()
    with LogWriter.open(golden / "newer.jsonl", registry) as log:
        log.append(Note(text="by an older version"))
    assert (golden / "newer.jsonl").read_bytes().startswith(before)
    assert verify(golden / "newer.jsonl").events == 7


def test_rewriting_an_unknown_record_changes_its_seq_and_d_and_nothing_else(
    tmp_path: Path, registry: Registry
) -> None:
    unknown = [r for r in read(GOLDEN / "newer.jsonl", Registry()) if isinstance(r, Opaque)]
    with LogWriter.create(tmp_path / "log", registry) as log:
        log.append(Note(text="shifts them by one"))
        log.append_many(unknown)
    for line, record in zip(
        (tmp_path / "log").read_bytes().splitlines(keepends=True)[2:], unknown, strict=True
    ):
        shifted = record.raw.replace(b'"seq":%d,"d":0' % record.seq, b'"seq":%d,"d":1' % (record.seq + 1))
        assert body_of(line) == shifted


def test_another_format_is_refused_by_its_number_and_never_repaired(golden: Path, registry: Registry) -> None:
    path = golden / "format2.jsonl"
    before = path.read_bytes()
    assert (verify(path).kind, verify(path).recoverable) == ("header", False)
    for work in (
        lambda: LogWriter.open(path, registry),
        lambda: list(read(path, registry)),
        lambda: repair(path),
    ):
        with pytest.raises(LogCorrupt, match=r"this version reads format 1; the line is .*\"format\":2"):
            work()
    assert path.read_bytes() == before


LAST_HASH = "1d943877a22105e154b71cb9c299ada352c6b5b82e90d90c34035102bc6ba6f0"
