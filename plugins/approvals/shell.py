"""A shell command taken apart: the simple commands that it runs, word by word, or why that cannot be told.

Only what is plain is understood: words, quotes without expansions, `&&`, `||`, `;`, new lines, `|`, `!`, and
output that goes to /dev/null or to the other output. All else (variables, substitutions, other
redirections, assignments, loops, functions, background jobs, comments) could run or write what its words do
not show, and is refused by name. The parser is bash's grammar in tree-sitter; what no token of it covers is
refused, too.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

GLUE = {"&&", "||", ";", "|", "|&", "!", "\n"}
"""Tokens between commands that leave both as they are."""

HARMLESS = {"/dev/null", "1", "2"}
"""Where output may go; the digits only as `>&1` and `>&2`."""

_INSIDE = {"program", "list", "pipeline", "command", "negated_command", "redirected_statement"}
_NAMES = {
    "command_substitution": "a command substitution",
    "process_substitution": "a process substitution",
    "simple_expansion": "a variable",
    "expansion": "a variable",
    "variable_assignment": "an assignment",
    "file_redirect": "a redirection",
    "heredoc_redirect": "a redirection",
    "herestring_redirect": "a redirection",
    "subshell": "a subshell",
    "&": "a background job",
}


class Part(NamedTuple):
    """One simple command: as it is written, and its words with the quotes taken off."""

    text: str
    words: tuple[str, ...]


class Unclear(Exception):
    """A command of which it cannot be told what it runs; the message says what stands in the way."""


def parts(command: str) -> tuple[Part, ...]:
    """The simple commands of `command`, in order. Raises Unclear.

    >>> [part.words for part in parts("git status && pytest -k 'a b'")]
    [('git', 'status'), ('pytest', '-k', 'a b')]
    """
    if odd := next((c for c in command if not (c.isprintable() or c in "\n\t")), None):
        raise Unclear(f"it holds the character U+{ord(odd):04X}")
    root = _parser().parse(command.encode()).root_node
    if root.has_error:
        raise Unclear("it is not complete, or not understood")
    covered = bytearray(command.encode())
    for leaf in _leaves(root):
        covered[leaf.start_byte : leaf.end_byte] = b" " * (leaf.end_byte - leaf.start_byte)
    if covered.strip():
        raise Unclear(f"{covered.decode(errors='replace').split()[0]!r} in it is not understood")
    found = tuple(_commands(root))
    if not found:
        raise Unclear("it runs nothing")
    return found


@cache
def _parser() -> "Parser":
    import tree_sitter_bash
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_bash.language()))


def _commands(node: "Node") -> Iterator[Part]:
    for child in node.children:
        if child.type == "command":
            yield Part(_text(child), tuple(_words(child)))
        elif child.type == "file_redirect" and node.type == "redirected_statement":
            _require_harmless(child)
        elif child.type in _INSIDE:
            yield from _commands(child)
        elif child.type not in GLUE:
            raise Unclear(f"{_name(child)} in it ({_text(child)})")


def _words(command: "Node") -> Iterator[str]:
    for child in command.children:
        if child.type == "command_name":
            yield from (_word(inner) for inner in child.children)
        else:
            yield _word(child)


def _word(node: "Node") -> str:
    text = _text(node)
    match node.type:
        case "word" | "number" if not set("\\'\"`$") & set(text):
            return text
        case "raw_string":
            return text[1:-1]
        case "string" if not set("\\`$") & set(text):
            return text[1:-1]
        case "concatenation":
            return "".join(_word(child) for child in node.children)
        case "{" | "}" | "," | "..":
            return text
        case _:
            raise Unclear(f"{_name(node)} in it ({text})")


def _require_harmless(redirect: "Node") -> None:
    target = redirect.child_by_field_name("destination")
    place = _text(target) if target is not None else ""
    operators = {child.type for child in redirect.children} & {">", ">>", "&>", "&>>", ">&"}
    copies = place in "12" and operators == {">&"}
    if not operators or place not in HARMLESS or not (copies or place == "/dev/null"):
        raise Unclear(f"a redirection in it ({_text(redirect)})")


def _leaves(node: "Node") -> Iterator["Node"]:
    if not node.children or node.type in ("string", "raw_string"):
        yield node
    for child in node.children:
        yield from _leaves(child)


def _name(node: "Node") -> str:
    return _NAMES.get(node.type, node.type.replace("_", " "))


def _text(node: "Node") -> str:
    return (node.text or b"").decode(errors="replace")
