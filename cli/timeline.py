"""Records, verifications and statistics as lines for a person."""

import re
from pathlib import Path
from typing import Any, cast

import msgspec

from continualcode.core.forgetting import Forgotten
from continualcode.eventlog import Stats, Verification
from continualcode.eventlog.segments import torn_path

_HEADER = ("t", "seq", "d", "ts", "id", "cause", "h")
_SHOWN = 80
"""How many characters of a value are shown."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def line(plain: dict[str, Any]) -> str:
    """One event: its number, the time of day, its type, and its fields, long ones cut.

    `of` is among them where the event came in by a merge or a fork: which log and event it was first; and
    `gone=yes` where contents were forgotten.
    """
    fields = "  ".join(f"{k}={_short(_text(v))}" for k, v in _fields(plain))
    return f"{plain['seq']:>5}  {plain['ts'][11:19]}  {plain['t']:<18}  {fields}".rstrip()


def full(plain: dict[str, Any]) -> str:
    """One event with every text whole: a line for each field, the lines of a text beneath it, indented."""
    lines = [f"{plain['seq']:>5}  {plain['ts'][11:19]}  {plain['t']}"]
    for key, value in _fields(plain):
        first, *more = _text(value).split("\n")
        lines += (
            [f"       {key}:", *(f"         {one}" for one in (first, *more))]
            if more
            else [f"       {key}: {first}"]
        )
    return "\n".join(lines)


def _fields(plain: dict[str, Any]) -> list[tuple[str, Any]]:
    shown = ((k, "yes" if k == "gone" else v) for k, v in plain.items() if k not in _HEADER)
    return [(k, v) for k, v in shown if v not in (None, [], {}, "")]


def _text(value: Any) -> str:
    """A value as text that a terminal can show: what would steer it is written out as \\x1b and so on."""
    if isinstance(value, list):
        items = cast(list[object], value)
        if len(items) > 6 and all(isinstance(item, int | float) for item in items):
            return f"[{len(items)} numbers]"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def counted(number: int, what: str) -> str:
    """`1 event`, `2,000 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _short(text: str) -> str:
    text = text.replace("\n", "⏎")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def verification(found: Verification) -> str:
    """What was found, and what to do about it."""
    if found.ok:
        witness = (
            "" if found.ack == "ok" else f" (no .ack sidecar of it: {found.ack}; its very end has no witness)"
        )
        size = ", ".join(
            counted(*one)
            for one in ((found.events, "event"), (found.bytes, "byte"), (found.segments, "segment"))
        )
        return f"ok: {size}, h {found.last_hash[:12]}…{witness}"
    beside = found.kind in ("sidecar", "blob")
    what = "damaged" if beside else "torn by a crash" if found.recoverable else "corrupt"
    return (
        f"{what}: {found.path}: line {found.line}, byte {found.offset}: {found.kind}: {found.found}\n"
        f"good: {counted(found.good_events, 'event')}{'' if beside else ' before it'}\n"
        f"{_advice(found)}"
    )


def _advice(found: Verification) -> str:
    match found.kind:
        case "sidecar":
            return "the next session writes it anew, and `cc log repair` does"
        case "blob":
            return f"bring it back from a copy, or `cc log forget --digest {found.path.name}`"
        case "header":
            return "a newer version of this program may have written it"
        case "foreign":
            return "nothing was changed, and nothing will be: name another file"
        case _ if found.recoverable:
            return "a crash explains this; the next session puts it right and goes on"
        case _:
            return "`cc log repair` moves it, and all that follows, to .torn"


def statistics(found: Stats) -> str:
    """A table of types, then the sums."""
    width = max((len(t) for t in found.types), default=4)
    rows = [f"{t:<{width}}  {s.events:>9,}  {s.bytes:>13,} bytes" for t, s in sorted(found.types.items())]
    rows.append(f"{'all':<{width}}  {found.events:>9,}  {found.bytes:>13,} bytes")
    rows.append(
        f"log {found.log}, {counted(found.segments, 'segment')}, {found.first or '-'} to {found.last or '-'}"
    )
    if found.redacted:
        rows.append(f"{counted(found.redacted, 'secret')} redacted")
    if found.damage is not None:
        rows.append(f"counted up to damage: {found.damage.error()}")
    return "\n".join(rows)


def forgetting(done: Forgotten, log: Path) -> str:
    """What went, what follows from that, and what is left to do by hand."""
    lines = [f"blob forgotten: {digest}" for digest in done.blobs]
    lines.append(f"{counted(len(done.events), 'event')} lost contents: {_numbers(done.events)}")
    if done.updates:
        lines.append(f"updates that cannot be rebuilt any more: {_numbers(done.updates)}")
    if done.left:
        lines.append(f"still there, in what is no content: {_numbers(done.left)} (cc log show --text)")
    torn = torn_path(log)
    if torn.exists():
        lines.append(f"{torn} holds bytes that were moved aside and was not searched: look, and delete it")
    return "\n".join(lines)


def _numbers(seqs: tuple[int, ...]) -> str:
    return ", ".join(map(str, seqs)) or "none"
