"""What makes a start quick: the weights, tokens and masks that transformers gives, without importing it."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from continualcode.core.data import Call, ToolSpec
from continualcode.core.errors import ConfigError
from continualcode.plugins.models import local
from continualcode.plugins.models.language import opening
from continualcode.plugins.models.language.families import Language
from continualcode.plugins.models.local import bare, general, loading
from continualcode.plugins.models.local import tokenizer as tokenizers
from continualcode.plugins.models.local.adapter import Adapter
from continualcode.plugins.models.local.constraint import Constraint
from continualcode.plugins.models.local.packing import Packed
from continualcode.plugins.models.local.policy import LocalPolicy

CPU = torch.device("cpu")
IDS = [7, 8, 9, 7, 3, 30, 31, 8, 9, 5]


def as_bare(folder: Path, dtype: torch.dtype = torch.float32) -> bare.Bare | None:
    return bare.load("tiny", folder, dtype, CPU, lambda: general.load(folder, dtype))


def changed(folder: Path, tmp_path: Path, **changes: Any) -> Path:
    """The same model with other words in its config.json; None: without them."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text()) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (copy / "config.json").write_text(json.dumps(kept))
    return copy


@pytest.fixture(params=["float32", "bfloat16", "qwen3"])
def both(
    request: pytest.FixtureRequest, tiny_model_folder: Path, qwen3_folder: Path
) -> tuple[Adapter, Adapter]:
    """One adapter on tensors alone, one on transformers' model; both have learned the same."""
    dtype = loading.DTYPES.get(request.param, torch.float32)
    folder = qwen3_folder if request.param == "qwen3" else tiny_model_folder
    model = as_bare(folder, dtype)
    assert model is not None
    spec = loading.Options(rank=4).adapter
    ours, theirs = Adapter(model, spec, (1,)), Adapter(general.load(folder, dtype), spec, (1,))
    generator = torch.Generator().manual_seed(3)
    noise = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in ours.snapshot().items()}
    ours.restore(noise)
    theirs.restore(noise)
    return ours, theirs


def test_it_computes_the_same_bits(both: tuple[Adapter, Adapter]) -> None:
    ours, theirs = both
    packed, at = Packed.of(IDS), range(len(IDS))
    assert ours.names() == theirs.names()
    assert ours.digest() == theirs.digest()

    def gradients(adapter: Adapter) -> list[Tensor]:
        loss = adapter.logits(packed, at).float().log_softmax(-1)[:, 7].sum()
        return list(torch.autograd.grad(loss, adapter.parameters()))

    def agree() -> None:
        assert torch.equal(ours.logits(packed, at), theirs.logits(packed, at))
        assert all(torch.equal(a, b) for a, b in zip(gradients(ours), gradients(theirs), strict=True))

    agree()
    with torch.no_grad():
        with ours.disabled(), theirs.disabled():  # its modules are made in here, and are off like it
            assert torch.equal(ours.logits(packed, at), theirs.logits(packed, at))
            for mine, other in zip(ours.states(packed, at), theirs.states(packed, at), strict=True):
                assert torch.equal(mine, other)
        with ours.watching() as mine, theirs.watching() as other:
            assert torch.equal(ours.logits(packed, at), theirs.logits(packed, at))
        assert mine.keys() == other.keys()
        assert mine and all(torch.equal(mine[name], other[name]) for name in mine)
    agree()
    assert ours.digest() == theirs.digest()


def test_the_modules_learn_with_it(both: tuple[Adapter, Adapter]) -> None:
    ours, _ = both
    inside: Any = ours.model
    for parameter in ours.parameters():
        parameter.data.zero_()
    trained = [p for p in inside.parameters() if p.requires_grad]
    assert len(trained) == len(ours.parameters())
    assert all(not parameter.any() for parameter in trained)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu"},
        {"use_sliding_window": True},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
        {"architectures": ["MistralForCausalLM"]},
        {"tie_word_embeddings": False},  # its file has no such tensor
        {"num_hidden_layers": 1},  # its file has more
        {"rms_norm_eps": None},
        {"hidden_size": "wide"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_spelled_out_goes_through_transformers(
    tiny_model_folder: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert as_bare(changed(tiny_model_folder, tmp_path, **changes)) is None


def test_the_older_word_for_rotary_positions_is_known(tiny_model_folder: Path, tmp_path: Path) -> None:
    older = changed(tiny_model_folder, tmp_path, rope_parameters=None, rope_theta=10000.0)
    model = as_bare(older)
    assert model is not None
    assert model.config.theta == 10000.0
    scaled = changed(older, tmp_path / "2", rope_scaling={"type": "linear", "factor": 2.0})
    assert as_bare(scaled) is None


def test_a_choice_of_no_layer_is_refused(make_policy: Callable[..., LocalPolicy]) -> None:
    from continualcode.core.errors import ConfigError

    with pytest.raises(ConfigError, match="names no linear layer"):
        make_policy(targets=".*no_such_proj")


@pytest.mark.parametrize("family", ["qwen", "smollm", "chat"])
def test_a_kept_tokenizer_is_the_same(
    family: str, make_tokenizer: Callable[[str], Any], tools: tuple[ToolSpec, ...], tmp_path: Path
) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    make_tokenizer(family).save_pretrained(folder)
    vocabulary = len(make_tokenizer(family)) + 7
    first, then = (tokenizers.load(folder, cache, vocabulary) for _ in range(2))
    assert not isinstance(first, tokenizers.Kept)
    assert isinstance(then, tokenizers.Kept)
    assert then.backend_tokenizer.to_str() == first.backend_tokenizer.to_str()
    ours, theirs = Language(then), Language(first)
    assert ours.family == theirs.family
    assert ours.codec.control == theirs.codec.control
    assert ours.codec.size == theirs.codec.size == len(first)
    assert opening.grammar(ours, tools) == opening.grammar(theirs, tools)
    grammar = ours.grammar(tools)
    assert grammar is not None
    assert grammar == theirs.grammar(tools)
    said = "é \"日本\" 🙂 \\n\t'x'"
    ids = ours.codec.encode(ours.format_call(Call(tool="write", arguments={"path": "a.py", "content": said})))
    masks = [Constraint(one, vocabulary, ours.ends).masks(grammar, ids) for one in (first, then)]
    assert torch.equal(*masks)


def test_what_is_kept_is_of_these_files(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder, cache = changed(tiny_model_folder, tmp_path), tmp_path / "cache"
    tokenizers.load(folder, cache, 700)
    assert isinstance(tokenizers.load(folder, cache, 700), tokenizers.Kept)
    (kept,) = (cache / ".tokenizers").iterdir()
    kept.write_bytes(b"\x00 damaged")
    assert not isinstance(tokenizers.load(folder, cache, 700), tokenizers.Kept)  # made anew, and kept
    assert isinstance(tokenizers.load(folder, cache, 700), tokenizers.Kept)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    assert not isinstance(tokenizers.load(folder, cache, 700), tokenizers.Kept)


def test_a_template_that_only_transformers_knows_is_left_to_it(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder, cache = changed(tiny_model_folder, tmp_path), tmp_path / "cache"
    template = folder / "chat_template.jinja"
    template.write_text("{% generation %}x{% endgeneration %}" + template.read_text())
    for _ in range(2):
        assert not isinstance(tokenizers.load(folder, cache, 700), tokenizers.Kept)


@pytest.mark.parametrize(
    "template",
    [
        "{{ namespace(_x=1) }}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{{ dict.__class__ }}{{ dict.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
    ],
)
def test_a_template_cannot_reach_out(template: str) -> None:
    from jinja2.exceptions import SecurityError

    with pytest.raises(SecurityError):
        tokenizers.environment().from_string(template).render(messages=[])


def test_a_warm_start_imports_neither_transformers_nor_peft(
    tiny_model_folder: Path, model_cache: Path, make_policy: Callable[..., LocalPolicy]
) -> None:
    make_policy()  # now it is warm
    script = (
        "import sys\n"
        "from continualcode.plugins.models.local.policy import LocalPolicy\n"
        f"LocalPolicy({str(tiny_model_folder)!r}, {{'cache': {str(model_cache)!r}, 'rank': 4}})\n"
        "print(sorted({'transformers', 'peft', 'sympy', 'torch._dynamo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("said", [None, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_threads_wait_briefly_unless_the_user_says_otherwise(
    said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As C sees it, while libraries are loaded; what runs later inherits nothing."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    if said:
        monkeypatch.setenv(said, "7")
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    before = dict(os.environ)
    with local.waiting_briefly():
        wanted = {None: local.SPINS.encode(), "GOMP_SPINCOUNT": b"7", "OMP_WAIT_POLICY": None}[said]
        assert getenv(b"GOMP_SPINCOUNT") == wanted
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gpu", "model.device: there is no 'gpu'; allowed: auto, cpu, cuda (or cuda:1)"),
        ("mps:99", "model.device: 'mps:99' cannot be used here: "),
        ("cuda:99", "model.device: 'cuda:99' cannot be used here: "),
    ],
)
def test_a_device_that_there_is_not_is_said_so_in_a_line(given: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loading.choose_device(given)
    assert str(raised.value).startswith(said) and "\n" not in str(raised.value)
    assert len(str(raised.value)) < 150
