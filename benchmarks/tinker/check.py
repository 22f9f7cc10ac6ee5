"""The plugin `tinker` against a real server: SkyRL on this machine's CPU. Exit 1 if a step fails.

    python benchmarks/tinker/check.py [--env FOLDER] [--model FOLDER] [--layers N] [--url URL]

Installs SkyRL in an environment of its own (1.9 GB) if it is not there, starts it on loopback, asks it
through our plugin, and stops it. --model: a folder of transformers; default: smollm2-135m. --layers: only the
first N layers of it, which compile sooner. --url: a server of --model that runs already.

What is checked: logprobs are those of transformers in fp32; without feedback there is no advantage; a step is
learned; restored, resumed and repeated training is the same; a whole session (deny, learn, resume, replay),
where the model makes a call at all.

`wire_shim.py` makes SkyRL 0.4.0, which speaks the wire of the SDK 0.25, answer the SDK 0.38. What it supplies
itself is not verified by this: ids of sampled sequences, ending a session, loading by session and number, the
leading None of prompt logprobs, and the metric loss:sum.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from continualcode.core.config import Config
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
from continualcode.plugins.models.tinker.connection import sign_of_life

HERE = Path(__file__).parent
PACKAGES = (
    "torch==2.13.0 jax>=0.8,<1.0 flax optax tinker==0.38.0 fastapi uvicorn[standard] sqlmodel aiosqlite "
    "aiohttp sqlalchemy[asyncio] transformers>=5.6.1,<=5.16.1 safetensors tokenizers cloudpathlib xxhash "
    "zstandard rich typer pillow psutil orjson httpx peft"
).split()
PROMPTS = ("Show me the file calc.py.", "Run the command ls with bash.", "Read calc.py with the tool read.")


def install(env: Path) -> Path:
    """SkyRL in a virtual environment of its own; its Python. Its wheel asks for 3.12 and runs on 3.11."""
    python = env / "bin" / "python"
    if not (env / "installed").exists():
        subprocess.check_call([sys.executable, "-m", "venv", "--clear", str(env)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        subprocess.check_call([*pip, "install", "-q", *PACKAGES])
        wheel = ["--no-deps", "--python-version", "3.12", "--only-binary=:all:", "-d", str(env)]
        subprocess.check_call([*pip, "download", "-q", *wheel, "skyrl==0.4.0"])
        name = str(env / "skyrl-0.4.0-py3-none-any.whl")
        subprocess.check_call([*pip, "install", "-q", "--no-deps", "--ignore-requires-python", name])
        (env / "installed").touch()
    return python


def cut(source: Path, layers: int, folder: Path) -> Path:
    """The first `layers` layers of a model of the Llama family, as a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.name not in ("config.json", "model.safetensors", "manifest.json"):
            shutil.copy(file, folder)
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    opened: Any = safe_open
    with opened(source / "model.safetensors", "pt") as tensors:
        names = [
            n for n in tensors.keys() if not n.startswith("model.layers.") or int(n.split(".")[2]) < layers
        ]
        save_file({n: tensors.get_tensor(n) for n in names}, folder / "model.safetensors", {"format": "pt"})
    return folder


def serve(python: Path, model: Path, root: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the server; wait until it answers."""
    jit = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    jit["JAX_COMPILATION_CACHE_DIR"] = str(python.parents[1] / "jit")
    server = subprocess.Popen(
        [str(python), str(HERE / "skyrl_serve.py"), "--port", str(port), "--model", str(model)]
        + ["--root", str(root)],
        env={**os.environ, **jit},
        stdout=(root / "server.log").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    while sign_of_life(f"http://127.0.0.1:{port}") is not None:
        if server.poll() is not None:
            sys.exit(f"the server ended: {(root / 'server.log').read_text()[-2000:]}")
        time.sleep(1)
    return server


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
            trainer={
                "name": "sdpo",
                "anchors": 0.0,
                "gate": False,
                "max_steps": 2,
                "divergence_floor": 0.0,
                "demonstration_tokens": 16,
            },
            sampling=SamplingParams(max_tokens=48, temperature=0.7),
        )
        plugins = Plugins(installed=False)
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
        if given.layers:
            model = cut(model, given.layers, folder / "model")
        server = None
        if given.url is None:
            server = serve(install(given.env.resolve()), model, folder, given.port)
        check = Check(given.url or f"http://127.0.0.1:{given.port}", model, folder)
        try:
            check.step("a policy on the server", check.build)
            check.step("logprobs are those of transformers", check.logprobs)
            check.step("no feedback, no advantage", check.no_advantage)
            check.step("learned; restored; learned again", check.learned)
            check.step("resumed from the server's checkpoint", check.resumed)
            if not given.layers:
                check.step("deny, learn, retry, resume, replay", check.session)
        finally:
            if server is not None:
                os.killpg(server.pid, 15)
    sys.exit(bool(check.failed))


if __name__ == "__main__":
    main()
