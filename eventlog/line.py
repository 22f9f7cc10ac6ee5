"""One line: a JSON object whose last member is the hash of everything before it.

    {"t":"…","seq":n,"d":k,"ts":"…Z","id":"…","cause":…,…,"h":"<64 hex>"}\\n

The *body* is that object without `h`. `h` is the hex SHA-256 of the previous line's h (64 ASCII bytes)
followed by the body. Everything after the body has a fixed length, so a verifier slices and hashes;
it parses nothing and needs no canonical form of JSON. Lines end at `\\n` only.
"""

import re
from binascii import b2a_base64
from hashlib import sha256

import msgspec

from continualcode.eventlog.errors import LogError
from continualcode.eventlog.record import Record

FORMAT = 1
GENESIS = b"0" * 64
"""The `h` before the first line of a log."""

TAIL = len(',"h":""}\n') + 64
"""How many bytes of a line are not of its body (whose closing brace the hash puts back)."""

MAX_LINE = 16 << 20
"""The longest line, in bytes, so that reading has a bound on memory. Larger contents are blobs."""

MAX_BODY = MAX_LINE - 1024
"""The longest body that a writer takes: with room for what merging may add."""

_HEAD = re.compile(rb'\{"t":"([^"\\\x00-\x1f]*)","seq":(\d{1,18}),"d":(\d{1,18}),')


class LogHeader(Record, frozen=True, kw_only=True, tag="log"):
    """The first line of every segment. Its `seq` is that of the first event after it.

    `log` names the log, `segment` counts its files from 0, `prev` is the h of the last line before
    this segment (`GENESIS` in the first), and `merged` names the logs that a merged one was made of.
    """

    format: int
    log: str
    segment: int
    prev: str
    merged: tuple[str, ...] = ()


def decode_header(line: bytes) -> LogHeader | None:
    """A segment's header, or None where the line is none or is of a newer format."""
    try:
        header = msgspec.json.decode(line, type=LogHeader)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return header if header.format == FORMAT else None


def chain(prev: bytes, body: bytes) -> bytes:
    """The h of a line with this body after a line with the h `prev`; both are 64 ASCII hex digits."""
    return sha256(prev + body).hexdigest().encode()


def seal(body: bytes, h: bytes) -> bytes:
    """The whole line of a body."""
    return b'%b,"h":"%b"}\n' % (body[:-1], h)


def follows(prev: bytes, line: bytes) -> bool:
    """Whether this line was written after one with the h `prev`: to the byte, or forgotten in part since."""
    h = sha256(b"%b%b}" % (prev, line[:-TAIL])).hexdigest()
    return line[-TAIL:] == b',"h":"%b"}\n' % h.encode() or is_forgotten(prev, line)


# Forgetting. A body that holds contents ends with `"salt":"<96 random bits>"`, so that its h tells nothing
# about them. A line whose contents were forgotten is as long as it was, keeps the h that it had, and has in
# the salt's place a check of what is left: `"gone":"<96 bits of the hash of prev and the rest of the line>"`.

_CHECK = re.compile(rb',"(salt|gone)":"([0-9A-Za-z+/]{16})"(,"of":"[0-9A-Za-z_-]+:\d+")?\Z')


def salt_member(salt: bytes) -> bytes:
    """The end of a body that holds contents, closing brace and all, from 12 random bytes."""
    return b',"salt":"%b"}' % b2a_base64(salt, newline=False)


def is_forgotten(prev: bytes, line: bytes) -> bool:
    """Whether this line stands, whole, for one after `prev` with the h that it carries."""
    found = _CHECK.search(line[:-TAIL])
    return found is not None and found[1] == b"gone" and found[2] == _check(prev, line, found.start(2))


def forgotten(prev: bytes, line: bytes, left: bytes) -> bytes | None:
    """The line that stands for `line` when only the members `left` (`{…}`) may stay.

    None where `line` has no salt, or is too short for that.
    """
    found = _CHECK.search(line[:-TAIL])
    if found is None:
        return None
    end = b',"gone":"%b"%b' % (b"-" * 16, found[3] or b"")
    padding = len(line) - TAIL - len(left) + 1 - len(end)
    if padding < 0:
        return None
    new, at = left[:-1] + b" " * padding + end + line[-TAIL:], found.start(2)
    return new[:at] + _check(prev, new, at) + new[at + 16 :]


def _check(prev: bytes, line: bytes, at: int) -> bytes:
    """The check of a line whose check stands at `at`."""
    return b2a_base64(sha256(prev + line[:at] + line[at + 16 :]).digest()[:12], newline=False)


def hash_of(line: bytes) -> bytes:
    """The h that a whole line carries."""
    return line[-67:-3]


def body_of(line: bytes) -> bytes:
    """The body of a whole line."""
    return line[:-TAIL] + b"}"


def head_of(line: bytes) -> tuple[str, int, int] | None:
    """(t, seq, d) without parsing the line; None where it does not begin like one."""
    found = _HEAD.match(line)
    return (found[1].decode(errors="replace"), int(found[2]), int(found[3])) if found else None


def restamp(body: bytes, seq: int, d: int) -> bytes:
    """A body with another seq and d and every other byte as it was."""
    found = _HEAD.match(body)
    if found is None:
        raise LogError(
            f'not a record\'s body; it should begin {{"t":"…","seq":n,"d":n, and begins {body[:60]!r}'
        )
    return b'{"t":"%b","seq":%d,"d":%d,%b' % (found[1], seq, d, body[found.end() :])
