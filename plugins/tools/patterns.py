"""File patterns as people write them: `*`, `?`, `[a-z]`, `{ts,tsx}`, and `**` for any depth."""

import re

MAGIC = re.compile(r"[*?\[{]")

_MOST_BRACES = 64


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A pattern for whole relative paths with forward slashes.

    >>> bool(compile_pattern("src/**/*.{py,toml}").fullmatch("src/a/b.py"))
    True
    """
    return re.compile("|".join(_translate(plain) for plain in _braces(pattern)), re.DOTALL)


def _braces(pattern: str) -> list[str]:
    """`a.{b,c}` as `a.b` and `a.c`; nested ones from the inside out. Beyond 64 they are left as they are."""
    waiting, done = [pattern], list[str]()
    while waiting:
        one = waiting.pop(0)
        found = re.search(r"\{([^{},]*(?:,[^{},]*)+)\}", one)
        if found is None or len(waiting) + len(done) >= _MOST_BRACES:
            done.append(one)
        else:
            waiting += [one[: found.start()] + choice + one[found.end() :] for choice in found[1].split(",")]
    return done


def _translate(pattern: str) -> str:
    parts = pattern.split("/")
    result = ""
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            result += ".*" if last else "(?:.*/)?"
        else:
            result += _part(part) + ("" if last else "/")
    return result


def _part(part: str) -> str:
    """One component: nothing in it matches a slash."""
    result, at = "", 0
    while at < len(part):
        character = part[at]
        close = part.find("]", at + 2) if character == "[" else -1
        if character == "*":
            while part[at + 1 : at + 2] == "*":
                at += 1
            result += "[^/]*"
        elif character == "?":
            result += "[^/]"
        elif close > 0:
            inside = part[at + 1 : close].replace("\\", "\\\\").replace("[", "\\[")
            inside = "^" + inside[1:] if inside[0] in "!^" else inside
            result += f"(?!/)[{inside}]" if _is_set(inside) else re.escape(part[at : close + 1])
            at = close
        else:
            result += re.escape(character)
        at += 1
    return result


def _is_set(inside: str) -> bool:
    """Whether `[inside]` is a valid set: not so with a range that runs backwards."""
    try:
        re.compile(f"[{inside}]")
    except re.error:
        return False
    return True
