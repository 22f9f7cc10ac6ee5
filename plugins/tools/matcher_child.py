"""The child of `matcher.py`: a script that is run, never imported.

Reads blocks from stdin, each a length in decimal, a newline and so many bytes: the pattern, then one
block a file. Writes one JSON object to stdout at the end: `{"error"}`, or `{"lines": [[file, line number,
line], …], "total"}` with files counted from 0. Bytes that are not UTF-8 travel as lone surrogates.
"""

import json
import re
import sys
from collections.abc import Iterator


def blocks() -> Iterator[str]:
    """What the parent sends, as text."""
    source = sys.stdin.buffer
    while length := source.readline():
        yield source.read(int(length)).decode(errors="surrogateescape")


def main(most: int) -> dict[str, object]:
    """Search, and keep the first `most` matching lines."""
    received = blocks()
    try:
        pattern = re.compile(next(received))
    except (re.error, OverflowError, RecursionError) as error:
        return {"error": str(error) or type(error).__name__}
    lines: list[tuple[int, int, str]] = []
    total = 0
    for file, text in enumerate(received):
        rows = text.removeprefix("\ufeff").split("\n")
        for number, row in enumerate(rows if rows[-1] else rows[:-1], 1):
            line = row.removesuffix("\r")
            if pattern.search(line):
                total += 1
                if len(lines) < most:
                    lines.append((file, number, line[:2000]))
    return {"lines": lines, "total": total}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
