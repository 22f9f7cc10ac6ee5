"""The plugin `tinker` against a real server: SkyRL on this machine's CPU. Exit 1 if a step fails.

    python benchmarks/tinker/check.py [--env FOLDER] [--model FOLDER] [--layers N] [--url URL]

Installs SkyRL in an environment of its own (1.9 GB) if it is not there, starts it on loopback, asks it
through our plugin, and stops it. --model: a folder of transformers, served as it is; default: smollm2-135m,
trained for a minute and a half to end its calls. --layers: only the first N layers, which compile sooner,
trained likewise. --url: a server of --model that runs already.

What is checked: logprobs are those of transformers in fp32; without feedback there is no advantage; a step is
learned; restored, resumed and repeated training is the same; a whole session (deny, learn, resume, replay); a
log of the same model on this machine carried out there, and the other way round.

`wire_shim.py` makes SkyRL 0.4.0, which speaks the wire of the SDK 0.25, answer the SDK 0.38. What it supplies
itself is not verified by this: ids of sampled sequences, ending a session, loading by session and number, the
leading None of prompt logprobs, and the metric loss:sum.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from skyrl_server import PROMPTS, Server, cut, install, teach
from transformers import AutoModelForCausalLM

from continualcode.core.config import BudgetConfig, Config, PluginsConfig
from continualcode.core.data import Example, Message, Objective, Optimiser, SamplingParams
from continualcode.core.engine import run
from continualcode.core.events import UpdateApplied
from continualcode.core.plugins import Plugins
from continualcode.core.replay import replay_log
from continualcode.core.review import Answer
from continualcode.core.session import open_session
from continualcode.core.testing import ScriptedUI
from continualcode.plugins.models.local import store
from continualcode.plugins.models.tinker import make_policy

SHORT = PluginsConfig(disable=("context",))
"""No system message of ours: on one core each token of a prompt costs."""

TRAINER = {
    "name": "sdpo",
    "anchors": 0.0,
    "gate": False,
    "max_steps": 2,
    "divergence_floor": 0.0,
    "demonstration_tokens": 16,
}


class Check:
    """The steps, in order; each returns what it measured. `failed`: those that did not pass."""

    def __init__(self, url: str, model: Path, folder: Path) -> None:
        self.failed: list[str] = []
        self._model, self._folder = model, folder
        self._settings = {"url": url, "rank": 8, "context": 4096, "timeout": 3600.0, "distributions": False}
        self._policy: Any = None

    def step(self, name: str, do: Callable[[], str]) -> None:
        """Do one, and say how it went."""
        clock = time.monotonic()
        try:
            said, how = do(), "ok"
        except Exception as error:  # a check goes on, and says what failed
            said, how = f"{type(error).__name__}: {error}", "FAILED"
            self.failed.append(name)
        print(f"{how:6s} {name:44s} {time.monotonic() - clock:7.1f} s  {said}", flush=True)

    def build(self) -> str:
        """A policy on the server."""
        build = make_policy(f"tinker:{self._model}", self._settings)
        assert build is not None
        self._policy = build(lambda label, done, total: None)
        return ", ".join(sorted(self._policy.capabilities))

    def logprobs(self) -> str:
        """Sampled and scored logprobs are those of transformers in fp32 on the same tokens."""
        policy = self._policy
        self.ids = policy.render([Message(role="user", text="What is the capital of France?")], [])
        self.drawn = policy.sample(self.ids, None, SamplingParams(max_tokens=12, temperature=1.0, seed=7))
        whole = [*self.ids, *self.drawn.token_ids]
        model: Any = AutoModelForCausalLM.from_pretrained(self._model, dtype=torch.float32)
        with torch.no_grad():
            rows = torch.log_softmax(model(torch.tensor([whole])).logits[0].float(), -1)
        wanted = [float(rows[i - 1, whole[i]]) for i in range(len(self.ids), len(whole))]
        batch = policy.prepare(
            [self._row(self.ids)], Objective(divergence="sampled", teacher="base"), Optimiser()
        )
        scored = batch.rows[0].teacher
        worst = [
            max(abs(a - b) for a, b in zip(wanted, own, strict=True)) for own in (self.drawn.logprobs, scored)
        ]
        assert max(worst) < 1e-3, worst
        return f"|sampled − transformers| ≤ {worst[0]:.1e}, |scored − transformers| ≤ {worst[1]:.1e}"

    def no_advantage(self) -> str:
        """Teacher and student with the same prompt, scored by sampler and trainer."""
        batch = self._policy.prepare([self._row(self.ids)], Objective(divergence="sampled"), Optimiser())
        worst = max(map(abs, self._policy.step(batch, stop_below=float("inf")).advantages[0]))
        assert worst < 1e-3, worst
        return f"|A| ≤ {worst:.1e} a token"

    def learned(self) -> str:
        """Two steps towards a teacher that was told something; then back, and the same again."""
        policy = self._policy
        told = policy.render(
            [Message(role="user", text="Answer in capital letters only. WHAT IS THE CAPITAL OF FRANCE?")], []
        )
        objective, optimiser = Objective(divergence="sampled", teacher="base"), Optimiser(lr=1e-4)
        start, clean = policy.snapshot(), policy.weights()

        def train() -> tuple[list[float], str]:
            batch = policy.prepare([self._row(told)], objective, optimiser)
            figures = [policy.step(batch, stop_below=0.0).divergence for _ in range(2)]
            return [*figures, policy.step(batch, stop_below=float("inf")).divergence], policy.weights()

        first, weights = train()
        self.path, self.moments = policy.checkpoint(), policy.optimiser_state()
        self.figure, self.weights = first[-1], weights
        policy.restore(start)
        assert policy.weights() == clean
        again, same = train()
        off = max(abs(a - b) for a, b in zip(first, again, strict=True))
        assert same == weights and off < policy.tolerance and first[-1] < first[0], (first, again)
        return f"divergence {first[0]:.4f} → {first[-1]:.4f}; trained again: the same to {off:.1e}"

    def resumed(self) -> str:
        """The state that was kept, in another session on the server."""
        self._policy.close()
        self.build()
        policy = self._policy
        assert policy._weights.take(self.weights, self.moments, self.path)
        told = policy.render(
            [Message(role="user", text="Answer in capital letters only. WHAT IS THE CAPITAL OF FRANCE?")], []
        )
        batch = policy.prepare(
            [self._row(told)], Objective(divergence="sampled", teacher="base"), Optimiser()
        )
        off = abs(policy.step(batch, stop_below=float("inf")).divergence - self.figure)
        assert off < policy.tolerance and policy.weights() == self.weights
        return f"{self.path}: the divergence is that before to {off:.1e}"

    def session(self) -> str:
        """Deny, learn, try again; resume; replay."""
        self._policy.close()
        work, log = self._folder / "work", self._folder / "session.jsonl"
        work.mkdir()
        (work / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        config = Config(
            model={"name": f"tinker:{self._model}", **self._settings},
            trainer=TRAINER,
            sampling=SamplingParams(max_tokens=48, temperature=0.7),
            budget=BudgetConfig(turns=2),
            plugins=SHORT,
        )
        plugins = Plugins(SHORT, installed=False)
        deny = [Answer(verdict="deny", reason="Use bash to show it: cat calc.py.")]
        ui = ScriptedUI(list(PROMPTS), deny)
        session = open_session(config, plugins, workspace=work, log=log, ui=ui)
        run(session)
        weights = session.policy.weights()
        session.close("quit")
        applied = [event for event in ui.events if isinstance(event, UpdateApplied)]
        assert applied, "the model made no call in three prompts: nothing could be denied"
        resumed = open_session(config, plugins, workspace=work, log=log, ui=ScriptedUI(), resume=True)
        assert resumed.policy.weights() == weights
        resumed.close("quit")
        report = replay_log(log, plugins)
        assert report.ok, report
        return f"{report.updates} updates; replayed: within {max(report.nats, report.metric):.1e} nats"

    def across(self) -> str:
        """The same base model here: its log carried out on the server, and the session's log here."""
        work, log = self._folder / "here", self._folder / "here.jsonl"
        plugins = Plugins(SHORT, installed=False)
        work.mkdir()
        (work / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        here = {"name": str(self._model), "rank": 8, "context": 4096, "threads": 1}
        here |= {"opening": True, "acts_on": "all", "upper": 1.0}
        as_a_server = {"divergence": "sampled", "guidance": 1.0, "sharpness": 1.0, "siblings": 0}
        config = Config(
            model=here,
            trainer={**TRAINER, **as_a_server},
            sampling=SamplingParams(max_tokens=48, temperature=0.7),
            budget=BudgetConfig(turns=2),
            plugins=SHORT,
        )
        deny = [Answer(verdict="deny", reason=f"Use {tool} instead.") for tool in ("bash", "read")]
        session = open_session(config, plugins, workspace=work, log=log, ui=ScriptedUI(PROMPTS, deny))
        run(session)
        session.close("quit")
        there = {"name": f"tinker:{self._model}", **self._settings}
        said: list[str] = []
        for where, one, model in (
            ("of here, on the server", log, there),
            ("of the server, here", self._folder / "session.jsonl", here),
        ):
            report = replay_log(one, plugins, model=model)
            assert report.ok and report.updates, report
            said.append(
                f"{where}: {report.updates} updates, advantages to {report.nats:.1e} nats, divergence above "
                f"the real one by {report.metric:.1e}"
            )
        return "; ".join(said)

    def _row(self, teacher: tuple[int, ...]) -> Example:
        return Example(
            correction="c",
            sample="s",
            part="demonstration",
            prompt_ids=self.ids,
            teacher_ids=teacher,
            completion_ids=self.drawn.token_ids,
            sampled_logprobs=(),
            temperature=1.0,
            grammar=None,
        )


def main() -> None:
    """Install, start, check, stop."""
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--env", type=Path, default=Path("build/skyrl"))
    ap.add_argument("--model", type=Path)
    ap.add_argument("--layers", type=int)
    ap.add_argument("--url")
    ap.add_argument("--port", type=int, default=8421)
    given = ap.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = given.model or store.resolve("smollm2-135m").folder
        if given.layers or given.model is None:
            model = cut(model, given.layers, folder / "model")
            teach(model) if given.layers else teach(model, steps=12, lr=1e-4)
        server = None
        if given.url is None:
            server = Server(install(given.env.resolve()), model, folder, given.port)
            server.start()
        check = Check(given.url or f"http://127.0.0.1:{given.port}", model, folder)
        try:
            check.step("a policy on the server", check.build)
            check.step("logprobs are those of transformers", check.logprobs)
            check.step("no feedback, no advantage", check.no_advantage)
            check.step("learned; restored; learned again", check.learned)
            check.step("resumed from the server's checkpoint", check.resumed)
            check.step("deny, learn, retry, resume, replay", check.session)
            check.step("a local log there, and its log here", check.across)
        finally:
            if server is not None:
                server.stop()
    sys.exit(bool(check.failed))


if __name__ == "__main__":
    main()
