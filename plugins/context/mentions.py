"""@path in a prompt: the file's content goes with it, and the tools that edit know that it was seen.

The content is what the tool `read` would show, with line numbers and the same limits. It comes after the
user's words, is marked as a file's content, and is a record of its own (`file_attached`).
"""

import re

from continualcode.core.errors import UsageError
from continualcode.core.events import FileAttached
from continualcode.core.session import Session

MOST = 8
"""How many files one prompt may bring along."""

_MENTION = re.compile(r'(?<![\w@./-])@(?:"([^"\n]+)"|([\w./~+-]+))')


def mentioned(text: str) -> list[str]:
    """The paths after an @, in order, once each; a sentence's last dot is not part of one.

    >>> mentioned('look at @src/a.py and @"odd name.txt", not me@example.org')
    ['src/a.py', 'odd name.txt']
    """
    found = (quoted or plain.rstrip(".") for quoted, plain in _MENTION.findall(text))
    return [path for path in dict.fromkeys(found) if path]


def attached(text: str, session: Session) -> list[FileAttached]:
    """The files that a prompt names. What looks like a path and is no file is said; `@property` is not."""
    read = session.tools.get("read")
    if read is None:
        return []
    found: list[FileAttached] = []
    for path in mentioned(text):
        if not _is_file(path, session):
            if "/" in path or "." in path:
                session.ui.message(f"@{path}: there is no such file in the workspace; nothing was added.")
            continue
        if len(found) == MOST:
            session.ui.message(f"@{path} and what follows: at most {MOST} files go with one prompt.")
            break
        result = read.run({"path": path}, session)
        if result.success:
            session.workspace.note_seen(result.seen)
            found.append(FileAttached(path=path, text=result.output, seen=result.seen))
        else:
            session.ui.message(f"@{path}: {result.output}")
    return found


def _is_file(path: str, session: Session) -> bool:
    try:
        return session.workspace.resolve(path).is_file()
    except UsageError:
        return False
