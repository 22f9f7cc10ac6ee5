"""`/tag NAME`: a name for a correction, by which replay selects it (`--without tag:NAME`)."""

import re

from continualcode.core.errors import UsageError
from continualcode.core.events import CorrectionTagged
from continualcode.core.session import Session

NAME = re.compile(r"[\w.-]+")


def tag(argument: str, session: Session) -> str:
    """Tag the last correction, or the one of an event: /tag NAME, /tag NAME SEQ."""
    given = list(session.transcript.corrections.values())
    name, _, at = argument.partition(" ")
    if not NAME.fullmatch(name):
        raise UsageError("/tag needs a name of letters, digits, '.', '-' and '_': /tag style, /tag style 41")
    if not given:
        raise UsageError("no correction was given in this session yet: there is nothing to tag")
    meant = [one for one in given if str(one.seq) == at.strip()] if at.strip() else given[-1:]
    if not meant:
        seqs = ", ".join(str(one.seq) for one in given[-10:])
        raise UsageError(f"event {at.strip()} is no correction; the last ones are the events {seqs}")
    session.append(CorrectionTagged(correction=meant[0].id, tag=name))
    words = (meant[0].feedback.splitlines() or [""])[0]
    return f"Tagged {name}: event {meant[0].seq}, {words}"
