"""`cc log`, from outside: through the command line alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from continualcode.core.data import Call, SamplingParams
from continualcode.core.events import (
    DecisionMade,
    PromptSubmitted,
    PromptTokens,
    SampleTaken,
    ToolProposed,
    event_registry,
)
from continualcode.eventlog import BlobStore, LogWriter, blobs_path, pack_f32, pack_u32


def cc(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    script = "from continualcode.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two turns, one with a call."""
    path = tmp_path / "log.jsonl"
    with LogWriter.create(path, event_registry()) as writer:
        writer.append(PromptSubmitted(text="Fix the Test"))
        taken = writer.append(
            SampleTaken(
                weights="w",
                offer="o",
                prompt=PromptTokens(tail=pack_u32([1, 2])),
                params=SamplingParams(),
                token_ids=pack_u32([3]),
                logprobs=pack_f32([float("-inf")]),
                text="write",
                stop="end",
            )
        )
        call = writer.append(
            ToolProposed(sample=taken.id, call=Call(tool="write", arguments={}), how="ok"), cause=taken.id
        )
        writer.append(DecisionMade(call_id=call.id, verdict="deny", by="user"), cause=call.id)
        writer.append(PromptSubmitted(text="again"))
    return path


def seqs(out: str) -> list[int]:
    return [json.loads(line)["seq"] for line in out.splitlines()]


def test_show_prints_json_lines_with_arrays_decoded(log: Path) -> None:
    code, out, _ = cc("log", "show", log, "--json")
    assert (code, seqs(out)) == (0, [0, 1, 2, 3, 4])
    sample = json.loads(out.splitlines()[1])
    assert (sample["t"], sample["prompt"]["tail"], sample["logprobs"]) == (
        "sample_taken",
        [1, 2],
        ["-Infinity"],
    )


def test_show_filters_by_type_turn_call_and_text(log: Path) -> None:
    call = json.loads(cc("log", "show", log, "--json", "--type", "tool_proposed")[1])["id"]
    for options, expected in (
        (("--type", "prompt_submitted"), [0, 4]),
        (("--turn", 1), [0, 1, 2, 3]),
        (("--call", call), [2, 3]),
        (("--text", "fix the test"), [0]),
    ):
        assert seqs(cc("log", "show", log, "--json", *options)[1]) == expected


def test_show_is_a_timeline_for_people(log: Path) -> None:
    code, out, _ = cc("log", "show", log)
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()][:2] == ["prompt_submitted", "sample_taken"]
    assert "text=Fix the Test" in out


def test_tail_shows_the_last_events(log: Path) -> None:
    assert seqs(cc("log", "tail", log, "-n", 2, "--json")[1]) == [3, 4]


def test_verify_answers_with_line_offset_and_kind(log: Path) -> None:
    code, out, _ = cc("log", "verify", log, "--json")
    found = json.loads(out)
    assert (code, found["ok"], found["good_events"], found["line"]) == (0, True, 5, None)
    data = log.read_bytes()
    log.write_bytes(data.replace(b"Fix", b"fix"))
    code, out, _ = cc("log", "verify", log, "--json")
    found = json.loads(out)
    assert code == 1
    assert {k: found[k] for k in ("ok", "line", "offset", "kind", "good_events", "recoverable")} == {
        "ok": False,
        "line": 2,
        "offset": data.index(b"\n") + 1,
        "kind": "changed",
        "good_events": 0,
        "recoverable": False,
    }
    assert "`cc log repair`" in cc("log", "verify", log)[1]


def test_a_torn_last_line_is_said_to_be_torn(log: Path) -> None:
    with open(log, "ab") as file:
        file.write(b'{"t":"note_given","seq":5')
    code, out, _ = cc("log", "verify", log, "--json")
    assert (code, json.loads(out)["recoverable"], json.loads(out)["line"]) == (1, True, 7)
    assert seqs(cc("log", "show", log, "--json")[1]) == [0, 1, 2, 3, 4]


def test_show_stops_at_damage_with_exit_1(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"dent"'))
    code, out, err = cc("log", "show", log, "--json")
    assert (code, seqs(out)) == (1, [0, 1, 2])
    assert "line 5 " in err


def test_repair_then_verify(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"dent"'))
    code, out, _ = cc("log", "repair", log, "--json")
    assert (code, json.loads(out)["events"], json.loads(out)["lost"]) == (0, 3, 2)
    assert cc("log", "verify", log)[0] == 0
    assert b'"dent"' in log.with_name("log.jsonl.torn").read_bytes()


def test_stats_count_by_type(log: Path) -> None:
    code, out, _ = cc("log", "stats", log, "--json")
    found = json.loads(out)
    assert (code, found["events"], found["types"]["prompt_submitted"]["events"]) == (0, 5, 2)
    assert "prompt_submitted" in cc("log", "stats", log)[1]


def test_merge_makes_a_new_log_that_verifies(log: Path, tmp_path: Path) -> None:
    code, out, _ = cc("log", "merge", log, log, "--out", tmp_path / "both", "--json")
    assert (code, json.loads(out)["events"], json.loads(out)["twins"]) == (0, 5, 5)
    assert cc("log", "verify", tmp_path / "both")[0] == 0
    assert cc("log", "merge", log, "--out", log)[0] == 1


def test_forget_removes_a_blob_and_the_log_verifies(log: Path) -> None:
    digest = BlobStore(blobs_path(log)).put("private")
    code, out, _ = cc("log", "forget", log, "--digest", digest, "--json")
    assert (code, json.loads(out)) == (0, {"forgotten": [digest]})
    assert cc("log", "verify", log)[0] == 0
    assert cc("log", "forget", log)[0] == 2


def test_export_gives_rows_that_datasets_loads(log: Path, tmp_path: Path) -> None:
    code, out, _ = cc("log", "export", log)
    (row,) = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert row["prompt"] == [{"role": "user", "content": "Fix the Test"}]
    assert row["completion"] == [{"role": "assistant", "content": "write"}]
    assert (row["label"], row["seq"], row["feedback"]) == (False, 1, "")
    text = json.loads(cc("log", "export", log, "--form", "text")[1])
    assert (text["prompt"], text["completion"]) == ("user: Fix the Test\nassistant: ", "write")
    code, out, _ = cc("log", "export", log, "--out", tmp_path / "rows.jsonl", "--json")
    assert (code, json.loads(out)["rows"]) == (0, 1)
    assert cc("log", "export", log, "--out", tmp_path / "rows.jsonl")[0] == 2
    assert cc("log", "export", log, "--format", "parquet")[0] == 2


def test_export_writes_parquet(log: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    assert cc("log", "export", log, "--format", "parquet", "--out", tmp_path / "rows.parquet")[0] == 0
    assert parquet.read_table(tmp_path / "rows.parquet").to_pylist()[0]["label"] is False


def test_an_export_of_a_damaged_log_is_not_silent_and_leaves_no_file(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"dent"'))
    assert cc("log", "export", log, "--out", log.with_name("rows"))[0] == 1
    assert not log.with_name("rows").exists()
    code, _, err = cc("log", "export", log)
    assert code == 1
    assert "line 5 " in err


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    code, _, err = cc("log", "verify", tmp_path / "none")
    assert code == 1
    assert "there is no log here" in err
    assert cc("log", "show")[0] == 2
