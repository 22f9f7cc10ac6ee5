"""Secrets are replaced before a record reaches the log: a marker stands where each one was.

    redact = Redactor.from_environment()
    LogWriter.create(path, registry, redact=redact)

Two kinds are found: the values of environment variables whose names say that they are secret, and
strings of a shape that only credentials have. Every text in the record is searched, at any depth, also
the keys of objects. What it cannot do: find a secret that is neither, one that is split over
two fields or records, and one that is inside an array of token ids or a blob, which are not text here.
A caller that tokenises text should redact it first (`Redactor.text`).
"""

import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec
from msgspec import inspect

from continualcode.eventlog.fields import fields_with, is_foreign
from continualcode.eventlog.record import HEADER_FIELDS, Opaque, Record

_NAMES = re.compile(
    r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH|PAT|PRIVATE|COOKIE|DSN)(_|\d*$)",
    re.IGNORECASE,
)
_NOT_SECRET = re.compile(
    r"(_PATH|_FILE|_DIR|_SOCK|_SOCKET|_ID|_NAME|_HOST|_PORT|_MODE|_TYPE|_LIMIT|_METHOD)$|^XAUTHORITY$",
    re.IGNORECASE,
)
_SHORTEST = 8
"""Shorter values of secret variables are left alone: they would hit ordinary words. No shape is shorter."""

SHAPES: Mapping[str, tuple[str, str]] = {
    "private key": (
        "-----BEGIN ",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    ),
    "Anthropic key": ("sk-ant-", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    "OpenAI key": ("sk-", r"\bsk-(?:proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{20,}"),
    "GitHub token": ("gh", r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    "GitHub fine-grained token": ("github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    "GitLab token": ("glpat-", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "Hugging Face token": ("hf_", r"\bhf_[A-Za-z0-9]{30,}"),
    "AWS access key id": ("AKIA", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "AWS temporary key id": ("ASIA", r"\bASIA[A-Z0-9]{16}\b"),
    "Google API key": ("AIza", r"\bAIza[A-Za-z0-9_-]{35}"),
    "Slack token": ("xox", r"\bxox[abposr]-[A-Za-z0-9-]{10,}"),
    "Stripe key": ("k_live_", r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    "npm token": ("npm_", r"\bnpm_[A-Za-z0-9]{36}"),
    "PyPI token": ("pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "Tinker key": ("tml-", r"\btml-[A-Za-z0-9_-]{20,}"),
    "JSON web token": ("eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "bearer token": ("earer ", r"(?<=[Bb]earer )[A-Za-z0-9._~+/=-]{20,}"),
    "password in a URL": ("://", r"(?<=://)[^\s/:@'\"]*:[^\s/@'\"]{3,}(?=@)"),
}
"""What it is → (a literal that every one contains, the pattern of it)."""


class Redactor:
    """Replaces secrets in records. `count` is how many it has replaced so far."""

    def __init__(
        self, secrets: Mapping[str, str] | None = None, shapes: Iterable[str] = tuple(SHAPES)
    ) -> None:
        """`secrets`: what a marker calls each one → its value. `shapes`: which of SHAPES to look for."""
        self.count = 0
        values = sorted(
            (secrets or {}).items(), key=lambda item: -len(item[1])
        )  # the longest of overlapping ones
        self._values = [(name, value) for name, value in values if len(value) >= _SHORTEST]
        self._shapes = [(name, SHAPES[name][0], re.compile(SHAPES[name][1], re.DOTALL)) for name in shapes]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Redactor":
        """Knows the present values of variables with names that look secret, and all shapes."""
        given = os.environ if environ is None else environ
        return cls({n: v for n, v in given.items() if _NAMES.search(n) and not _NOT_SECRET.search(n)})

    def __call__(self, record: Record) -> Record:
        """The record itself, or a copy with markers in place of secrets."""
        redacted: Record = record if isinstance(record, Opaque) else self._walk(record)
        return redacted

    def text(self, text: str) -> str:
        """`text` with a marker, «redacted: NAME», in place of each secret."""
        if len(text) < _SHORTEST:
            return text
        for name, value in self._values:
            if value in text:
                self.count += text.count(value)
                text = text.replace(value, f"«redacted: {name}»")
        for name, literal, pattern in self._shapes:
            if literal in text:
                text, found = pattern.subn(f"«redacted: {name}»", text)
                self.count += found
        return text

    def _walk(self, value: Any) -> Any:
        """`value` with every string in it redacted; the same object where nothing was found."""
        if isinstance(value, str):
            text = self.text(value)
            return value if text == value else text
        if isinstance(value, msgspec.Struct):
            changes = {
                f: new
                for f in _text_fields(type(value))
                if (new := self._walk(old := getattr(value, f))) is not old
            }
            return msgspec.structs.replace(value, **changes) if changes else value
        if isinstance(value, dict):
            pairs = cast(dict[object, object], value)
            new_pairs = {self._walk(k): self._walk(v) for k, v in pairs.items()}
            return pairs if new_pairs == pairs else new_pairs
        if isinstance(value, list | tuple):
            items = cast(list[object] | tuple[object, ...], value)
            new_items = [self._walk(item) for item in items]
            if all(new is old for new, old in zip(new_items, items, strict=True)):
                return items
            return new_items if isinstance(items, list) else tuple(new_items)
        return value


@lru_cache(maxsize=1024)
def _text_fields(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    """The fields that may hold text; of a record not the header's, whose ids others refer to.

    A struct always may: what stands there can be of a subtype with more fields than were declared.
    """
    names = fields_with(
        cls, lambda kind: isinstance(kind, inspect.StrType | inspect.StructType) or is_foreign(kind)
    )
    return tuple(n for n in names if n not in HEADER_FIELDS) if issubclass(cls, Record) else names
