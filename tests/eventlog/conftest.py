"""Logs and a quick disk for the tests of the event log."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from continualcode.eventlog import LogWriter, Registry
from continualcode.eventlog.testing import Note, Sample, example_registry


@pytest.fixture
def registry() -> Registry:
    """Knows `Note` and `Sample`."""
    return example_registry()


@pytest.fixture
def ram() -> Iterator[Path]:
    """A folder where syncing costs nothing, for tests that open a log thousands of times."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(dir=shm if os.access(shm, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def finished(ram: Path, registry: Registry) -> Path:
    """A finished log of two segments: 5 events in batches of 1, 2, 1 and 1, the last in the second."""
    path = ram / "finished.jsonl"
    tick = iter(range(10**18, 10**19, 10**9))
    with LogWriter.create(path, registry, log_id="abc", clock=lambda: next(tick), segment_bytes=900) as log:
        log.append(Note(text="one"))
        log.append_many([Note(text="two, é"), Note(text="three \u2028 raw")])
        log.append(Sample(ids=b"\1\0\0\0", logprobs=b"\0\0\xc0\x7f"))
        log.append(Note(text="five"))
    assert [p.name for p in sorted(ram.iterdir())] == [
        "finished.jsonl",
        "finished.jsonl.1",
        "finished.jsonl.ack",
    ]
    return path
