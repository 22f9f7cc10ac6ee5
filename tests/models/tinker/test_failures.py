"""What goes wrong on the way to a server, and what is known and said afterwards."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from continualcode.core.data import Call, Example, Message, Objective, Optimiser, SamplingParams
from continualcode.core.engine import run
from continualcode.core.errors import ModelUnavailable, UpdateError, UsageError
from continualcode.core.events import (
    CorrectionGiven,
    UpdateApplied,
    UpdateFailed,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.testing import ScriptedUI
from continualcode.eventlog import read
from continualcode.plugins.models.tinker import make_policy
from continualcode.plugins.models.tinker.connection import sign_of_life
from continualcode.plugins.models.tinker.speech import Speech
from continualcode.plugins.models.tinker.tokenizer import load
from tests.models.tinker.conftest import MakePolicy, Open, says, spoken
from tests.models.tinker.served import Fault, Served

BASH = Call(tool="bash", arguments={"command": "ls"})
READ = Call(tool="read", arguments={"path": "."})
REPLY = Call(tool="reply", arguments={"text": "I see."})
DENY = Answer(verdict="deny", reason="Use bash to read the folder instead.")


def prompt(policy: Any) -> tuple[int, ...]:
    """Some prompt."""
    ids: tuple[int, ...] = policy.render([Message(role="user", text="Show calc.py.")], [])
    return ids


def row(ids: tuple[int, ...], completion: tuple[int, ...], teacher: tuple[int, ...] = ()) -> Example:
    """A demonstration; without a `teacher`, one after no feedback."""
    return Example(
        correction="c",
        sample="s",
        part="demonstration",
        prompt_ids=ids,
        teacher_ids=teacher or ids,
        completion_ids=completion,
        sampled_logprobs=(),
        temperature=0.0,
        grammar=None,
    )


# -- Before anything starts --------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "says_so"), [(None, "there is no key for"), ("sk-1234", "begin with tml-")])
def test_without_a_key_that_can_be_one_nothing_is_asked(
    key: str | None, says_so: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key:
        monkeypatch.setenv("TINKER_API_KEY", key)
    build = make_policy("tinker:Some/Model", {"url": "https://tinker.invalid"})
    assert build is not None
    with pytest.raises(ModelUnavailable, match=says_so) as refused:
        build(lambda label, done, total: None)
    assert "sk-1234" not in str(refused.value)


def test_a_server_that_is_down_is_said_to_be_within_seconds(tokenizer: Path) -> None:
    build = make_policy("tinker:m", {"url": "http://127.0.0.1:9", "tokenizer": str(tokenizer)})
    assert build is not None
    clock = time.monotonic()
    with pytest.raises(ModelUnavailable, match=r"no Tinker server answers at http://127.0.0.1:9.*model.url"):
        build(lambda label, done, total: None)
    assert time.monotonic() - clock < 15


def test_a_tokenizer_that_is_a_program_is_not_run_and_what_to_do_is_said(tmp_path: Path) -> None:
    (tmp_path / "tiktoken.model").write_text("IQ== 0\nIg== 1\n")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "TikToken", "auto_map": {"AutoTokenizer": ["tokenization.TikToken", null]}}'
    )
    (tmp_path / "tokenization.py").write_text("raise SystemExit('it was run')\n")
    with pytest.raises(ModelUnavailable, match=r"is a Python program.*model\.tokenizer=FOLDER"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("path", "status", "says_so"),
    [
        ("create_session", 401, "refuses the key"),
        ("create_session", 402, "payment required"),
        ("client/config", 402, "payment required"),
        ("get_server_capabilities", 403, "refuses the key"),
    ],
)
def test_what_the_server_refuses_is_said_at_once(
    path: str, status: int, says_so: str, policy: MakePolicy, served: Served
) -> None:
    served.faults[path] = Fault(times=99, status=status)
    with pytest.raises(ModelUnavailable, match=says_so):
        policy()


def test_a_model_that_the_server_does_not_have_is_named(policy: MakePolicy, served: Served) -> None:
    served.name = "another/model"
    with pytest.raises(ModelUnavailable, match="has no model 'tiny/model'; it has another/model"):
        policy()


def test_a_teacher_with_other_tokens_is_refused(
    policy: MakePolicy, served: Served, make_tokenizer: Any, tmp_path: Path
) -> None:
    make_tokenizer("qwen").save_pretrained(tmp_path / "other")
    served.others[str(tmp_path / "other")] = served.model
    with pytest.raises(ModelUnavailable, match="A teacher needs the same tokenizer"):
        policy(teacher=str(tmp_path / "other"))


# -- Scores ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distributions", [True, False])
def test_without_feedback_there_is_no_advantage(
    policy: MakePolicy, served: Served, distributions: bool
) -> None:
    served.distributions = distributions
    made = policy()
    ids = prompt(made)
    drawn = made.sample(ids, None, SamplingParams(max_tokens=9))
    objective = (
        Objective(divergence="forward_kl", top_k=20) if distributions else Objective(divergence="sampled")
    )
    batch = made.prepare([row(ids, drawn.token_ids)], objective, Optimiser())
    report = made.step(batch, stop_below=float("inf"))
    assert max(abs(each) for each in report.advantages[0]) < 1e-5
    assert report.divergence < 1e-6
    # Aligned: what sampling said of each token is what scoring says of it.
    other = made.prepare([row(ids, drawn.token_ids, (*ids[:-4], *ids[-3:]))], objective, Optimiser())
    shifted = made.step(other, stop_below=float("inf"))
    assert max(abs(each) for each in shifted.advantages[0]) > 1e-3


def test_what_no_server_can_do_is_refused_by_name(policy: MakePolicy) -> None:
    made = policy()
    ids = prompt(made)
    for objective, says_so in (
        (Objective(divergence="reverse_kl"), "cannot minimise reverse_kl"),
        (Objective(divergence="forward_kl"), "cannot minimise forward_kl over whole"),
        (Objective(divergence="forward_kl", top_k=50), "at most 20"),
        (Objective(divergence="sampled", teacher="ema"), "teacher 'ema' cannot be had"),
    ):
        with pytest.raises(UpdateError, match=says_so):
            made.prepare([row(ids, (1, 2, 3))], objective, Optimiser())


# -- In the middle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before it is done", "after it was done"])
@pytest.mark.parametrize("path", ["optim_step", "forward_backward"])
def test_a_step_that_fails_leaves_the_weights_before_it(
    policy: MakePolicy, served: Served, path: str, after: bool
) -> None:
    made = policy()
    ids = prompt(made)
    batch = made.prepare([row(ids, (5, 6, 7), ids[:-3])], Objective(divergence="sampled"), Optimiser(lr=0.02))
    assert made.step(batch, stop_below=0.0).stepped
    kept, weights = made.snapshot(), made.weights()
    before = made.step(batch, stop_below=float("inf"))
    served.faults[path] = Fault(times=1, status=400, after=after)
    with pytest.raises(UsageError, match="will not .*made to fail"):
        made.step(batch, stop_below=0.0)
    made.restore(kept)
    assert made.weights() == weights
    assert made.step(batch, stop_below=float("inf")) == before


@pytest.mark.parametrize("path", ["optim_step", "forward_backward"])
def test_an_answer_that_is_lost_on_the_way_is_asked_for_again_and_nothing_trained_twice(
    policy: MakePolicy, served: Served, path: str
) -> None:
    made = policy(distributions=False)
    ids = prompt(made)
    batch = made.prepare([row(ids, (5, 6, 7), ids[:-3])], Objective(divergence="sampled"), Optimiser(lr=0.02))
    start = made.snapshot()
    made.step(batch, stop_below=0.0)
    once = made.step(batch, stop_below=float("inf"))
    made.restore(start)
    served.faults[path] = Fault(times=1, after=True)  # done, and then the connection is cut
    made.step(batch, stop_below=0.0)
    assert served.faults[path].times == 0
    assert made.step(batch, stop_below=float("inf")) == once


@pytest.mark.parametrize(
    ("fault", "says_so"),
    [
        (Fault(times=99, status=429, detail="slow down"), "did not sample within 2 s"),
        (Fault(times=99, hang=30.0), "did not sample within 2 s"),
        (Fault(times=99, status=402), "payment required"),
    ],
    ids=["429", "silence", "402"],
)
def test_what_a_server_does_not_do_is_said_in_time(
    policy: MakePolicy, served: Served, fault: Fault, says_so: str
) -> None:
    made = policy(distributions=False, timeout=2.0)
    made.sample(prompt(made), None, SamplingParams(max_tokens=2))
    served.faults["asample"] = fault
    clock = time.monotonic()
    with pytest.raises(ModelUnavailable, match=says_so):
        made.sample(prompt(made), None, SamplingParams(max_tokens=2))
    assert time.monotonic() - clock < 15


def test_a_server_that_is_gone_is_not_waited_for_twice(policy: MakePolicy, served: Served) -> None:
    made = policy(distributions=False, gone_after=3.0)
    served.stop()
    with pytest.raises(ModelUnavailable, match="no sign of it for 3 s"):
        made.sample(prompt(made), None, SamplingParams(max_tokens=2))
    clock = time.monotonic()
    with pytest.raises(ModelUnavailable, match="is still gone"):
        made.sample(prompt(made), None, SamplingParams(max_tokens=2))
    assert time.monotonic() - clock < 1


def test_waiting_for_a_sample_can_be_cut_short(policy: MakePolicy, served: Served) -> None:
    made, cancelled = policy(distributions=False), threading.Event()
    ids = prompt(made)
    served.faults["asample"] = Fault(hang=5.0, status=500)
    threading.Timer(0.3, cancelled.set).start()
    clock = time.monotonic()
    drawn = made.sample(ids, None, SamplingParams(max_tokens=9), None, cancelled)
    assert drawn.stop == "interrupted" and time.monotonic() - clock < 3


def test_an_update_that_the_server_lost_is_learned_later_and_once(
    opened: Open, served: Served, tmp_path: Path
) -> None:
    ui = ScriptedUI(["show the files"], [DENY])
    session = opened(ui)
    served.faults["optim_step"] = Fault(times=1, status=404)  # as if it had forgotten the training client
    for call in (BASH, READ, REPLY, READ):  # the demonstration is drawn again with the update
        served.say(says(session.policy, call))
    run(session)
    session.close("quit")
    (failed,) = [event for event in ui.events if isinstance(event, UpdateFailed)]
    assert "made to fail" in failed.why
    assert len([event for event in ui.events if isinstance(event, UpdateApplied)]) == 1
    assert replay_log(tmp_path / "log.jsonl", Plugins(installed=False)).ok


def test_the_session_on_the_server_ends_as_it_ended_here(opened: Open, served: Served) -> None:
    for reason in ("quit", "interrupted", "failed"):
        session = opened(ScriptedUI(), log=f"{reason}.jsonl")
        session.close(reason)
    assert served.finished == ["success", "interrupted", "errored"]


def test_the_key_is_not_in_the_log(
    opened: Open, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-very-secret-4711")
    opened(ScriptedUI()).close("quit")
    assert b"very-secret" not in (tmp_path / "log.jsonl").read_bytes()
    assert os.environ["TINKER_TELEMETRY"] == "0"


# -- Killed ------------------------------------------------------------------------------------------

SOME = (24,)
"""The request at which the server dies in the default run; with -m slow each from 5 to 30."""


@pytest.mark.parametrize(
    "at",
    [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in range(5, 31) if n not in SOME)],
)
def test_killed_in_a_session_each_correction_is_learned_once(
    at: int, opened: Open, tokenizer: Path, tmp_path: Path
) -> None:
    """The server dies, by SIGKILL, as the `at`-th request comes: said within 15 s, and gone on with."""
    server, log = Killable(tmp_path / "killed", tokenizer), tmp_path / "log.jsonl"
    server.start([BASH, READ, REPLY], die_at=at)
    ui, said, finished = ScriptedUI(["show the files"], [DENY]), "", False
    try:
        try:
            session = opened(ui, url=server.url)
            try:
                run(session)
                finished = True
            finally:
                late = time.monotonic()
                session.close("failed")
        except ModelUnavailable as error:
            said = str(error)
            late = time.monotonic()
        if not finished:
            assert server.url in said and "Traceback" not in said
            assert late - server.died() < 15
        server.start([REPLY] * 9)
        if log.exists():
            session = opened(ScriptedUI(["go on"]), url=server.url, resume=True)
            run(session)
            session.close("quit")
            assert replay_log(log, Plugins(installed=False)).ok
            records = list(read(log, event_registry(Plugins(installed=False).event_types())))
            applied = {r.update for r in records if isinstance(r, UpdateApplied)}
            learned = Counter(
                correction
                for r in records
                if isinstance(r, UpdateStarted) and r.id in applied
                for correction in {example.correction for example in r.examples}
            )
            assert learned == {r.id: 1 for r in records if isinstance(r, CorrectionGiven)}
    finally:
        server.stop()


class Killable:
    """The server as a process of its own; its states outlast it."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._deaths: list[float] = []
        self._folder = folder
        self._tokenizer = load(str(tokenizer))
        self._speech = Speech(self._tokenizer, opens=True)

    def start(self, script: list[Call], die_at: int = 0) -> None:
        """Start it, in place of the one before; wait until it answers."""
        self.stop()
        self._folder.mkdir(exist_ok=True)
        said = self._folder / "script.json"
        said.write_text(json.dumps([spoken(self._speech, call) for call in script]))
        size = len(self._tokenizer)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.models.tinker.served", "--port", str(self._port)]
            + ["--folder", str(self._folder / "states"), "--vocabulary", str(size)]
            + ["--die-at", str(die_at), "--script", str(said)],
            cwd=Path(__file__).parents[3],
        )
        threading.Thread(target=self._wait, args=(self.process,), daemon=True).start()
        while sign_of_life(self.url) is not None:
            time.sleep(0.1)

    def died(self) -> float:
        """When it was killed, by the clock `monotonic`."""
        assert self._deaths
        return self._deaths[-1]

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        process.wait()
        self._deaths.append(time.monotonic())

    def stop(self) -> None:
        """No server any more."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
