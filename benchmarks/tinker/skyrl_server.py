"""SkyRL for the checks beside this file: installed, started, stopped; and models that are small."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from continualcode.core.data import Call, Message
from continualcode.plugins.models.tinker.connection import sign_of_life
from continualcode.plugins.models.tinker.speech import Speech
from continualcode.plugins.models.tinker.tokenizer import load

HERE = Path(__file__).parent
PACKAGES = (
    "torch==2.13.0 jax>=0.8,<1.0 flax optax tinker==0.38.0 fastapi uvicorn[standard] sqlmodel aiosqlite "
    "aiohttp sqlalchemy[asyncio] transformers>=5.6.1,<=5.16.1 safetensors tokenizers cloudpathlib xxhash "
    "zstandard rich typer pillow psutil orjson httpx peft"
).split()
PROMPTS = ("Show me the file calc.py.", "Run the command ls with bash.", "Read calc.py with the tool read.")
LS = Call(tool="bash", arguments={"command": "ls"})


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


def cut(source: Path, layers: int | None, folder: Path, *, tokens: int | None = None) -> Path:
    """The first `layers` layers of a model of the Llama family (None: all), as a folder of its own.

    tokens: only so many of its tokens, the first ones: they are in the order in which BPE merged them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.name not in ("config.json", "model.safetensors", "manifest.json"):
            shutil.copy(file, folder)
    config = json.loads((source / "config.json").read_text())
    layers = layers or int(config["num_hidden_layers"])
    few = {"vocab_size": tokens} if tokens else {}
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers, **few}))
    if tokens:
        spelled = json.loads((folder / "tokenizer.json").read_text())
        bpe = spelled["model"]
        bpe["vocab"] = {text: n for text, n in bpe["vocab"].items() if n < tokens}
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in bpe["merges"]]
        bpe["merges"] = [pair for pair in pairs if "".join(pair) in bpe["vocab"]]
        (folder / "tokenizer.json").write_text(json.dumps(spelled))
    opened: Any = safe_open
    with opened(source / "model.safetensors", "pt") as tensors:
        names = [
            n for n in tensors.keys() if not n.startswith("model.layers.") or int(n.split(".")[2]) < layers
        ]
        kept = {n: tensors.get_tensor(n) for n in names}
    kept = {n: t[:tokens].clone() if t.shape[0] == config["vocab_size"] else t for n, t in kept.items()}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


def teach(folder: Path, *, steps: int = 40, lr: float = 5e-4) -> None:
    """Train what `cut` left to go on to one call where a turn begins as a call: a session needs some.

    The whole of smollm2-135m needs it as well: without a grammar, which no server has, it ends hardly any.
    """
    torch.manual_seed(0)
    speech = Speech(load(str(folder)), opens=True)
    call = [*speech.codec.encode(speech.language.format_call(LS)), speech.ends[0]]
    begun = speech.codec.encode(speech.language.format_call(LS).partition(LS.tool)[0])
    words = speech.codec.encode((HERE.parents[1] / "README.md").read_text())
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(steps):
        before = words[step * 97 :][: (20, 120, 400)[step % 3]]
        asked = speech.language.render(
            [Message(role="system", text=speech.codec.decode(before)), Message(role="user", text=PROMPTS[0])],
            [],
        )
        ids = torch.tensor([[*asked, *call]])
        first = len(asked) + len(begun)
        logits = model(ids).logits[0, first - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, ids[0, first:])
        adam.zero_grad()
        loss.backward()
        adam.step()
    model.save_pretrained(folder)


class Server:
    """SkyRL on loopback. What it keeps is in `root` and outlasts it; compiled code is in `python`'s folder.

    died: when it ended, by the clock `monotonic`; None while it runs.
    """

    def __init__(self, python: Path, model: Path, root: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = [str(python), str(HERE / "skyrl_serve.py"), "--port", str(port)]
        self._command += ["--model", str(model), "--root", str(root)]
        self._jit = str(python.parents[1] / "jit")
        self._log = root / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.died: float | None = None

    def start(self) -> None:
        """Start it; wait until it answers."""
        jit = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_COMPILATION_CACHE_DIR": self._jit}
        self.died = None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **jit},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        threading.Thread(target=self._wait, args=(self._process,), daemon=True).start()
        while sign_of_life(self.url) is not None:
            if self.died is not None:
                sys.exit(f"the server ended: {self._log.read_text()[-2000:]}")
            time.sleep(0.5)

    def die(self, at: int, how: str) -> None:
        """Have it killed at the `at`-th request from now (0: never), as that `comes` or once it is `done`."""
        with urllib.request.urlopen(f"{self.url}/die/{at}/{how}", timeout=10):
            pass

    def requests(self) -> list[str]:
        """The paths of the requests since `die`."""
        with urllib.request.urlopen(f"{self.url}/requests", timeout=10) as answer:
            return list(json.loads(answer.read()))

    def stop(self) -> None:
        """End it, with the process that computes."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        process.wait()
        self.died = time.monotonic()
