"""Other ways to keep events, doing the same: one event of the same size, durable when the call returns."""

import itertools
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path


def plain_json(path: Path, text: str) -> Callable[[], object]:
    """A line of json.dumps, written and synced: no chain, no checksum."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    numbers = itertools.count()

    def append() -> None:
        event = {
            "t": "note",
            "seq": next(numbers),
            "ts": "2026-01-01T00:00:00.000000Z",
            "id": "x" * 14,
            "text": text,
        }
        os.write(fd, json.dumps(event).encode() + b"\n")
        os.fdatasync(fd)

    return append


def sqlite_wal(path: Path, text: str) -> Callable[[], object]:
    """One INSERT and COMMIT in WAL mode with synchronous=FULL."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT)")
    body = json.dumps({"t": "note", "text": text, "pad": "x" * 150})
    return lambda: db.execute("INSERT INTO events (body) VALUES (?)", (body,))


def eventsourcing(path: Path, text: str) -> Callable[[], object] | None:
    """pyeventsourcing's SQLite application recorder, or None where it is not installed."""
    try:
        from uuid import uuid4

        from eventsourcing.persistence import StoredEvent
        from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
    except ImportError:
        return None
    recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(path)))
    recorder.create_table()
    origin, numbers = uuid4(), itertools.count(1)
    state = json.dumps({"text": text, "pad": "x" * 150}).encode()
    return lambda: recorder.insert_events(
        [StoredEvent(originator_id=origin, originator_version=next(numbers), topic="bench:Note", state=state)]
    )
