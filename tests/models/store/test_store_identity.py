"""A model is named by what it holds: its digests, and when they are computed again."""

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continualcode.core.errors import ModelUnavailable
from continualcode.plugins.models import identity
from continualcode.plugins.models.local import store
from continualcode.plugins.models.local.aliases import ALIASES, Alias

numpy_files: Any = importlib.import_module("safetensors.numpy")  # Any: its types are incomplete
Tensors = dict[str, Any]  # numpy arrays

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)


def array(shape: list[int], seed: int, kind: str) -> Any:
    return numpy.random.default_rng(seed).integers(0, 100, shape).astype(kind)


arrays = st.builds(
    array,
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(0, 2**32),
    st.sampled_from(["float32", "float16", "int64"]),
)
models = st.dictionaries(names, arrays, min_size=1, max_size=6)


def write(folder: Path, shards: list[Tensors], metadata: dict[str, str] | None = None) -> Path:
    """A folder with config.json, a tokenizer and these safetensors shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    if len(shards) == 1:
        numpy_files.save_file(shards[0], folder / "model.safetensors", metadata=metadata)
        return folder
    files = {f"model-{place}.safetensors": shard for place, shard in enumerate(shards)}
    for file, shard in files.items():
        numpy_files.save_file(shard, folder / file, metadata=metadata)
    weight_map = {name: file for file, shard in files.items() for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def base(shards: list[Tensors], metadata: dict[str, str] | None = None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return identity.measure(write(Path(folder), shards, metadata)).digests.base


@settings(max_examples=30, deadline=None)
@given(models, st.data())
def test_how_tensors_are_split_over_files_does_not_matter(model: Tensors, data: st.DataObject) -> None:
    """Nor does what the files say about themselves."""
    order = data.draw(st.permutations(list(model)))
    cut = data.draw(st.integers(1, len(order)))
    shards = [{name: model[name] for name in part} for part in (order[:cut], order[cut:]) if part]
    assert base(shards, {"format": "np"}) == base([model])


@settings(max_examples=30, deadline=None)
@given(models, st.data())
def test_any_change_of_a_tensor_is_another_model(model: Tensors, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(model)))
    old = model[name]
    changes: list[Tensors] = [
        {**model, name: old.reshape(*old.shape, 1)},
        {**model, name: old.view("int32" if old.dtype == "float32" else "uint8")} if old.ndim else {},
        {key + "'" if key == name else key: value for key, value in model.items()},
        {key: value for key, value in model.items() if key != name},
    ]
    if old.size:
        place = data.draw(st.integers(0, old.size - 1))
        new = old.copy()
        new.flat[place] += 1
        changes.append({**model, name: new})
    digests = [base([changed]) for changed in changes if changed]
    assert base([model]) not in digests


def test_the_template_is_read_where_transformers_would(tmp_path: Path) -> None:
    """chat_template.jinja first, then tokenizer_config.json, whose older form names several."""
    assert identity.template_text(tmp_path) == ""
    several = [{"name": "tools", "template": "T"}, {"name": "default", "template": "D"}]
    for given_template, expected in ((several, "D"), ("one", "one")):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": given_template}))
        assert identity.template_text(tmp_path) == expected
    (tmp_path / "chat_template.jinja").write_text("jinja")
    assert identity.template_text(tmp_path) == "jinja"


def test_a_folder_is_used_where_it_lies(tiny_cache: tuple[Alias, Path], tmp_path: Path) -> None:
    """With the digests that the same model has under its alias; nothing is written beside it."""
    alias, cache = tiny_cache
    folder = cache / "tiny"
    before = sorted(os.listdir(folder))
    found = store.resolve(str(folder), cache=tmp_path)
    known = store.install(alias, cache=cache)
    assert found.folder == folder and found.name == str(folder)
    assert (found.base, found.tokenizer, found.template) == (known.base, known.tokenizer, known.template)
    assert sorted(os.listdir(folder)) == before


def test_a_folder_is_hashed_once(tmp_path: Path) -> None:
    """The second time its record holds, until a size or a time changes, or `verify` is asked for."""
    folder, cache = write(tmp_path / "model", [{"w": numpy.ones(4)}]), tmp_path / "cache"
    weights = folder / "model.safetensors"
    first = store.resolve(str(folder), cache=cache)
    os.utime(weights, ns=(1, 1))
    assert store.resolve(str(folder), cache=cache) == first
    numpy_files.save_file({"w": numpy.zeros(4)}, weights)
    os.utime(weights, ns=(1, 1))
    assert store.resolve(str(folder), cache=cache) == first
    assert store.resolve(str(folder), cache=cache, verify=True).base != first.base
    os.utime(weights, ns=(2, 2))
    assert store.resolve(str(folder), cache=cache).base != first.base


def test_a_new_template_is_noticed(tmp_path: Path) -> None:
    """A file that was not there when the digests were computed counts too."""
    folder = write(tmp_path / "model", [{"w": numpy.ones(1)}])
    before = store.resolve(str(folder), cache=tmp_path).template
    (folder / "chat_template.jinja").write_text("new")
    assert before == hashlib.sha256(b"").hexdigest()
    assert store.resolve(str(folder), cache=tmp_path).template == hashlib.sha256(b"new").hexdigest()


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", [{"w": numpy.ones(1)}])
    assert store.resolve(str(folder), cache=Path("/proc/nowhere")).folder == folder


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("config.json", "it has no config.json"),
        ("model.safetensors", "no model.safetensors; it has pytorch_model.bin, which cannot be used"),
        ("tokenizer.json", "has no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path, gone: str, said: str) -> None:
    folder = write(tmp_path / "model", [{"w": numpy.ones(1)}])
    (folder / "pytorch_model.bin").write_bytes(b"")
    (folder / gone).unlink()
    with pytest.raises(ModelUnavailable, match=said):
        store.resolve(str(folder), cache=tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", [{"a": numpy.ones(1)}, {"b": numpy.ones(1)}])
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=r"index\.json names model-1\.safetensors"):
        store.resolve(str(folder), cache=tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_safetensors_file_cut_anywhere_is_damaged(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "model", [{"w": numpy.arange(8)}])
        path = folder / "model.safetensors"
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        with pytest.raises(ModelUnavailable, match="is damaged"):
            identity.measure(folder)


def test_a_folder_that_does_not_exist_is_not_taken_for_an_id(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="the folder ./nope does not exist"):
        store.resolve("./nope", cache=tmp_path)


def test_what_is_installed_is_found_and_nothing_is_downloaded(tmp_path: Path) -> None:
    for name in (*ALIASES, "unknown", "org/nope"):
        assert store.installed(name, cache=tmp_path) is None
    folder = write(tmp_path / "model", [{"w": numpy.ones(1)}])
    found = store.installed(str(folder), cache=tmp_path)
    assert found is not None and found.folder == folder
    shutil.rmtree(folder)
