"""`cc log`, from outside: through the command line alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from continualcode.core import engine
from continualcode.core.data import Call, PromptTokens, SamplingParams
from continualcode.core.events import DecisionMade, PromptSubmitted, SampleTaken, ToolProposed, event_registry
from continualcode.core.review import Answer
from continualcode.core.sessions import fork
from continualcode.core.testing import ScriptedUI, open_scripted
from continualcode.eventlog import BlobStore, LogWriter, blobs_path, pack_f32, pack_u32, read_header


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
    assert list(sample)[:2] == ["seq", "type"]
    assert (sample["type"], sample["prompt"]["tail"], sample["logprobs"]) == (
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--type", "sample_takn"), "no such type of event; did you mean 'sample_taken'?"),
        (("--turn", 3), "--turn 3: the log has 2 turns"),
        (("--turn", 0), "0 is not in the range"),
        (("--call", "zzz"), "the log has no such call; the nearest is "),
    ],
)
def test_show_says_that_a_filter_names_what_is_not_there(
    log: Path, options: tuple[object, ...], said: str
) -> None:
    code, out, err = cc("log", "show", log, *options)
    assert (code, out) == (2, "")
    assert said in err


def test_show_of_a_type_that_this_log_has_none_of_is_empty(log: Path) -> None:
    assert cc("log", "show", log, "--type", "update_applied") == (0, "", "")


@pytest.mark.parametrize("command", ["show", "tail", "decisions"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, command: str) -> None:
    (tmp_path / "log").touch()
    code, out, err = cc("log", command, tmp_path / "log")
    assert (code, out, err) == (1, "", f"Error: {tmp_path / 'log'} is empty: there is no log in it\n")


def test_show_is_a_timeline_for_people(log: Path) -> None:
    code, out, _ = cc("log", "show", log)
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()][:2] == ["prompt_submitted", "sample_taken"]
    assert "text=Fix the Test" in out


def test_show_full_shows_texts_whole_and_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    text = "first line\n" + "x" * 300 + "\n\x1b[2Jlast"
    with LogWriter.create(tmp_path / "log", event_registry()) as writer:
        writer.append(PromptSubmitted(text=text))
    shown = cc("log", "show", tmp_path / "log", "--full")[1].splitlines()
    assert [line.strip() for line in shown[1:]] == ["text:", "first line", "x" * 300, "\\x1b[2Jlast"]
    assert "\x1b" not in cc("log", "show", tmp_path / "log")[1]


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
    assert (code, json.loads(out)["blobs"]) == (0, [digest])
    assert cc("log", "verify", log)[0] == 0
    assert cc("log", "forget", log)[0] == 2


def test_forget_takes_a_text_out_and_names_what_lost_contents(log: Path) -> None:
    code, out, _ = cc("log", "forget", log, "--text", "the Test", "--json")
    assert (code, json.loads(out)["events"], json.loads(out)["updates"]) == (0, [0, 1], [])
    assert b"Test" not in log.read_bytes()
    assert cc("log", "verify", log)[0] == 0
    assert "text=Fix «gone»" in cc("log", "show", log)[1]
    code, out, _ = cc("log", "forget", log, "--seq", 4)
    assert (code, out) == (0, "1 event lost contents: 4\n")
    code, _, err = cc("log", "forget", log, "--seq", 3)
    assert (code, "event 3 is not there, or holds no text" in err) == (2, True)


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


def second_session(folder: Path, prompt: str) -> Path:
    """One turn with a call that was allowed."""
    path = folder / f"{prompt}.jsonl"
    with LogWriter.create(path, event_registry()) as writer:
        writer.append(PromptSubmitted(text=prompt))
        taken = writer.append(
            SampleTaken(
                weights="w",
                offer="o",
                prompt=PromptTokens(),
                params=SamplingParams(),
                token_ids=b"",
                logprobs=b"",
                text=f"of {prompt}",
                stop="end",
            )  # fmt: skip
        )
        call = writer.append(
            ToolProposed(sample=taken.id, call=Call(tool="read", arguments={}), how="ok"), cause=taken.id
        )
        writer.append(DecisionMade(call_id=call.id, verdict="allow", by="user"), cause=call.id)
    return path


def test_export_of_a_merged_log_is_the_exports_of_its_logs(log: Path, tmp_path: Path) -> None:
    other = second_session(tmp_path, "other")
    assert cc("log", "merge", log, other, "--out", tmp_path / "both")[0] == 0
    merged = [json.loads(line) for line in cc("log", "export", tmp_path / "both")[1].splitlines()]
    single = [json.loads(line) for p in (log, other) for line in cc("log", "export", p)[1].splitlines()]
    assert sorted(merged, key=lambda row: str(row["sample"])) == sorted(
        single, key=lambda row: str(row["sample"])
    )
    assert {row["log"] for row in merged} == {read_header(log).log, read_header(other).log}


def test_export_of_a_session_merged_with_its_fork_has_each_row_once(tmp_path: Path) -> None:
    parent, child = tmp_path / "work.jsonl", tmp_path / "fork.jsonl"
    glob = Call(tool="glob", arguments={"pattern": "*"})
    session = open_scripted(tmp_path / "work", [glob, "a", glob, "b"], ui=ScriptedUI(["one", "two"]))
    engine.run(session)
    session.close("quit")
    second = json.loads(cc("log", "show", parent, "--type", "prompt_submitted", "--json")[1].splitlines()[1])
    fork(parent, second["seq"] - 1, child)
    denies = ScriptedUI(["three"], [Answer(verdict="deny", reason="no")])
    session = open_scripted(tmp_path / "work", [glob, "c"], ui=denies, log=child, resume=True)
    engine.run(session)
    session.close("quit")
    assert cc("log", "merge", child, parent, "--out", tmp_path / "both")[0] == 0
    rows = [cc("log", "export", path)[1].splitlines() for path in (parent, child, tmp_path / "both")]
    assert [len(lines) for lines in rows] == [2, 2, 3]
    assert sorted(rows[2]) == sorted({*rows[0], *rows[1]})


def test_show_says_where_a_merged_logs_events_were_first(log: Path, tmp_path: Path) -> None:
    cc("log", "merge", log, "--out", tmp_path / "copy")
    first = f"{read_header(log).log}:0"
    assert json.loads(cc("log", "show", tmp_path / "copy", "--json")[1].splitlines()[0])["of"] == first
    assert f"of={first}" in cc("log", "show", tmp_path / "copy")[1]


def test_export_writes_parquet(log: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    for form in ("conversational", "text"):
        out = tmp_path / f"{form}.parquet"
        rows = cc("log", "export", log, "--form", form)[1].splitlines()
        assert cc("log", "export", log, "--form", form, "--format", "parquet", "--out", out)[0] == 0
        assert parquet.read_table(out).to_pylist() == [json.loads(row) for row in rows]


def test_an_export_of_a_damaged_log_is_not_silent_and_leaves_no_file(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"deny"', b'"dent"'))
    assert cc("log", "export", log, "--out", log.with_name("rows"))[0] == 1
    assert not log.with_name("rows").exists()
    code, _, err = cc("log", "export", log)
    assert code == 1
    assert "line 5 " in err


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    code, _, err = cc("log", "verify", tmp_path / "none")
    assert code == 2  # as of `cc replay`
    assert "there is no log here" in err
    code, _, err = cc("log", "verify", "")
    assert (code, err.splitlines()[-1]) == (2, "Error: Invalid value for 'LOG': it is empty: name a log")
    assert cc("log", "show")[0] == 2
