"""ASGI shim: lets a server that speaks tinker SDK 0.25 wire (SkyRL 0.4.0) be driven by SDK 0.26 .. 0.38.

Only addressing/envelope is touched, never tensors or results:
 * asample promise gets `sample_sequence_ids` (SDK >= 0.26 asserts on it)
 * POST /api/v1/sessions/{id}/finish -> 200 (ServiceClient.close)
 * load_weights addressed by (session_id, model_seq_id) (create_training_client_from_state*): weights_info +
   create_model + wait + load_weights{model_id}; the SDK-derived id "<session>:train:<n>" is then an alias of
   the server's model id in JSON `model_id` fields and in the forward_backward proto
 * SkyRL's JAX backend returns N-1 prompt logprobs (no leading None): a NaN goes first, so entry i is token i
 * SkyRL's JAX backend returns no metrics: `loss:sum` is the sum of its own per-token `elementwise_loss`
   (forward_backward_custom in the SDK pops that key and poisons the TrainingClient when it is missing)
"""

import json
import re

import httpx
import numpy as np
import zstandard
from tinker.proto import tinker_public_pb2 as pb


class WireShim:
    def __init__(self, app):
        self.app, self.alias, self.plen = app, {}, {}

    async def _call(self, method, path, body):
        t = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(transport=t, base_url="http://shim", timeout=900) as c:
            r = await c.request(method, path, json=body)
            return r.status_code, r.content

    async def _reply(self, send, status, content, ctype=b"application/json"):
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", ctype), (b"content-length", str(len(content)).encode())],
            }
        )
        await send({"type": "http.response.body", "body": content})

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path, method = scope["path"], scope["method"]
        if method == "POST" and re.fullmatch(r"/api/v1/sessions/[^/]+/finish", path):
            return await self._reply(send, 200, b"{}")
        if method != "POST":
            return await self.app(scope, receive, send)
        body = b""
        while True:
            m = await receive()
            body += m.get("body", b"")
            if not m.get("more_body"):
                break
        hd = {k.lower(): v for k, v in scope["headers"]}
        js = None
        if b"json" in hd.get(b"content-type", b""):
            try:
                js = json.loads(body)
            except ValueError:
                js = None
        if (
            path == "/api/v1/load_weights"
            and isinstance(js, dict)
            and js.get("session_id")
            and not js.get("model_id")
        ):
            return await self._load(js, send)
        if isinstance(js, dict) and js.get("model_id") in self.alias:
            js["model_id"] = self.alias[js["model_id"]]
            body = json.dumps(js).encode()
        if (
            path == "/api/v1/forward_backward"
            and self.alias
            and b"x-protobuf" in hd.get(b"content-type", b"")
        ):
            raw = (
                zstandard.ZstdDecompressor().decompress(body, max_output_size=1 << 30)
                if hd.get(b"content-encoding") == b"zstd"
                else body
            )
            msg = pb.ForwardBackwardRequest()
            msg.ParseFromString(raw)
            if msg.model_id in self.alias:
                msg.model_id = self.alias[msg.model_id]
                body = msg.SerializeToString()
                hd.pop(b"content-encoding", None)
        hd[b"content-length"] = str(len(body)).encode()
        scope = dict(scope, headers=list(hd.items()))
        sent = False

        async def rcv():
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        if path not in ("/api/v1/asample", "/api/v1/retrieve_future"):
            return await self.app(scope, rcv, send)
        start, out = None, b""

        async def snd(m):
            nonlocal start, out
            if m["type"] == "http.response.start":
                start = m
            elif m["type"] == "http.response.body":
                out += m.get("body", b"")

        await self.app(scope, rcv, snd)
        ctype = dict(start["headers"]).get(b"content-type", b"application/json")
        if path == "/api/v1/retrieve_future":
            if start["status"] == 200 and b"x-protobuf" in ctype:
                out = self._fix_result(js, hd, out)
            return await self._reply(send, start["status"], out, ctype)
        if start["status"] == 200 and isinstance(js, dict):
            d = json.loads(out)
            d.setdefault(
                "sample_sequence_ids", [f"seq-{d['request_id']}-{i}" for i in range(js.get("num_samples", 1))]
            )
            out = json.dumps(d).encode()
            if js.get("prompt_logprobs"):
                self.plen[str(d["request_id"])] = sum(
                    len(c.get("tokens", [])) for c in js["prompt"]["chunks"]
                )
        await self._reply(send, start["status"], out)

    def _fix_result(self, js, hd, out):
        kind = hd.get(b"x-tinker-request-type", b"").decode()
        if kind == "Sample":
            n = self.plen.pop(str((js or {}).get("request_id")), None)
            if n:
                m = pb.SampleResponse()
                m.ParseFromString(out)
                if len(m.prompt_logprobs) == 4 * (n - 1):
                    m.prompt_logprobs = np.float32("nan").tobytes() + m.prompt_logprobs
                    out = m.SerializeToString()
        elif kind in ("Forward", "ForwardBackward"):
            m = pb.ForwardBackwardOutput()
            m.ParseFromString(out)
            if "loss:sum" not in m.metrics:
                vals = [
                    np.frombuffer(r.fields["elementwise_loss"].data, np.float32).sum()
                    for r in m.loss_fn_outputs
                    if "elementwise_loss" in r.fields
                ]
                if vals:
                    m.metrics["loss:sum"] = float(sum(vals))
                    out = m.SerializeToString()
        return out

    async def _load(self, js, send):
        st, c = await self._call("POST", "/api/v1/weights_info", {"tinker_path": js["path"]})
        if st != 200:
            return await self._reply(send, st, c)
        wi = json.loads(c)
        st, c = await self._call(
            "POST",
            "/api/v1/create_model",
            {
                "session_id": js["session_id"],
                "model_seq_id": js["model_seq_id"],
                "base_model": js.get("base_model") or wi["base_model"],
                "lora_config": {"rank": wi.get("lora_rank") or 32},
            },
        )
        if st != 200:
            return await self._reply(send, st, c)
        cm = json.loads(c)
        st, c = await self._call("POST", "/api/v1/retrieve_future", {"request_id": cm["request_id"]})
        if st != 200:
            return await self._reply(send, st, c)
        mid = cm.get("model_id") or json.loads(c).get("model_id")
        self.alias[f"{js['session_id']}:train:{js['model_seq_id']}"] = mid
        st, c = await self._call(
            "POST",
            "/api/v1/load_weights",
            {"model_id": mid, "path": js["path"], "optimizer": js["optimizer"], "seq_id": 1},
        )
        return await self._reply(send, st, c)
