"""What an update learned, as the terminal shows it: the corrected call, whatever else it looked at."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.theme import Theme

from continualcode.core import engine
from continualcode.core.data import Call, Part
from continualcode.core.events import UpdateApplied
from continualcode.core.review import Answer
from continualcode.core.session import Session
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.plugins.uis.terminal import credit
from continualcode.plugins.uis.terminal.theme import choose


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One call, denied, and learned from."""
    ui = ScriptedUI([], [Answer(verdict="deny", reason="No.")])
    read = Call(tool="read", arguments={"path": "a.txt"})
    session = open_scripted(tmp_path / "project", [read, "done"], ui=ui)
    engine.ask(session, "Go.")
    return session


def shown(record: UpdateApplied, session: Session) -> str:
    written = StringIO()
    theme = replace(choose("dark"), colours=False)
    Console(file=written, width=200, theme=Theme(dict(theme.styles))).print(
        credit.learned(record, session, theme)
    )
    return written.getvalue()


@pytest.mark.parametrize("part", ["near", "beside", "sibling", "anchor"])
def test_rows_that_were_not_looked_at_are_left_out(session: Session, part: Part) -> None:
    """As an update has them at the defaults: siblings, what is near, and anchors that were not in turn."""
    (record,) = (o for o in session.transcript.outcomes.values() if isinstance(o, UpdateApplied))
    alone = shown(record, session)
    assert "as" in alone and "divergence 1.00" in alone
    started = session.transcript.updates[record.update]
    own = next(row for row in started.examples if row.correction)
    other = msgspec.structs.replace(own, part=part, correction="" if part == "anchor" else own.correction)
    session.transcript.updates[record.update] = msgspec.structs.replace(
        started, examples=(*started.examples, other)
    )
    record = msgspec.structs.replace(record, advantages=(*record.advantages, b""))
    assert shown(record, session) == alone
