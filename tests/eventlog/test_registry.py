"""Types, versions and the unknown."""

import pytest

from continualcode.eventlog import Opaque, Record, RecordError, Registry
from continualcode.eventlog.testing import Note


class Edit1(Record, frozen=True, kw_only=True, tag="edit"):
    """Version 1: a line number from 1."""

    line: int


class Edit2(Record, frozen=True, kw_only=True, tag="edit@2"):
    """Version 2: a line number from 0."""

    row: int


class Edit3(Record, frozen=True, kw_only=True, tag="edit@3"):
    """Version 3: a range."""

    rows: tuple[int, int]


def upcast_v1_v2(old: Edit1) -> Edit2:
    return Edit2(row=old.line - 1)


def upcast_v2_v3(old: Edit2) -> Edit3:
    return Edit3(rows=(old.row, old.row))


def line(body: str) -> bytes:
    return f'{{{body},"h":"{"0" * 64}"}}\n'.encode()


HEADER = '"seq":4,"d":3,"ts":"T","id":"i","cause":"c"'


def test_every_older_version_comes_out_as_the_newest_with_its_own_header() -> None:
    registry = Registry()
    registry.register(Edit3)
    registry.upcast(Edit1, upcast_v1_v2)
    registry.upcast(Edit2, upcast_v2_v3)
    newest = Edit3(seq=4, d=3, ts="T", id="i", cause="c", rows=(6, 6))
    assert registry.decode(line(f'"t":"edit",{HEADER},"line":7')) == newest
    assert registry.decode(line(f'"t":"edit@2",{HEADER},"row":6')) == newest
    assert registry.decode(line(f'"t":"edit@3",{HEADER},"rows":[6,6]')) == newest


def test_a_newer_version_than_this_one_is_opaque() -> None:
    registry = Registry()
    registry.register(Edit1)
    record = registry.decode(line(f'"t":"edit@2",{HEADER},"row":6'))
    assert isinstance(record, Opaque)
    assert (record.t, record.seq, record.d, record.ts, record.id, record.cause) == (
        "edit@2",
        4,
        3,
        "T",
        "i",
        "c",
    )
    assert record.raw == b'{"t":"edit@2",' + HEADER.encode() + b',"row":6}'


def test_a_tag_that_two_types_claim_is_an_error_that_names_both() -> None:
    class Other(Record, frozen=True, kw_only=True, tag="note"):
        pass

    registry = Registry()
    registry.register(Note)
    registry.register(Note)
    with pytest.raises(
        RecordError, match=r"claim the tag 'note': continualcode.eventlog.testing.Note and .*Other"
    ):
        registry.register(Other)


@pytest.mark.parametrize("tag", ["", "two words", 'quo"te', "log", "opaque", "x@0", "x@", "ü"])
def test_a_tag_that_a_line_cannot_begin_with_is_refused(tag: str) -> None:
    class Wrong(Record, frozen=True, kw_only=True, tag=tag):
        pass

    with pytest.raises(RecordError, match="the tag .* cannot be; allowed: letters, digits"):
        Registry().register(Wrong)


def test_shapes_that_the_format_cannot_hold_are_refused_with_the_reason() -> None:
    class Positional(Record, frozen=True, kw_only=True, tag="a", array_like=True):
        pass

    class Strict(Record, frozen=True, kw_only=True, tag="b", forbid_unknown_fields=True):
        pass

    class Sparse(Record, frozen=True, kw_only=True, tag="c", omit_defaults=True):
        pass

    class BodyFirst(
        Record, frozen=True, tag="d"
    ):  # kw_only is missing, so its fields come before the header's
        line: int

    class Taken(Record, frozen=True, kw_only=True, tag="e"):
        h: str

    for cls, why in (
        (Positional, "array_like"),
        (Strict, "forbid_unknown_fields"),
        (Sparse, "omit_defaults"),
        (BodyFirst, "the first fields must be seq, d, ts, id, cause"),
        (Taken, "a field named h or salt"),
    ):
        with pytest.raises(RecordError, match=why):
            Registry().register(cls)


def test_what_is_no_line_at_all_is_an_error() -> None:
    with pytest.raises(RecordError, match="not a line of a log"):
        Registry().decode(b"garbage\n")


def test_a_record_knows_its_tag() -> None:
    assert Note(text="").t == "note"


def test_a_registry_knows_what_it_can_read_back() -> None:
    registry = Registry()
    registry.register(Note)
    assert Note in registry
    assert Edit1 not in registry
    assert registry.types == {"note": Note}
