"""The server killed at many points of a session: is it said in time, and does the session go on?

    python benchmarks/tinker/kills.py [--env FOLDER] [--points N] [--at POINT,…] [--out FILE]

SkyRL with two layers and the first 8192 tokens of smollm2-135m, taught to make calls (`skyrl_server`). A
session is a prompt whose call is denied, which is learned in a step; closed, resumed, and the same again. It
is gone through once without harm, which says which requests there are; then once for each of N of them,
spread evenly: at that request server and engine are killed by SIGKILL, in turn as it comes, and when it is
done and only the answer is lost.

Of each: how long until the error is there (at most 15 s), what it says, and, the server started again on
what it left on the disk: the session goes on with `resume`, its log verifies (trained again, to the
tolerance), and each correction has been learned from in one update as its own.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from skyrl_server import PROMPTS, Server, cut, install, teach

from continualcode.core.config import BudgetConfig, Config, PluginsConfig
from continualcode.core.data import SamplingParams
from continualcode.core.engine import run
from continualcode.core.errors import ModelUnavailable
from continualcode.core.events import (
    CorrectionGiven,
    PromptSubmitted,
    UpdateApplied,
    UpdateFailed,
    UpdateStarted,
    event_registry,
)
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.eventlog import read
from continualcode.plugins.models.local import store

IN_TIME = 15.0
DENY = Answer(verdict="deny", reason="Use read to look at the file.")


class Sessions:
    """One session after the other on `server`, a folder each."""

    def __init__(self, server: Server, model: Path, folder: Path) -> None:
        self.server, self._folder = server, folder
        self.said: list[tuple[float, str]] = []
        self._config = Config(
            model={
                "name": f"tinker:{model}",
                "url": server.url,
                "rank": 8,
                "context": 4096,
                "distributions": False,
            },
            trainer={
                "name": "sdpo",
                "anchors": 0.0,
                "gate": False,
                "rehearsal": 0.0,
                "max_steps": 1,
                "divergence_floor": 0.0,
                "demonstration_tokens": 24,
            },
            sampling=SamplingParams(max_tokens=40),
            budget=BudgetConfig(turns=1),
            plugins=PluginsConfig(disable=("context",)),  # short prompts
        )

    def through(self, log: Path) -> None:
        """As far as there is to go: a sitting for each prompt that the log does not have, or one without."""
        asked = sum(isinstance(r, PromptSubmitted) for r in self.records(log)) if log.exists() else 0
        for prompt in PROMPTS[asked:2]:
            self._sitting(log, [prompt])
        if asked == 2:  # what was given then may still have to be learned
            self._sitting(log, [])

    def _sitting(self, log: Path, prompts: Sequence[str]) -> None:
        work = log.with_suffix("")
        work.mkdir(exist_ok=True)
        (work / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        ui = Heard(self.said, prompts, [DENY for _ in prompts])
        session = open_session(
            self._config, self._plugins(), workspace=work, log=log, ui=ui, resume=log.exists()
        )
        reason = "failed"
        try:
            run(session)
            reason = "quit"
        finally:
            session.close(reason)

    def _plugins(self) -> Plugins:
        return Plugins(self._config.plugins, installed=False)

    def records(self, log: Path) -> list[Any]:
        """What a log holds."""
        return list(read(log, event_registry(self._plugins().event_types())))

    def verified(self, log: Path) -> str:
        """Trained again; each correction once. AssertionError where it is otherwise."""
        report = replay_log(log, self._plugins())
        assert report.ok, report
        records = self.records(log)
        applied = {r.update for r in records if isinstance(r, UpdateApplied)}
        learned = Counter(
            correction
            for r in records
            if isinstance(r, UpdateStarted) and r.id in applied
            for correction in {e.correction for e in r.examples if e.part == "demonstration"}
        )
        given = [r.id for r in records if isinstance(r, CorrectionGiven)]
        assert learned == dict.fromkeys(given, 1), (learned, given)
        off = max(report.nats, report.metric)
        return f"{len(given)} corrections, {report.updates} updates, replayed within {off:.0e} nats"

    def until_killed(self, log: Path) -> list[tuple[float, str]]:
        """As far as there is to go; the errors that were said, and when."""
        try:
            self.through(log)
        except ModelUnavailable as error:
            self.said.append((time.monotonic(), str(error)))
        return self.said

    def killed(self, at: int, how: str) -> dict[str, Any]:
        """One session that loses its server; what came of it."""
        log, clock = self._folder / f"{at}-{how}.jsonl", time.monotonic()
        self.server.die(at, how)
        said = apart(lambda: self.until_killed(log))
        while self.server.died is None and time.monotonic() - clock < 60:
            time.sleep(0.1)
        assert self.server.died is not None, "it was not killed"
        late = [round(when - self.server.died, 1) for when, _ in said]
        self.server.start()
        after = apart(lambda: [self.through(log), self.verified(log)][1])
        result = {"at": at, "how": how, "late": late, "said": [text for _, text in said], "after": after}
        assert all(self.server.url in text for _, text in said) and max(late, default=0.0) <= IN_TIME, result
        return result


class Heard(ScriptedUI):
    """Notes what it is told of an update that failed, and when."""

    def __init__(self, said: list[tuple[float, str]], *given: Any) -> None:
        super().__init__(*given)
        self._said = said

    def event(self, record: Any, session: Any) -> None:
        """Keep it."""
        super().event(record, session)
        if isinstance(record, UpdateFailed):
            self._said.append((time.monotonic(), record.why))


def apart(do: Callable[[], Any]) -> Any:
    """`do` in a process of its own: what the SDK of one session still tries is no request of the next one."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        try:
            theirs.send((do(), ""))
        except BaseException as error:
            theirs.send((None, f"{type(error).__name__}: {error}"))
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    answer, fault = ours.recv()
    process.join()
    if fault:
        raise RuntimeError(fault)
    return answer


def main() -> None:
    """Start, list the requests, kill at each point."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--env", type=Path, default=Path("build/skyrl"))
    ap.add_argument("--points", type=int, default=20)
    ap.add_argument("--at", help="only these of the points, counted from 1")
    ap.add_argument("--port", type=int, default=8422)
    ap.add_argument("--out", type=Path, help="write a line of JSON a point")
    given = ap.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Where the compiled code is kept: the same model each time, so that it fits.
        model = given.env.resolve() / "small"
        python = install(given.env.resolve())
        if not (model / "taught").exists():
            teach(cut(store.resolve("smollm2-135m").folder, 2, model, tokens=8192))
            (model / "taught").touch()
        server = Server(python, model, folder, given.port)
        server.start()
        failed = 0
        try:
            sessions = Sessions(server, model, folder)
            server.die(0, "never")
            whole = folder / "whole.jsonl"
            apart(lambda: sessions.through(whole))
            paths = server.requests()
            after = apart(lambda: sessions.verified(whole))
            print(f"unharmed: {len(paths)} requests; {after}", flush=True)
            print("  " + " ".join(f"{n}:{path}" for n, path in enumerate(paths, 1)), flush=True)
            chosen = range(1, given.points + 1) if given.at is None else map(int, given.at.split(","))
            for point in chosen:
                at = 1 + round((point - 1) * (len(paths) - 1) / max(1, given.points - 1))
                how = ("comes", "done")[point % 2]
                clock = time.monotonic()
                try:
                    result = sessions.killed(at, how)
                except Exception as error:  # the others are tried as well
                    result = {"at": at, "how": how, "failed": f"{type(error).__name__}: {error}"}
                    failed += 1
                    server.stop()
                    server.start()
                result = {"point": point, "path": paths[at - 1], **result}
                print(f"{time.monotonic() - clock:5.0f} s  {json.dumps(result)}", flush=True)
                if given.out is not None:
                    with given.out.open("a") as out:
                        out.write(json.dumps(result) + "\n")
        finally:
            server.stop()
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
