"""From a GGUF file to the folder that transformers loads in a second: fp32 safetensors and a tokenizer.

transformers can load a GGUF itself, but slowly (minutes for 0.5B parameters), so that is done once. The
quantised values are decoded exactly; nothing is quantised again.
"""

import contextlib
import importlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from continualcode.core.protocols import Progress


def to_safetensors(gguf: Path, folder: Path, progress: Progress, name: str) -> None:
    """Write the model and the tokenizer of `gguf` to `folder`; `progress` counts tensors."""
    progress(f"converting {name}: its tokenizer", 0, 0)
    transformers: Any = importlib.import_module("transformers")  # Any: its own types are incomplete
    with _own_progress(progress, f"converting {name}"):
        source, file = gguf.parent, gguf.name
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, gguf_file=file)
        progress(f"converting {name}: its configuration", 0, 0)
        model = transformers.AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype="float32")
        # It is no longer quantised, but still says so, and save_pretrained refuses what was quantised.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        progress(f"writing {name}", 0, 0)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _own_progress(progress: Progress, label: str) -> Generator[None, None, None]:
    """Send what transformers shows on its own bars to `progress`, and its remarks nowhere.

    Its GGUF reader takes tqdm by name and has no hook, so the name is replaced for the time being; if a
    later transformers calls it otherwise, that bar is shown by transformers and nothing breaks.
    """
    reader: Any = importlib.import_module("transformers.modeling_gguf_pytorch_utils")
    logging: Any = importlib.import_module("transformers.utils.logging")

    def counted(tensors: Iterable[Any], **_options: Any) -> Iterator[Any]:
        known = list(tensors)
        for done, tensor in enumerate(known):
            progress(label, done, len(known))
            yield tensor
        progress(label, len(known), len(known))

    original = getattr(reader, "tqdm", counted)
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    reader.tqdm = counted
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        reader.tqdm = original
        if bars:
            logging.enable_progress_bar()
        logging.set_verbosity(verbosity)
