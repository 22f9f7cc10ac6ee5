"""A model from a folder into memory, and the names of everything that its numbers depend on."""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import torch
from msgspec import Meta

from continualcode.core.data import AdapterSpec
from continualcode.core.errors import ConfigError, ModelUnavailable
from continualcode.plugins.models.language.families import ToolList
from continualcode.plugins.models.local import bare
from continualcode.plugins.models.local import tokenizer as tokenizers

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
LEAST_READ = 512 * 2**20
"""Bytes that what was read may always take: 20 thousand tokens of Qwen2.5 0.5B in float32."""
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "llguidance")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The table `[model]` for local models.

    device: auto is cuda where there is one, else cpu. dtype: auto is float32 on a CPU, which mostly
    emulates shorter types, and bfloat16 on a GPU. threads: of torch; None leaves its choice. context: tokens
    of a prompt and its completion, at most what the model was made for. cache: the folder of installed
    models; None is the platform's usual place. rank to upper: the adapter's, see `AdapterSpec`. tool_list:
    how the model is told of its tools: docs/models.md. opening: turns begin as a call and are free after
    that, as on a Tinker server, instead of under a grammar of the tools' schemas. sampling_weights: int8
    samples from a rounded copy of the base model, faster (`int8`); what is learned is learned on the whole.
    graphs: a GPU's passes are captured once and then launched whole, many times as fast (`graphs`).
    """

    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    context: int = 8192
    rank: int = 32
    alpha: float = 32.0
    targets: str = "all-linear"
    adapter_seed: int = 0
    acts_on: Literal["all", "completion"] = "completion"
    upper: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.5
    cache: str | None = None
    tool_list: ToolList = "auto"
    opening: bool = False
    sampling_weights: Literal["full", "int8"] = "full"
    graphs: bool = True

    @property
    def adapter(self) -> AdapterSpec:
        """The adapter that these options ask for."""
        return AdapterSpec(self.rank, self.alpha, self.targets, self.adapter_seed, self.acts_on, self.upper)


def choose_device(wanted: str) -> torch.device:
    """The device called `wanted`; raises ConfigError if this machine has no such device."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise ConfigError(
            f"model.device: there is no {wanted!r}; allowed: auto, cpu, cuda (or cuda:1)"
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigError(
            f"model.device: {wanted!r} cannot be used here: {why}; auto takes the CPU"
        ) from None
    return device


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype called `wanted` for the base model on `device`."""
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if wanted not in DTYPES:
        raise ConfigError(f"model.dtype: {wanted!r}; allowed: auto, {', '.join(DTYPES)}")
    return DTYPES[wanted]


def be_deterministic(device: torch.device, threads: int | None) -> None:
    """Ask torch for the same bits each time. For the whole process, as torch has it no other way.

    On a CPU the same kernels with the same number of threads already give the same bits. On CUDA the
    backward pass of attention and cuBLAS's workspaces do not, unless asked to before their first use. What
    has no deterministic kernel is refused in torch's own words: asked to warn only, it would take the other
    one for attention.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        untyped: Any = torch.utils.deterministic
        untyped.fill_uninitialized_memory = False  # a launch each; none of it is read here
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


def load(name: str, folder: Path, dtype: torch.dtype, device: torch.device, cache: Path) -> tuple[Any, Any]:
    """The causal language model in `folder`, frozen, and its tokenizer. cache: for what saves time.

    Raises ModelUnavailable where neither we nor transformers can make one of what is there. Code that comes
    with a model is never run.
    """

    def general(device: torch.device) -> Any:
        from continualcode.plugins.models.local import general

        return general.load(folder, dtype).to(device)

    try:
        found = bare.load(name, folder, dtype, device, lambda: general(torch.device("cpu")))
        model = general(device) if found is None else found
        tokenizer = tokenizers.load(folder, cache, model.get_input_embeddings().num_embeddings)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        first = (str(error) or repr(error)).splitlines()[0]
        raise ModelUnavailable(f"{name}: transformers cannot load {folder}: {first}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelUnavailable(f"{name}: its tokenizer has no tokenizer.json; grammars need a fast tokenizer")
    return model, tokenizer


def room_for_pieces(model: Any) -> int:
    """How many bytes what was read may take: half of what the weights take, but at least `LEAST_READ`."""
    weights: int = sum(weight.nbytes for weight in model.parameters())
    return max(LEAST_READ, weights // 2)


ARITHMETIC = "7"
"""How passes and steps are computed: another number where the weights of an update differ from before.

2: prompts are read message by message; layers below the adapter are computed once an update. 3: two to
eight tokens go through a matrix the other way round. 4: what must stay goes through the model apart.
5: Qwen3 is written out; an averaged teacher that was cut lies in memory as one from a file. 6: a step takes
every nth of the rows that go in turn, and what anchors have moved is counted for all of them.
7: what is rehearsed in turn stands for all of it in a step's divergence too, by which the gate judges.
"""


def fingerprint(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """What bit-for-bit replay depends on besides the weights."""
    stack = {library: version(library) for library in LIBRARIES}
    stack |= {
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": str(torch.get_num_threads()),
        "cpu": str(torch.backends.cpu.get_cpu_capability()),
        "attention": "sdpa",
        "arithmetic": ARITHMETIC,
        "deterministic": str(torch.are_deterministic_algorithms_enabled()).lower(),
    }
    if device.type == "cuda":
        stack |= {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
    return stack
