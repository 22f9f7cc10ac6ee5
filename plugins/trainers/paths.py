"""What in a text is a path: a folder with its slash, or a file with an ending."""

import re

FILE = re.compile(
    r"(?<![\w./:@-])(?P<folder>/?(?:[\w.-]+/)*)(?P<name>(?P<stem>\w[\w-]*)(?P<ending>(?:\.[A-Za-z]\w{0,9})+))"
    r"(?![\w/@-]|\.\w)"
)
"""A file, with its folder or not; no address, and no number with a point in it."""

PLACE = re.compile(r"(?<![\w./-])(?:(?:[\w.-]+/)+|(?:[\w.-]+/)*[\w-]*(?:\.\w[\w-]*)+)(?![\w/(])")
"""A folder, a file, or an ending alone; "csv/tsv" is two things, and no place."""


def places(words: str) -> list[str]:
    """The places in a text.

    >>> places("Files in data/ stay. Write to out/, for example out/people.csv, or to .env.example.")
    ['data/', 'out/', 'out/people.csv', '.env.example']
    >>> places("Version 2.5 of csv/tsv, e.g. os.getenv('X').")
    []
    """
    return [found for found in PLACE.findall(words) if not re.fullmatch(r"[\d.]+|(?:\w\.)+\w", found)]


def folder_of(place: str) -> str:
    """The folder that a place is or is in, with its slash; empty: none is named."""
    return place[: place.rfind("/") + 1]


def within(path: str, place: str) -> bool:
    """Whether a path is a place or in it.

    >>> within("data/a.csv", "data/"), within("./app/.env", ".env"), within("my.env", ".env")
    (True, True, False)
    """
    path = path.removeprefix("./")
    if place.endswith("/"):
        return path.startswith(place) or f"/{place}" in path
    return path == place or path.endswith(f"/{place}")
