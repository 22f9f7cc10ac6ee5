"""Arrays, plain data, blobs, forgetting, redaction, statistics."""

import json
import math
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continualcode.eventlog import (
    F32,
    BlobForgotten,
    BlobStore,
    LogCorrupt,
    LogError,
    LogWriter,
    Record,
    Redactor,
    Registry,
    blobs_path,
    forget,
    pack_f32,
    pack_u32,
    read,
    stats,
    to_builtins,
    unpack_f32,
    unpack_u32,
    verify,
)
from continualcode.eventlog.testing import Note, Sample


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_token_ids_survive_packing(ids: list[int]) -> None:
    assert unpack_u32(pack_u32(ids)).tolist() == ids


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_single_precision_numbers_survive_packing_with_infinities(numbers: list[float]) -> None:
    assert unpack_f32(pack_f32(numbers)).tolist() == numbers


def test_arrays_are_little_endian() -> None:
    assert pack_u32([1]) == b"\1\0\0\0"
    assert pack_f32([1.0]) == b"\0\0\x80\x3f"


def test_a_record_as_plain_data_is_json_with_arrays_decoded() -> None:
    record = Sample(
        seq=3,
        id="x",
        ids=pack_u32([7, 8]),
        logprobs=pack_f32([-0.5, math.nan, math.inf, -math.inf]),
        rows=(pack_f32([1.0]), b""),
        metrics={"loss": 0.5},
    )
    plain = to_builtins(record)
    assert list(plain)[:6] == ["t", "seq", "d", "ts", "id", "cause"]
    assert plain["ids"] == [7, 8]
    assert plain["logprobs"] == [-0.5, "NaN", "Infinity", "-Infinity"]
    assert plain["rows"] == [[1.0], []]
    assert math.isnan(float(plain["logprobs"][1]))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


class Inner(Record, frozen=True, kw_only=True, tag="inner"):
    """Arrays in optional and nested places."""

    maybe: F32 | None = None
    by_name: dict[str, F32] = {}
    sub: "tuple[Sample, ...]" = ()


def test_arrays_are_decoded_in_optional_and_nested_places() -> None:
    sample = Sample(ids=pack_u32([1]), logprobs=b"")
    plain = to_builtins(Inner(maybe=pack_f32([2.0]), by_name={"a": pack_f32([3.0])}, sub=(sample,)))
    assert (plain["maybe"], plain["by_name"], plain["sub"][0]["ids"]) == ([2.0], {"a": [3.0]}, [1])
    assert to_builtins(Inner())["maybe"] is None


def test_an_opaque_record_as_plain_data_is_what_its_line_says(tmp_path: Path, registry: Registry) -> None:
    with LogWriter.create(tmp_path / "log", registry) as log:
        log.append(Note(text="hi"))
    (opaque,) = read(tmp_path / "log", Registry())
    assert (to_builtins(opaque)["t"], to_builtins(opaque)["text"]) == ("note", "hi")


def test_a_blob_is_kept_by_a_digest_that_differs_each_time(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    first, second = store.put("secret"), store.put("secret")
    assert first != second
    assert (store.text(first), store.get(second)) == ("secret", b"secret")
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (store.folder, *store.folder.iterdir())]
    assert modes == [0o700, 0o600, 0o600]


def test_any_text_survives_a_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    text = "\x00\u2028 é \udcff"
    assert store.text(store.put(text)) == text


def test_forgetting_a_blob_removes_its_bytes_and_the_log_still_verifies(
    tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "log"
    store = BlobStore(blobs_path(path))
    with LogWriter.create(path, registry) as log:
        kept = log.append(Note(text=store.put("the address of a person")))
        log.append(Note(text="no blob"))
    assert forget(path, seqs=[0]) == [kept.text]
    assert verify(path).ok
    assert not any(b"address" in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(BlobForgotten, match="forgotten on purpose"):
        store.get(kept.text)
    with pytest.raises(LogError, match="event 1 names no blob"):
        forget(path, seqs=[1])
    with pytest.raises(LogError, match="there is no event 9; it has events 0 to 1"):
        forget(path, seqs=[9])
    with pytest.raises(LogError, match="no blob .* here"):
        forget(path, digests=[kept.text])


def test_a_changed_blob_is_noticed_and_a_missing_one_is_said(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    digest = store.put(b"abc")
    (tmp_path / digest).write_bytes((tmp_path / digest).read_bytes()[:-1] + b"d")
    with pytest.raises(LogCorrupt, match="does not match its digest"):
        store.get(digest)
    with pytest.raises(LogError, match="no such blob"):
        store.get("0" * 64)
    with pytest.raises(LogError, match="'../x' is no digest"):
        store.get("../x")


TOKENS = {
    "GitHub token": "ghp_" + "a1B2" * 9,
    "Anthropic key": "sk-ant-api03-" + "x_-9" * 12,
    "OpenAI key": "sk-proj-" + "Ab3_" * 12,
    "Hugging Face token": "hf_" + "Zz9" * 12,
    "AWS access key id": "AKIA" + "ABCDEFGH12345678",
    "Google API key": "AIza" + "a-_B5" * 7,
    "Slack token": "xoxb-1234567890-abcdef",
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n-----END OPENSSH PRIVATE KEY-----",
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "bearer token": "0123456789abcdefABCDEF",
    "password in a URL": "user:hunter2",
}


@pytest.mark.parametrize("name", TOKENS)
def test_strings_of_a_credentials_shape_never_reach_the_file(
    tmp_path: Path, registry: Registry, name: str
) -> None:
    redact, around = (
        Redactor(),
        {"bearer token": "Bearer {}", "password in a URL": "https://{}@host/"}.get(name, "a {} b"),
    )
    with LogWriter.create(tmp_path / "log", registry, redact=redact) as log:
        written = log.append(Sample(ids=b"", logprobs=b"", maybe=around.format(TOKENS[name])))
    assert written.maybe == around.format(f"«redacted: {name}»")
    assert TOKENS[name].splitlines()[0].encode() not in (tmp_path / "log").read_bytes()
    assert redact.count == 1
    assert stats(tmp_path / "log").redacted == 1
    assert list(read(tmp_path / "log", registry)) == [written]


def test_values_of_secret_environment_variables_are_found_at_any_depth(
    tmp_path: Path, registry: Registry
) -> None:
    environ = {
        "MY_API_KEY": 'quo"ted\\value',
        "DB_PASSWORD": "päss\nword",
        "SHORT_TOKEN": "abc",
        "SSH_AUTH_SOCK": "/tmp/agent.sock",
        "HOME": "/home/somebody",
    }
    redact = Redactor.from_environment(environ)
    with LogWriter.create(tmp_path / "log", registry, redact=redact) as log:
        secrets = f"{environ['MY_API_KEY']}, {environ['DB_PASSWORD']}"
        log.append(Note(text=f"{secrets}, abc, /tmp/agent.sock, /home/somebody"))
        log.append(Sample(ids=b"", logprobs=b"", metrics={environ["DB_PASSWORD"]: 1.0}))
    texts = [to_builtins(r) for r in read(tmp_path / "log", registry)]
    assert (
        texts[0]["text"]
        == "«redacted: MY_API_KEY», «redacted: DB_PASSWORD», abc, /tmp/agent.sock, /home/somebody"
    )
    assert texts[1]["metrics"] == {"«redacted: DB_PASSWORD»": 1.0}
    assert redact.count == 3


class Place(msgspec.Struct, frozen=True):
    """Holds no text."""

    at: int


class Named(Place, frozen=True):
    """Does, and stands where a `Place` was declared."""

    name: str


class Found(Record, frozen=True, kw_only=True, tag="found"):
    place: Place
    names: tuple[str, ...] = ()
    by: dict[str, int] = {}
    anything: Any = None


def test_secrets_are_found_wherever_text_may_stand_also_where_it_was_not_declared() -> None:
    secret, marker = "correct horse", "«redacted: A_TOKEN»"
    redact = Redactor({"A_TOKEN": secret})
    record = Found(
        place=Named(at=1, name=secret), names=("a", secret), by={secret: 1}, anything={"deep": [secret]}
    )
    assert redact(record) == Found(
        place=Named(at=1, name=marker), names=("a", marker), by={marker: 1}, anything={"deep": [marker]}
    )
    clean = Found(place=Place(at=1), id=secret)
    assert redact(clean) is clean
    assert redact.count == 4


@given(st.text(max_size=200))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor({"A_TOKEN": "correct horse"}).text(text) == text


def test_arrays_of_tokens_are_out_of_its_reach(tmp_path: Path, registry: Registry) -> None:
    """The limit, stated: ids of a secret text are the secret text to whoever has the tokenizer."""
    with LogWriter.create(tmp_path / "log", registry, redact=Redactor({"A_TOKEN": "correct horse"})) as log:
        written = log.append(Sample(ids=pack_u32(b"correct horse"), logprobs=b""))
    assert bytes(unpack_u32(written.ids).tolist()) == b"correct horse"


def test_statistics_count_events_bytes_and_the_time_span(finished: Path) -> None:
    found = stats(finished)
    assert (found.events, found.segments, found.log, found.damage) == (5, 2, "abc", None)
    assert {t: s.events for t, s in found.types.items()} == {"note": 4, "sample": 1}
    assert found.first is not None and found.last is not None and found.first < found.last
    lines = [
        line
        for p in sorted(finished.parent.glob("*l*"))
        if p.suffix != ".ack"
        for line in p.read_bytes().splitlines(True)
    ]
    assert found.bytes == sum(len(line) for line in lines if not line.startswith(b'{"t":"log"'))
