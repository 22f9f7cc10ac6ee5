"""A small server that speaks Tinker's wire API on loopback: what the plugin is tested against.

Real HTTP, through the real SDK. The model is real too, and small (`arithmetic`), with exact gradients of
cross entropy and importance sampling and an Adam of its own. What it samples can be scripted (`say`), faults
come by path; a client's request of one number is done once, however often it comes.
Saved states are files in `folder`, so a server that was killed still has them when it is started again.

    python -m tests.models.tinker.served --port 8500 --folder STATES --tokenizer FOLDER
"""

import argparse
import base64
import importlib
import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import numpy as np

from tests.models.tinker.arithmetic import Model, State

pb: Any = importlib.import_module("tinker.proto.tinker_public_pb2")

NAME = "tiny/model"


@dataclass
class Fault:
    """What becomes of the next `times` requests to a path: an HTTP `status`, or a cut connection.

    after: only once the server has done what was asked, so that the answer alone is lost.
    """

    times: int = 1
    status: int = 0
    detail: str = "made to fail"
    after: bool = False
    hang: float = 0.0


class Served:
    """One server. `requests` counts them by path; `log` holds paths in order."""

    def __init__(
        self, vocabulary: int, folder: Path, *, distributions: bool = True, name: str = NAME
    ) -> None:
        self.model = Model(vocabulary)
        self.folder = folder
        self.distributions = distributions
        self.name = name
        self.others: dict[str, Model] = {}
        self.script: list[list[int]] = []
        self.faults: dict[str, Fault] = {}
        self.log: list[str] = []
        self.finished: list[str] = []
        self.die_at = 0
        self.trained: dict[str, State] = {}
        self._gradients: dict[str, Any] = {}
        self._samplers: dict[str, tuple[Model, State]] = {}
        self._futures: dict[str, tuple[bool, bytes]] = {}
        self._promised: dict[
            Any, tuple[int, bytes, bool]
        ] = {}  # by client and number: a request is done once
        self._sessions = 0
        self._lock = threading.RLock()
        self._http: ThreadingHTTPServer | None = None
        folder.mkdir(parents=True, exist_ok=True)

    # -- Being a server ------------------------------------------------------------------------------

    def start(self, port: int = 0) -> str:
        """Serve; the URL."""
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"  # one request a connection: the SDK leaves some open

            def do_GET(self) -> None:
                served.answer(self, b"")

            def do_POST(self) -> None:
                served.answer(self, self.rfile.read(int(self.headers.get("content-length", 0))))

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def stop(self) -> None:
        """Serve no more."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def say(self, ids: list[int]) -> None:
        """What the next sample says."""
        self.script.append(ids)

    def answer(self, http: BaseHTTPRequestHandler, body: bytes) -> None:
        path = http.path.removeprefix("/api/v1/").partition("?")[0]
        if path not in ("healthz", "session_heartbeat", "retrieve_future"):
            self.log.append(path)
            if self.die_at and len(self.log) >= self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
        fault = self.faults.get(path)
        if fault is not None and fault.times > 0:
            fault.times -= 1
            if fault.after:
                self._handle(path, body, http.headers)
            if fault.hang:
                time.sleep(fault.hang)
            if not fault.status:
                http.connection.close()
                return
            return self._reply(http, fault.status, json.dumps({"detail": fault.detail}).encode())
        if path == "healthz":
            return self._reply(http, 200, b'{"status": "ok"}')
        try:
            status, content, proto = self._handle(path, body, http.headers)
        except KeyError as missing:
            status, content, proto = 404, json.dumps({"detail": f"not found: {missing}"}).encode(), False
        self._reply(http, status, content, proto)

    def _reply(self, http: BaseHTTPRequestHandler, status: int, content: bytes, proto: bool = False) -> None:
        try:
            http.send_response(status)
            http.send_header("content-type", "application/x-protobuf" if proto else "application/json")
            http.send_header("content-length", str(len(content)))
            http.end_headers()
            http.wfile.write(content)
        except OSError:
            pass

    # -- The API -------------------------------------------------------------------------------------

    def _handle(self, path: str, body: bytes, headers: Any) -> tuple[int, bytes, bool]:
        with self._lock:
            if path == "forward_backward":
                request = pb.ForwardBackwardRequest()
                request.ParseFromString(body)
                key = request.model_id, request.seq_id
                return self._once(key, lambda: self._promise(self._pass(request), proto=True))
            given: dict[str, Any] = json.loads(body) if body else {}
            if path == "retrieve_future":
                proto, content = self._futures[given["request_id"]]
                return 200, content, proto
            if path.startswith("sessions/") and path.endswith("/finish"):
                self.finished.append(given["reason"]["type"])
                return 200, b"{}", False
            if path.startswith("samplers/"):
                return 200, json.dumps({"sampler_id": path[9:], "base_model": self.name}).encode(), False
            known: Any = getattr(self, f"_{path.replace('/', '_')}", None)
            if known is None:
                raise KeyError(path)
            answer = self._once((given.get("model_id"), given.get("seq_id")), lambda: known(given))
            if isinstance(answer, tuple):
                return cast("tuple[int, bytes, bool]", answer)
            return 200, json.dumps(answer).encode(), False

    def _once(self, key: tuple[Any, Any], do: Callable[[], Any]) -> Any:
        """A client's request of that number is done once, however often it comes."""
        if None in key or key not in self._promised:
            self._promised[key] = do()
        return self._promised[key]

    def _promise(self, result: Any, *, proto: bool = False, **extra: Any) -> tuple[int, bytes, bool]:
        request = f"request-{len(self._futures)}"
        content = result if proto else json.dumps(result).encode()
        self._futures[request] = proto, content
        return 200, json.dumps({"request_id": request, **extra}).encode(), False

    def _client_config(self, given: Any) -> Any:
        return {}

    _client_dynamic_config = _session_heartbeat = _client_config

    def _create_session(self, given: Any) -> Any:
        self._sessions += 1
        return {"type": "create_session", "session_id": f"session-{os.getpid()}-{self._sessions}"}

    def _get_server_capabilities(self, given: Any) -> Any:
        names = [self.name, *self.others]
        return {"supported_models": [{"model_name": name, "max_context_length": 4096} for name in names]}

    def _create_sampling_session(self, given: Any) -> Any:
        name = f"sampling-{len(self._samplers)}"
        path = given.get("model_path")
        model = self.others.get(given.get("base_model") or "", self.model)
        self._samplers[name] = model, self._load(path) if path else model.untrained()
        return {"type": "create_sampling_session", "sampling_session_id": name}

    def _create_model(self, given: Any) -> Any:
        model = f"{given['session_id']}:train:{given['model_seq_id']}"
        self.trained[model] = self.model.untrained()
        return self._promise({"type": "create_model", "model_id": model})

    def _get_info(self, given: Any) -> Any:
        data = {"arch": "tiny", "model_name": self.name, "tokenizer_id": self.name}
        return {"type": "get_info", "model_data": data, "model_id": given["model_id"], "is_lora": True}

    def _weights_info(self, given: Any) -> Any:
        self._load(given["tinker_path"])
        return {"base_model": self.name, "is_lora": True, "lora_rank": 8}

    def _load_weights(self, given: Any) -> Any:
        model = f"{given['session_id']}:train:{given['model_seq_id']}"
        state = self._load(given["path"])
        if not given["optimizer"]:
            state = State(state.table, np.zeros_like(state.first), np.zeros_like(state.second))
        self.trained[model] = state
        return self._promise({"type": "load_weights", "path": given["path"]})

    def _save_weights(self, given: Any) -> Any:
        path = f"tinker://{given['path']}/weights/{given['path']}"
        self._file(path).write_bytes(pickle.dumps(self.trained[given["model_id"]]))
        return self._promise({"type": "save_weights", "path": path})

    def _save_weights_for_sampler(self, given: Any) -> Any:
        name = f"sampling-{len(self._samplers)}"
        self._samplers[name] = self.model, self.trained[given["model_id"]].copy()
        return self._promise({"type": "save_weights_for_sampler", "path": None, "sampling_session_id": name})

    def _optim_step(self, given: Any) -> Any:
        state, adam = self.trained[given["model_id"]], given["adam_params"]
        gradient = self._gradients.pop(given["model_id"])
        norm = float(np.linalg.norm(gradient))
        if 0 < adam["grad_clip_norm"] < norm:
            gradient = gradient * (adam["grad_clip_norm"] / norm)
        state.steps += 1
        state.first = adam["beta1"] * state.first + (1 - adam["beta1"]) * gradient
        state.second = adam["beta2"] * state.second + (1 - adam["beta2"]) * gradient**2
        first = state.first / (1 - adam["beta1"] ** state.steps)
        second = state.second / (1 - adam["beta2"] ** state.steps)
        state.table = state.table - adam["learning_rate"] * first / (np.sqrt(second) + adam["eps"])
        return self._promise({"type": "optim_step", "metrics": {"grad_norm": norm}})

    def _asample(self, given: Any) -> Any:
        ids = [token for chunk in given["prompt"]["chunks"] for token in chunk["tokens"]]
        model, state = self._samplers[given["sampling_session_id"]]
        k = given.get("topk_prompt_logprobs") or 0
        if k and not self.distributions:
            return 400, json.dumps({"detail": "topk_prompt_logprobs is not supported"}).encode(), False
        answer = pb.SampleResponse()
        if given.get("prompt_logprobs"):
            rows = model.logprobs(ids, state)
            own = [np.nan, *(rows[i, ids[i + 1]] for i in range(len(ids) - 1))]
            answer.prompt_logprobs = np.asarray(own, np.float32).tobytes()
            if k:
                best = np.argsort(-rows[:-1], axis=-1, kind="stable")[:, :k]
                first = np.zeros((1, k))
                answer.topk_prompt_logprobs.length, answer.topk_prompt_logprobs.k = len(ids), k
                answer.topk_prompt_logprobs.token_ids = (
                    np.concatenate([first, best]).astype(np.int32).tobytes()
                )
                told = np.take_along_axis(rows[:-1], best, axis=-1)
                answer.topk_prompt_logprobs.logprobs = (
                    np.concatenate([first - 99999.0, told]).astype(np.float32).tobytes()
                )
        scoring = bool(given.get("prompt_logprobs"))
        self._sampled(answer, ids, (model, state), given["sampling_params"], scoring=scoring)
        return self._promise(answer.SerializeToString(), proto=True, sample_sequence_ids=["s0"])

    def _sampled(
        self, answer: Any, ids: list[int], of: tuple[Model, State], params: Any, *, scoring: bool
    ) -> None:
        model, state = of
        told = None if scoring or params["max_tokens"] < 12 or not self.script else self.script.pop(0)
        drawn: list[int] = []
        logprobs: list[float] = []
        random = np.random.default_rng(params.get("seed") or 0)
        stop: set[int] = set(params.get("stop") or ())
        while len(drawn) < min(params["max_tokens"], 48 if told is None else len(told)):
            row = model.logprobs([*ids, *drawn], state, 1)[-1]
            if told is not None:
                token = told[len(drawn)]
            elif params["temperature"] == 0.0:
                token = int(row.argmax())
            else:
                token = int(random.choice(len(row), p=np.exp(row / 1.0)))
            drawn.append(token)
            logprobs.append(float(row[token]))
            if token in stop:
                break
        sequence = answer.sequences.add()
        sequence.stop_reason = pb.STOP_REASON_STOP if drawn[-1] in stop else pb.STOP_REASON_LENGTH
        sequence.tokens = np.asarray(drawn, np.int32).tobytes()
        sequence.logprobs = np.asarray(logprobs, np.float32).tobytes()

    def _pass(self, request: Any) -> bytes:
        state = self.trained[request.model_id]
        gradient = np.zeros_like(state.table)
        told: list[Any] = []
        for datum in request.data:
            ids = np.concatenate([np.frombuffer(c.encoded_text.tokens, np.int32) for c in datum.model_input])
            given = {name: _tensor(tensor) for name, tensor in datum.loss_fn_inputs.items()}
            rows = self.model.logprobs(ids, state)
            targets = given["target_tokens"].reshape(len(ids), -1)
            logprobs = np.take_along_axis(rows, targets, axis=-1)
            told.append(logprobs.astype(np.float32))
            if request.loss_fn == "cross_entropy":
                weights = given["weights"].reshape(len(ids), -1)
            else:
                old, advantages = given["logprobs"][:, None], given["advantages"][:, None]
                weights = np.exp(logprobs - old) * advantages
            for place in np.flatnonzero(np.any(weights, axis=-1)):
                gradient[ids[place]] += weights[place].sum() * np.exp(rows[place])
                np.subtract.at(gradient[ids[place]], targets[place], weights[place])
        if not request.forward_only:
            self._gradients[request.model_id] = self._gradients.get(request.model_id, 0.0) + gradient
        answer = pb.ForwardBackwardOutput()
        answer.loss_fn_output_type = "ArrayRecord"
        record = answer.loss_fn_outputs.add()
        record.num_datums = len(told)
        tensor = record.fields["logprobs"]
        tensor.dtype = pb.DTYPE_FLOAT32
        tensor.data = b"".join(one.tobytes() for one in told)
        tensor.offsets = np.cumsum([0, *(one.nbytes for one in told)]).astype(np.int64).tobytes()
        answer.metrics["loss:sum"] = 0.0
        return answer.SerializeToString()

    def _file(self, path: str) -> Path:
        return self.folder / base64.urlsafe_b64encode(path.encode()).decode()

    def _load(self, path: str) -> State:
        file = self._file(path)
        if not file.exists():
            raise KeyError(f"checkpoint {path} has expired")
        return pickle.loads(file.read_bytes())


def _tensor(tensor: Any) -> Any:
    kind = np.int64 if tensor.dtype == pb.DTYPE_INT64 else np.float32
    return np.frombuffer(tensor.dense, kind).reshape(list(tensor.shape))


def main() -> None:
    """Serve until killed."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--port", type=int, required=True)
    ap.add_argument("--folder", type=Path, required=True)
    ap.add_argument("--vocabulary", type=int, required=True)
    ap.add_argument("--die-at", type=int, default=0)
    ap.add_argument("--script", type=Path)
    given = ap.parse_args()
    served = Served(given.vocabulary, given.folder)
    served.die_at = given.die_at
    if given.script:
        served.script = json.loads(given.script.read_text())
    served.start(given.port)
    threading.Event().wait()


if __name__ == "__main__":
    main()
