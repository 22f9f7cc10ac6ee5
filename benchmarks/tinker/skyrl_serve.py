"""SkyRL's Tinker server (skyrl 0.4.0, JAX on CPU) on loopback, behind `wire_shim`; in SkyRL's environment.

    python skyrl_serve.py --port 8421 --model FOLDER --root FOLDER

SkyRL starts its engine through `uv run`; here this file starts itself again, with `--engine`.
"""

import argparse
import contextlib
import json
import os
import runpy
import signal
import sys
import typing

import typing_extensions

typing.TypedDict = typing_extensions.TypedDict  # pydantic asks for that one on Python 3.11

SETTINGS = {"max_lora_adapters": 24, "max_lora_rank": 8, "train_micro_batch_size": 1}


QUIET = ("healthz", "session_heartbeat", "retrieve_future", "telemetry")
"""Requests that come whenever they like, and are not counted."""


class Doomed:
    """Ends all of this by SIGKILL at one request, if it is told to: /die/AT/HOW; /requests lists them.

    HOW: `comes`, before anything was done, or `done`, when all was done and only the answer is lost.
    """

    def __init__(self, shim):
        self.shim, self.at, self.how, self.paths = shim, 0, "comes", []

    async def __call__(self, scope, receive, send):
        parts = scope["path"].strip("/").split("/") if scope["type"] == "http" else []
        if parts[:1] == ["die"]:
            self.at, self.how, self.paths = int(parts[1]), parts[2], []
            return await self.shim._reply(send, 200, b"{}")
        if parts == ["requests"]:
            return await self.shim._reply(send, 200, json.dumps(self.paths).encode())
        if not parts or parts[-1] in QUIET:
            return await self.shim(scope, receive, send)
        self.paths.append(parts[-1])
        if len(self.paths) != self.at:
            return await self.shim(scope, receive, send)
        if self.how == "done":
            said = []

            async def heard(message):
                said.append(message.get("body", b""))

            await self.shim(scope, receive, heard)
            with contextlib.suppress(ValueError, KeyError):
                future = json.loads(b"".join(said))["request_id"]
                await self.shim._call("POST", "/api/v1/retrieve_future", {"request_id": future})
        os.killpg(0, signal.SIGKILL)


def engine() -> None:
    """The process that computes; its arguments are SkyRL's own."""
    sys.argv.remove("--engine")
    runpy.run_module("skyrl.tinker.engine", run_name="__main__")


def serve() -> None:
    """The process that answers; it starts the other."""
    import uvicorn
    from skyrl.tinker import api
    from skyrl.tinker.config import EngineConfig, config_to_argv
    from wire_shim import WireShim

    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--port", type=int, default=8421)
    ap.add_argument("--model", required=True)
    ap.add_argument("--root", required=True)
    given = ap.parse_args()
    os.makedirs(given.root, exist_ok=True)
    again = [sys.executable, os.path.abspath(__file__), "--engine"]
    api._build_uv_run_cmd_engine = lambda parent, config: [*again, *config_to_argv(config)]
    api.app.state.engine_config = EngineConfig(
        base_model=given.model,
        backend="jax",
        backend_config=json.loads(json.dumps({**SETTINGS, "sample_max_num_sequences": 1})),
        checkpoints_base=f"{given.root}/checkpoints",
        database_url=f"sqlite:///{given.root}/tinker.db",
        session_timeout_sec=-1,
    )
    uvicorn.run(Doomed(WireShim(api.app)), host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    engine() if "--engine" in sys.argv else serve()
